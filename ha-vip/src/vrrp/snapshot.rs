//! What is, with its reasons: the state of all virtual routers at a moment.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ha_core::time::Instant;
use serde::{Deserialize, Serialize};

use super::config::{Instance, Priority, Vrid};
use super::effects::StateName;
use super::router::Router;
use super::wire::Reject;
use crate::track::Tally;

/// The virtual routers of a service at a moment; JSON through serde, text for people through
/// [`Display`](fmt::Display).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// In the order of the configuration.
    pub routers: Vec<RouterSnapshot>,
    /// Messages that the kernel did not take.
    pub unsent: u64,
}

/// One virtual router at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RouterSnapshot {
    /// Its name in the configuration.
    pub name: String,
    /// The interface that its adverts go through.
    pub interface: String,
    /// Its number on the network.
    pub vrid: Vrid,
    /// The address that its adverts come from.
    pub source: IpAddr,
    /// What it does.
    pub state: StateName,
    /// Why it is in this state.
    pub reason: String,
    /// How long it has been in this state; in whole microseconds when serialized.
    #[serde(rename = "lasting_us", with = "micros")]
    pub lasting: Duration,
    /// Whether its addresses are where the state wants them: on the interface if it serves, off it
    /// otherwise. `false` while they are moved, or tried again.
    pub settled: bool,
    /// The priority that counts now.
    pub priority: Priority,
    /// The priority that is configured.
    pub configured_priority: Priority,
    /// Stays back whatever its priority, as it was told to hand over.
    pub standing_back: bool,
    /// Who was heard as the active router last; `None` while this one is active, or nobody was.
    pub active_router: Option<IpAddr>,
    /// The interval of its own adverts; in whole microseconds when serialized.
    #[serde(rename = "advert_interval_us", with = "micros")]
    pub advert_interval: Duration,
    /// The addresses, with their prefixes.
    pub addresses: Vec<String>,
    /// What each tracker says, and what that does to the priority.
    pub trackers: Vec<TrackerSnapshot>,
    /// What was counted.
    pub counters: Counters,
}

/// A tracker's part in a router's priority at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TrackerSnapshot {
    /// Its name.
    pub name: String,
    /// What it says, such as `up`, `down`, a number, or `unknown`.
    pub says: String,
    /// What that does, such as `fault`, `waiting`, or `-30`.
    pub does: String,
}

/// What a router has counted since it was made; [`Stats`](super::Stats) with names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counters {
    /// Adverts sent, those of priority 0 included.
    pub sent: u64,
    /// Adverts of this virtual router taken in.
    pub received: u64,
    /// Beats and offers of kin taken in.
    pub kin_received: u64,
    /// How often it became active.
    pub became_active: u64,
    /// Packets dropped, by reason; without those that never were.
    pub rejected: BTreeMap<String, u64>,
}

impl RouterSnapshot {
    /// What `router` is at `now`.
    #[must_use]
    pub fn new(
        now: Instant,
        instance: &Instance,
        router: &Router,
        tally: Option<&Tally>,
        settled: bool,
    ) -> Self {
        let (since, reason) = router.since();
        let (config, stats) = (router.config(), router.stats());
        let all = config.addresses().iter().chain(config.unadvertised());
        let parts = tally.map(Tally::reasons).unwrap_or_default();
        let trackers = parts.iter().map(|part| TrackerSnapshot {
            name: part.name().to_owned(),
            says: part.verdict().to_string(),
            does: part.contribution().to_string(),
        });
        let rejected = Reject::ALL.iter().zip(stats.rejected).filter(|(_, count)| *count > 0);
        Self {
            name: instance.name().to_owned(),
            interface: instance.interface().to_owned(),
            vrid: config.vrid(),
            source: router.source(),
            state: router.state(),
            reason: reason.to_string(),
            lasting: now.since(since),
            settled,
            priority: router.priority(),
            configured_priority: config.priority(),
            standing_back: router.is_standing_back(),
            active_router: router.active_router(),
            advert_interval: config.advert_interval(),
            addresses: all.map(ToString::to_string).collect(),
            trackers: trackers.collect(),
            counters: Counters {
                sent: stats.sent,
                received: stats.received,
                kin_received: stats.kin_received,
                became_active: stats.became_active,
                rejected: rejected.map(|(why, count)| (why.to_string(), count)).collect(),
            },
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut routers = self.routers.iter();
        if let Some(first) = routers.next() {
            write!(f, "{first}")?;
        }
        routers.try_for_each(|router| write!(f, "\n{router}"))
    }
}

impl fmt::Display for RouterSnapshot {
    /// A line with state and reason, then one with the addresses, then one for each tracker.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, vrid, interface, state, reason, priority, .. } = self;
        let seconds = self.lasting.as_secs_f64();
        write!(f, "{name} (vrid {vrid} on {interface}): {state} for {seconds:.1} s: {reason}")?;
        write!(f, "; priority {priority}")?;
        if self.priority != self.configured_priority {
            write!(f, " of {}", self.configured_priority)?;
        }
        if let Some(active) = self.active_router {
            write!(f, "; {active} is active")?;
        }
        if self.standing_back {
            f.write_str("; stands back until it is resumed")?;
        }
        let held = match (self.state.holds(), self.settled) {
            (true, true) => "served here",
            (true, false) => "being put on the interface",
            (false, true) => "not here",
            (false, false) => "being removed",
        };
        write!(f, "\n  {}: {held}", self.addresses.join(", "))?;
        self.trackers.iter().try_for_each(|tracker| write!(f, "\n  {tracker}"))
    }
}

impl fmt::Display for TrackerSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, says, does } = self;
        write!(f, "{name}: {says}, {does}")
    }
}

/// Durations as numbers that scripts can compute with.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ha_core::machine::Machine;

    use super::*;
    use crate::track::{Tracked, Verdict, Weight};
    use crate::vrrp::{Input, RouterConfig};

    #[test]
    fn a_snapshot_says_what_is_and_why_and_reads_itself_back() {
        let address: crate::VirtualAddress = "192.0.2.10/24".parse().expect("an address");
        let config = RouterConfig::builder(51).address(address).build().expect("valid");
        let mut tally = Tally::new(
            config.priority(),
            vec![Tracked::new("haproxy").weight(Weight::new(-30).expect("in range"))],
        );
        tally.report("haproxy", Verdict::Down);
        let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let mut router = Router::new(config.clone(), source);
        router.handle(Instant::from_secs(1), Input::Start, &mut Vec::new());
        let instance = Instance::new("web", "eth0", config);
        let now = Instant::from_secs(3);
        let router = RouterSnapshot::new(now, &instance, &router, Some(&tally), true);
        let snapshot = Snapshot { routers: vec![router], unsent: 0 };
        assert_eq!(
            snapshot.to_string(),
            "web (vrid 51 on eth0): backup for 2.0 s: started; priority 100\n  \
             192.0.2.10/24: not here\n  haproxy: down, -30"
        );
        let text = serde_json::to_string(&snapshot).expect("text");
        assert_eq!(serde_json::from_str::<Snapshot>(&text).expect("the same"), snapshot);
        assert!(text.contains("\"state\":\"backup\""), "{text}");
    }
}
