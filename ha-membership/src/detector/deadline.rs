//! The plain detector: two limits on silence.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::{FailureDetector, Verdict};

/// The most peers that are watched; a heartbeat of one more is not taken up.
const MAX_PEERS: usize = 10_000;

/// Suspects a peer after one limit of silence and gives it up after another (Heartbeat's
/// `warntime` and `deadtime`).
///
/// Simple, and exact about its delay: a dead peer is given up between `dead_after` minus one
/// heartbeat interval and `dead_after` after its last breath. It does not adapt to a network
/// whose delays vary; leave room for that: at least three heartbeat intervals.
///
/// It can be asked ([`FailureDetector`]) or run as a [`Machine`] that tells each change.
///
/// ```
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_membership::detector::{DeadlineDetector, FailureDetector, Verdict};
///
/// let mut detector = DeadlineDetector::new(Duration::from_millis(300), Duration::from_secs(1))?;
/// let peer = "b".parse().unwrap();
/// detector.heartbeat(&peer, Instant::ZERO);
/// let verdict = |millis| detector.suspicion(&peer, Instant::from_millis(millis));
/// assert_eq!(verdict(299), Some(Verdict::Alive));
/// assert_eq!(verdict(300), Some(Verdict::Suspect));
/// assert_eq!(verdict(1_000), Some(Verdict::Dead));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeadlineDetector {
    suspect_after: Duration,
    dead_after: Duration,
    peers: BTreeMap<NodeName, Peer>,
    /// The latest time that any call gave.
    now: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    heard: Instant,
    /// What the machine has told last.
    told: Verdict,
}

impl DeadlineDetector {
    /// A detector with these limits; source of good ones: three and ten heartbeat intervals.
    ///
    /// # Errors
    ///
    /// When `suspect_after` is zero, or `dead_after` not longer than it.
    pub fn new(suspect_after: Duration, dead_after: Duration) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        if suspect_after.is_zero() {
            problems.add("suspect_after", "0", "more than 0; three heartbeat intervals are usual");
        }
        if dead_after <= suspect_after {
            let allowed = format!("longer than suspect_after, {suspect_after:?}");
            problems.add("dead_after", format!("{dead_after:?}"), allowed);
        }
        let peers = BTreeMap::new();
        problems.into_result(Self { suspect_after, dead_after, peers, now: Instant::ZERO })
    }

    /// The peers that are watched.
    pub fn peers(&self) -> impl Iterator<Item = &NodeName> {
        self.peers.keys()
    }

    fn verdict(&self, peer: Peer, now: Instant) -> Verdict {
        if now >= peer.heard + self.dead_after {
            Verdict::Dead
        } else if now >= peer.heard + self.suspect_after {
            Verdict::Suspect
        } else {
            Verdict::Alive
        }
    }

    /// When the verdict on `peer` is next one that is worse than `verdict`.
    fn worse_at(&self, peer: Peer, verdict: Verdict) -> Option<Instant> {
        match verdict {
            Verdict::Alive => Some(peer.heard + self.suspect_after),
            Verdict::Suspect => Some(peer.heard + self.dead_after),
            Verdict::Dead => None,
        }
    }
}

impl FailureDetector for DeadlineDetector {
    fn heartbeat(&mut self, peer: &NodeName, now: Instant) {
        self.now = self.now.max(now);
        let heard = self.now;
        if let Some(known) = self.peers.get_mut(peer) {
            known.heard = heard;
        } else if self.peers.len() < MAX_PEERS {
            self.peers.insert(peer.clone(), Peer { heard, told: Verdict::Alive });
        }
    }

    fn forget(&mut self, peer: &NodeName) {
        self.peers.remove(peer);
    }

    fn suspicion(&self, peer: &NodeName, now: Instant) -> Option<Verdict> {
        self.peers.get(peer).map(|peer| self.verdict(*peer, now.max(self.now)))
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        let now = now.max(self.now);
        let worse = |peer: &Peer| self.worse_at(*peer, self.verdict(*peer, now));
        self.peers.values().filter_map(worse).min()
    }
}

/// What a detector that runs as a machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DetectorInput {
    /// A peer has left.
    Forget(NodeName),
    /// A peer was heard.
    Heartbeat(NodeName),
}

/// What a detector that runs as a machine says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "an output: drivers must take all of it")]
pub struct VerdictChanged {
    /// On whom.
    pub peer: NodeName,
    /// The new verdict.
    pub verdict: Verdict,
}

impl Machine for DeadlineDetector {
    type Input = DetectorInput;
    type Output = VerdictChanged;
    const MAX_OUTPUTS: usize = MAX_PEERS + 1;

    fn handle(&mut self, now: Instant, input: DetectorInput, out: &mut Vec<VerdictChanged>) {
        self.tick(now, out);
        match input {
            DetectorInput::Forget(peer) => self.forget(&peer),
            DetectorInput::Heartbeat(peer) => {
                self.heartbeat(&peer, now);
                if let Some(known) = self.peers.get_mut(&peer)
                    && std::mem::replace(&mut known.told, Verdict::Alive) != Verdict::Alive
                {
                    out.push(VerdictChanged { peer, verdict: Verdict::Alive });
                }
            }
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<VerdictChanged>) {
        self.now = self.now.max(now);
        let (now, suspect, dead) = (self.now, self.suspect_after, self.dead_after);
        for (name, peer) in &mut self.peers {
            let verdict = match now {
                now if now >= peer.heard + dead => Verdict::Dead,
                now if now >= peer.heard + suspect => Verdict::Suspect,
                _ => Verdict::Alive,
            };
            if std::mem::replace(&mut peer.told, verdict) != verdict {
                out.push(VerdictChanged { peer: name.clone(), verdict });
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| self.worse_at(*peer, peer.told)).min()
    }
}
