//! Two hosts with one address: seeing it, saying it, and standing one's ground (RFC 5227).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::{Mac, Sighting, SightingKind};
use crate::address::VirtualAddress;

/// The most rivals that are remembered, over all addresses. More than one is rare; more than this
/// is an attack, and the rest is counted only.
pub const MAX_RIVALS: usize = 64;
/// The most addresses of one detector: those of a virtual router.
const MAX_ADDRESSES: usize = 255;

/// What to do when another host claims an address that is held here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictPolicy {
    /// Announce the address again, at most once in the given time (RFC 5227, section 2.4 (c): a
    /// host that must keep its address; `DEFEND_INTERVAL`).
    Defend(Duration),
    /// Only tell.
    Tell,
}

/// The configuration of a [`ConflictDetector`], complete and checked.
///
/// ```
/// use ha_vip::announce::{ConflictConfig, Mac};
///
/// let address: ha_vip::VirtualAddress = "192.0.2.10/24".parse()?;
/// let config = ConflictConfig::builder(Mac::new([2, 0, 0, 0, 0, 1])).address(address).build()?;
/// assert_eq!(config.addresses(), [address]);
/// assert!(ConflictConfig::builder(Mac::BROADCAST).build().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictConfig {
    addresses: Vec<VirtualAddress>,
    mac: Mac,
    ours: BTreeSet<Mac>,
    policy: ConflictPolicy,
    grace: Duration,
    resolve_after: Duration,
    look_every: Option<Duration>,
}

impl ConflictConfig {
    /// `DEFEND_INTERVAL` (RFC 5227, section 1.1).
    pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

    /// Starts a configuration for the interface with this link-layer address.
    pub const fn builder(mac: Mac) -> ConflictBuilder {
        ConflictBuilder {
            addresses: Vec::new(),
            mac,
            ours: BTreeSet::new(),
            policy: ConflictPolicy::Defend(Self::DEFEND_INTERVAL),
            grace: Duration::from_secs(1),
            resolve_after: Duration::from_mins(1),
            look_every: None,
        }
    }

    /// The addresses that are watched while they are held.
    #[must_use]
    pub fn addresses(&self) -> &[VirtualAddress] {
        &self.addresses
    }

    /// The interface's link-layer address.
    #[must_use]
    pub const fn mac(&self) -> Mac {
        self.mac
    }
}

/// Makes a [`ConflictConfig`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ConflictBuilder {
    addresses: Vec<VirtualAddress>,
    mac: Mac,
    ours: BTreeSet<Mac>,
    policy: ConflictPolicy,
    grace: Duration,
    resolve_after: Duration,
    look_every: Option<Duration>,
}

impl ConflictBuilder {
    /// Adds an address to watch, IPv4 or IPv6; at least one, at most 255.
    pub fn address(mut self, address: VirtualAddress) -> Self {
        self.addresses.push(address);
        self
    }

    /// Adds a link-layer address that is ours besides the interface's: a virtual router's
    /// `00:00:5e:00:01:VRID`, or another interface of this host on the same network. At most 255.
    pub fn also_ours(mut self, mac: Mac) -> Self {
        self.ours.insert(mac);
        self
    }

    /// Sets what to do about a rival. Default: defend every 10 s at most (RFC 5227). An interval
    /// of 100 ms to 1 hour.
    pub const fn policy(mut self, policy: ConflictPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how long after the addresses came here others may still claim them: 0 to 1 minute.
    /// Default 1 s.
    ///
    /// The last holder's frames may be on their way; one that goes on is told of after that.
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long a rival must be silent until the conflict counts as resolved: 1 s to 1 day.
    /// Default 1 minute.
    ///
    /// A rival is seen only when it speaks; with [`look_every`](Self::look_every) choose at least
    /// three times that.
    pub const fn resolve_after(mut self, silence: Duration) -> Self {
        self.resolve_after = silence;
        self
    }

    /// Sets how often to ask for each IPv4 address whether somebody else has it: 1 s to 1 day.
    /// Default: never.
    ///
    /// A rival that never speaks by itself, such as a host whose daemon was killed, is found so;
    /// at the cost of one broadcast frame for each address.
    pub const fn look_every(mut self, every: Duration) -> Self {
        self.look_every = Some(every);
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: setter, value, what is allowed.
    pub fn build(mut self) -> Result<ConflictConfig, ConfigError> {
        let mut problems = Problems::new();
        let second = Duration::from_secs(1);
        let day = Duration::from_hours(24);
        let mut check = |path: &str, value: Duration, least: Duration, most: Duration| {
            if value < least || value > most {
                problems.add(path, format!("{value:?}"), format!("{least:?} to {most:?}"));
            }
        };
        if let ConflictPolicy::Defend(every) = self.policy {
            check("policy", every, Duration::from_millis(100), Duration::from_hours(1));
        }
        check("grace", self.grace, Duration::ZERO, Duration::from_mins(1));
        check("resolve_after", self.resolve_after, second, day);
        check("look_every", self.look_every.unwrap_or(second), second, day);
        let count = self.addresses.len();
        if count == 0 || count > MAX_ADDRESSES {
            problems.add("address", format!("{count} addresses"), "1 to 255 addresses");
        }
        if self.ours.len() > MAX_ADDRESSES {
            problems.add("also_ours", format!("{} addresses", self.ours.len()), "at most 255");
        }
        if self.mac.octets()[0] & 1 == 1 {
            problems.add("mac", self.mac, "the link-layer address of one interface");
        }
        self.ours.insert(self.mac);
        problems.into_result(ConflictConfig {
            addresses: self.addresses,
            mac: self.mac,
            ours: self.ours,
            policy: self.policy,
            grace: self.grace,
            resolve_after: self.resolve_after,
            look_every: self.look_every,
        })
    }
}

/// What can happen to a detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictInput {
    /// The addresses are on this host from now on.
    Held,
    /// The addresses are no longer on this host: whoever has them now is no rival.
    Released,
    /// Somebody was seen.
    Seen(Sighting),
}

/// What a detector wants done, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores an effect loses an action")]
pub enum ConflictOutput {
    /// Announce the address: it is here (RFC 5227, section 2.4).
    Defend(VirtualAddress),
    /// A fact, for people and logs.
    Event(ConflictEvent),
    /// Ask whether somebody else has the address, by an ARP probe.
    Look(VirtualAddress),
}

/// A fact that a detector tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictEvent {
    /// Another host has an address that is held here. Told once for each rival.
    Conflict {
        /// The address.
        address: IpAddr,
        /// Our link-layer address.
        ours: Mac,
        /// The other host's.
        theirs: Mac,
        /// When it was seen first.
        since: Instant,
    },
    /// The other host was not seen any more, or the address is no longer held here.
    Resolved {
        /// The address.
        address: IpAddr,
        /// Our link-layer address.
        ours: Mac,
        /// The other host's.
        theirs: Mac,
        /// From the first time that it was seen to the last.
        lasted: Duration,
    },
}

/// What a detector has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConflictStats {
    /// Claims of other hosts to addresses that were held here.
    pub claims: u64,
    /// Announcements in defence.
    pub defences: u64,
    /// Claims of rivals that were too many to remember.
    pub forgotten: u64,
}

#[derive(Debug, Clone, Copy)]
struct Rival {
    since: Instant,
    seen_at: Instant,
}

/// Watches who claims the addresses that are held here (RFC 5227, section 2.4).
///
/// Bounded whatever the network says: [`MAX_RIVALS`] rivals are remembered, each is told of once
/// and once more when it is gone, and an address is announced at most once in the defence's
/// interval.
///
/// ```
/// use ha_core::{machine::Machine, time::Instant};
/// use ha_vip::announce::{
///     ConflictConfig, ConflictDetector, ConflictInput, ConflictOutput, Mac, Sighting, SightingKind,
/// };
///
/// let address: ha_vip::VirtualAddress = "192.0.2.10/24".parse()?;
/// let config = ConflictConfig::builder(Mac::new([2, 0, 0, 0, 0, 1])).address(address).build()?;
/// let mut detector = ConflictDetector::new(config);
/// let mut out = Vec::new();
/// detector.handle(Instant::ZERO, ConflictInput::Held, &mut out);
/// let theirs = Mac::new([2, 0, 0, 0, 0, 2]);
/// let seen = Sighting { ip: address.ip(), mac: theirs, kind: SightingKind::Claim };
/// detector.handle(Instant::from_secs(5), ConflictInput::Seen(seen), &mut out);
/// assert_eq!(out.len(), 2); // the conflict, and the defence
/// assert_eq!(out[1], ConflictOutput::Defend(address));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ConflictDetector {
    config: ConflictConfig,
    watched: BTreeMap<IpAddr, VirtualAddress>,
    now: Instant,
    held_since: Option<Instant>,
    rivals: BTreeMap<(IpAddr, Mac), Rival>,
    /// Until when an address is not announced again.
    defended: BTreeMap<IpAddr, Instant>,
    look_at: Option<Instant>,
    /// The addresses that can be asked for, and which is next.
    askable: Vec<VirtualAddress>,
    next_look: usize,
    stats: ConflictStats,
}

impl ConflictDetector {
    /// A detector of addresses that are not held yet.
    #[must_use]
    pub fn new(config: ConflictConfig) -> Self {
        let watched = config.addresses.iter().map(|address| (address.ip(), *address)).collect();
        let ipv4 = config.addresses.iter().filter(|address| address.ip().is_ipv4());
        let askable = ipv4.copied().collect();
        Self {
            config,
            watched,
            now: Instant::ZERO,
            held_since: None,
            rivals: BTreeMap::new(),
            defended: BTreeMap::new(),
            look_at: None,
            askable,
            next_look: 0,
            stats: ConflictStats::default(),
        }
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &ConflictConfig {
        &self.config
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &ConflictStats {
        &self.stats
    }

    /// How many conflicts there are now.
    #[must_use]
    pub fn rivals(&self) -> usize {
        self.rivals.len()
    }

    fn held(&mut self) {
        if self.held_since.is_none() {
            self.held_since = Some(self.now);
            self.look_at = self.pause().map(|pause| self.now + pause.max(self.config.grace));
        }
    }

    fn released(&mut self, out: &mut Vec<ConflictOutput>) {
        self.held_since = None;
        self.look_at = None;
        self.defended.clear();
        for (key, rival) in std::mem::take(&mut self.rivals) {
            out.push(self.resolved(key, rival));
        }
    }

    fn seen(&mut self, sighting: Sighting, out: &mut Vec<ConflictOutput>) {
        let Sighting { ip, mac, kind } = sighting;
        let past_grace = self.held_since.is_some_and(|since| self.now >= since + self.config.grace);
        let Some(address) = self.watched.get(&ip).copied() else { return };
        // A probe is a question: the kernel answers it, and a well-behaved host leaves the address.
        if !past_grace || kind == SightingKind::Probe || self.config.ours.contains(&mac) {
            return;
        }
        self.stats.claims += 1;
        self.remember((ip, mac), out);
        if let ConflictPolicy::Defend(every) = self.config.policy
            && self.defended.get(&ip).is_none_or(|until| *until <= self.now)
        {
            self.defended.insert(ip, self.now + every);
            self.stats.defences += 1;
            out.push(ConflictOutput::Defend(address));
        }
    }

    fn remember(&mut self, key: (IpAddr, Mac), out: &mut Vec<ConflictOutput>) {
        if let Some(rival) = self.rivals.get_mut(&key) {
            rival.seen_at = self.now;
        } else if self.rivals.len() < MAX_RIVALS {
            self.rivals.insert(key, Rival { since: self.now, seen_at: self.now });
            let (address, theirs) = key;
            let (ours, since) = (self.config.mac, self.now);
            let event = ConflictEvent::Conflict { address, ours, theirs, since };
            out.push(ConflictOutput::Event(event));
        } else {
            self.stats.forgotten += 1;
        }
    }

    fn resolved(&self, (address, theirs): (IpAddr, Mac), rival: Rival) -> ConflictOutput {
        let (ours, lasted) = (self.config.mac, rival.seen_at.since(rival.since));
        ConflictOutput::Event(ConflictEvent::Resolved { address, ours, theirs, lasted })
    }

    /// The time between two questions: each address has its turn once in `look_every`.
    fn pause(&self) -> Option<Duration> {
        let count = u32::try_from(self.askable.len()).ok().filter(|count| *count > 0)?;
        self.config.look_every.map(|every| every / count)
    }

    fn look(&mut self, out: &mut Vec<ConflictOutput>) {
        let due = self.look_at.is_some_and(|at| at <= self.now);
        let Some(pause) = self.pause().filter(|_| due) else { return };
        // From now on, not from when it was due: a paused host does not make up for it.
        self.look_at = Some(self.now + pause);
        out.extend(self.askable.get(self.next_look).copied().map(ConflictOutput::Look));
        self.next_look = (self.next_look + 1) % self.askable.len().max(1);
    }
}

impl Machine for ConflictDetector {
    type Input = ConflictInput;
    type Output = ConflictOutput;
    /// All rivals gone at once, a question, a conflict and a defence.
    const MAX_OUTPUTS: usize = MAX_RIVALS + 3;

    fn handle(&mut self, now: Instant, input: ConflictInput, out: &mut Vec<ConflictOutput>) {
        self.tick(now, out);
        match input {
            ConflictInput::Held => self.held(),
            ConflictInput::Released => self.released(out),
            ConflictInput::Seen(sighting) => self.seen(sighting, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<ConflictOutput>) {
        self.now = self.now.max(now);
        let (now, silence) = (self.now, self.config.resolve_after);
        let gone: Vec<_> = self.rivals.extract_if(.., |_, r| r.seen_at + silence <= now).collect();
        for (key, rival) in gone {
            out.push(self.resolved(key, rival));
        }
        self.look(out);
    }

    fn deadline(&self) -> Option<Instant> {
        let gone = self.rivals.values().map(|rival| rival.seen_at + self.config.resolve_after);
        gone.chain(self.look_at).min()
    }
}

#[cfg(test)]
mod tests;
