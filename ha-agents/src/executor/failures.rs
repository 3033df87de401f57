//! Failure counts that expire.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::id::ResourceName;
use ha_core::time::Instant;

/// How often each resource has failed on this node.
///
/// A success does not clear a count; a person does ([`clear`](Self::clear)), or time: when the last
/// failure is older than the expiry, all are forgotten at once (Pacemaker's `failure-timeout`).
///
/// ```
/// use std::time::Duration;
/// use ha_agents::executor::Failures;
/// use ha_core::time::Instant;
///
/// let (web, mut failures) = ("web".parse().unwrap(), Failures::new(Some(Duration::from_secs(60))));
/// failures.record(Instant::from_secs(0), &web);
/// assert_eq!(failures.record(Instant::from_secs(50), &web), 2);
/// assert_eq!(failures.count(Instant::from_secs(100), &web), 2);
/// assert_eq!(failures.count(Instant::from_secs(110), &web), 0);
/// ```
#[derive(Debug, Clone)]
pub struct Failures {
    expiry: Option<Duration>,
    counts: BTreeMap<ResourceName, (u32, Instant)>,
}

impl Failures {
    /// No failures yet. Default of the executor: they do not expire, as in Pacemaker.
    #[must_use]
    pub const fn new(expiry: Option<Duration>) -> Self {
        Self { expiry, counts: BTreeMap::new() }
    }

    /// Notes a failure; returns how many there are now.
    pub fn record(&mut self, now: Instant, resource: &ResourceName) -> u32 {
        let count = self.count(now, resource).saturating_add(1);
        self.counts.insert(resource.clone(), (count, now));
        count
    }

    /// Forgets the failures of `resource` (Pacemaker's cleanup).
    pub fn clear(&mut self, resource: &ResourceName) {
        self.counts.remove(resource);
    }

    /// How many failures count at `now`.
    #[must_use]
    pub fn count(&self, now: Instant, resource: &ResourceName) -> u32 {
        let known = self.counts.get(resource);
        let fresh = |last: Instant| self.expiry.is_none_or(|expiry| now < last + expiry);
        known.filter(|(_, last)| fresh(*last)).map_or(0, |(count, _)| *count)
    }
}
