//! The settings of a [`Mesh`](super::Mesh).

use std::net::SocketAddr;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::{Incarnation, NodeName};

use super::tag;
use super::wire::{MAX_LINKS, MAX_MEMBERS};
use crate::detector::DeadlineDetector;
use crate::quorum::VoteQuorum;

/// The shortest heartbeat interval: below it, a loaded host's scheduling is longer.
const MIN_INTERVAL: Duration = Duration::from_millis(5);
/// The longest: beyond it, arithmetic on the limits has no sense.
const MAX_INTERVAL: Duration = Duration::from_mins(1);
/// The most seeds; one that answers is enough.
pub(super) const MAX_SEEDS: usize = 16;

/// The settings of a node's mesh; made by [`MeshConfig::lan`] or [`MeshConfig::wan`].
#[derive(Debug, Clone)]
pub struct MeshConfig {
    pub(super) me: NodeName,
    pub(super) incarnation: Incarnation,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) seeds: Vec<SocketAddr>,
    pub(super) quorum: Option<VoteQuorum>,
    pub(super) interval: Duration,
    pub(super) dead_after: Duration,
    pub(super) detector: DeadlineDetector,
}

impl MeshConfig {
    /// Settings for one room or one city: a heartbeat every 100 ms, suspect after 300 ms, dead
    /// after 700 ms.
    pub fn lan(me: NodeName) -> MeshConfigBuilder {
        MeshConfigBuilder {
            me,
            incarnation: Incarnation::FIRST,
            addresses: Vec::new(),
            seeds: Vec::new(),
            quorum: None,
            interval: Duration::from_millis(100),
            suspect_after: None,
            dead_after: None,
        }
    }

    /// Settings between cities: a heartbeat every 500 ms, suspect after 1.5 s, dead after 3.5 s.
    pub fn wan(me: NodeName) -> MeshConfigBuilder {
        Self::lan(me).interval(Duration::from_millis(500))
    }

    /// The name of the node.
    #[must_use]
    pub const fn me(&self) -> &NodeName {
        &self.me
    }

    /// Where this node listens, one address for each link.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The time between two heartbeats.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// After how much silence a member is dead, unless another one hears it.
    #[must_use]
    pub const fn dead_after(&self) -> Duration {
        self.dead_after
    }

    /// For how long another member's word, that this node is in its view, counts for quorum.
    ///
    /// A tenth shorter than `dead_after`, so that a node that is cut off has lost quorum before
    /// the others agree on a view without it, even when their clocks' rates differ by a twentieth.
    #[must_use]
    pub fn voucher(&self) -> Duration {
        self.dead_after / 10 * 9
    }

    #[cfg(feature = "tokio")]
    pub(super) fn bound_to(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.addresses = addresses;
        self
    }
}

/// Collects the settings of a [`MeshConfig`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct MeshConfigBuilder {
    me: NodeName,
    incarnation: Incarnation,
    addresses: Vec<SocketAddr>,
    seeds: Vec<SocketAddr>,
    quorum: Option<VoteQuorum>,
    interval: Duration,
    suspect_after: Option<Duration>,
    dead_after: Option<Duration>,
}

impl MeshConfigBuilder {
    /// Sets which life of the node this is. Default: 1.
    ///
    /// Each must be higher than the last, by more than the views that a life can see: the
    /// milliseconds since 1970 at the start of the process are. View ids begin there.
    pub const fn incarnation(mut self, incarnation: Incarnation) -> Self {
        self.incarnation = incarnation;
        self
    }

    /// Adds a link: the address to listen on and to speak from. One or two; the second is another
    /// network, so that one cable is not the end of the cluster (Corosync: `ring1_addr`).
    pub fn link(mut self, address: SocketAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// Adds the address of a member on the first link, to learn the others from; it may be down.
    /// At most 16. One's own address is passed over, so all members can have one list.
    pub fn seed(mut self, address: SocketAddr) -> Self {
        self.seeds.push(address);
        self
    }

    /// Sets who votes. Default: nobody, and then no view is quorate.
    pub fn quorum(mut self, quorum: VoteQuorum) -> Self {
        self.quorum = Some(quorum);
        self
    }

    /// Sets the time between two heartbeats: 5 ms to 1 min. Default: 100 ms (lan), 500 ms (wan).
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets after how much silence a member is suspect; longer than the interval. Default: three
    /// intervals.
    pub const fn suspect_after(mut self, silence: Duration) -> Self {
        self.suspect_after = Some(silence);
        self
    }

    /// Sets after how much silence a member is dead unless another hears it; longer than
    /// `suspect_after`. Default: seven intervals. Shorter finds failures sooner and mistakes more
    /// pauses for failures.
    pub const fn dead_after(mut self, silence: Duration) -> Self {
        self.dead_after = Some(silence);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All problems at once.
    pub fn build(self) -> Result<MeshConfig, ConfigError> {
        let mut problems = Problems::new();
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&self.interval) {
            problems.add("interval", format!("{:?}", self.interval), "5 ms to 1 min");
        }
        let suspect_after = self.suspect_after.unwrap_or(self.interval.saturating_mul(3));
        let dead_after = self.dead_after.unwrap_or(self.interval.saturating_mul(7));
        if suspect_after <= self.interval {
            let allowed = format!("longer than interval, {:?}", self.interval);
            problems.add("suspect_after", format!("{suspect_after:?}"), allowed);
        }
        if self.addresses.is_empty() || self.addresses.len() > MAX_LINKS {
            problems.add("link", self.addresses.len(), "one or two addresses to listen on");
        }
        if self.seeds.len() > MAX_SEEDS {
            problems.add("seed", self.seeds.len(), format!("at most {MAX_SEEDS} addresses"));
        }
        let voters = self.quorum.iter().flat_map(|quorum| quorum.votes().keys());
        let mut names: Vec<&NodeName> = voters.chain([&self.me]).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_MEMBERS {
            problems.add("quorum.voters", names.len(), format!("at most {MAX_MEMBERS} nodes"));
        }
        for (at, name) in names.iter().enumerate() {
            if names.iter().take(at).any(|other| tag(other) == tag(name)) {
                problems.add("quorum.voters", name, "another name: its hash is another node's");
            }
        }
        let detector = match DeadlineDetector::new(suspect_after, dead_after) {
            Ok(detector) => detector,
            Err(error) => {
                problems.absorb(error.clone());
                return Err(problems.into_result(()).err().unwrap_or(error));
            }
        };
        problems.into_result(MeshConfig {
            me: self.me,
            incarnation: self.incarnation,
            addresses: self.addresses,
            seeds: self.seeds,
            quorum: self.quorum,
            interval: self.interval,
            dead_after,
            detector,
        })
    }
}
