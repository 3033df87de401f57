//! Failure counts that expire.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ha_core::id::ResourceName;
use ha_core::time::Instant;

/// Which failures of the past count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Counting {
    /// All, until a person clears them. Pacemaker's default.
    Forever,
    /// All, until there was none for this long (Pacemaker's `failure-timeout`).
    UntilQuiet(Duration),
    /// Those of the last such time: a sliding window. Of one resource at most 64 are counted.
    Within(Duration),
}

/// How often each resource has failed on this node.
///
/// A success does not clear a count; a person does ([`clear`](Self::clear)), or time, as
/// [`Counting`] says. At most 4096 resources are counted for; one more, and the failures of the one
/// that has failed least recently are forgotten.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::executor::Failures;
/// use ha_core::time::Instant;
///
/// let web = "web".parse().unwrap();
/// let at = Instant::from_secs;
/// let mut failures = Failures::new(Some(Duration::from_secs(60)));
/// failures.record(at(0), &web);
/// assert_eq!(failures.record(at(50), &web), 2);
/// assert_eq!(failures.count(at(100), &web), 2);
/// assert_eq!(failures.count(at(110), &web), 0, "quiet for 60 s: all are forgotten at once");
///
/// let mut failures = Failures::within(Duration::from_secs(60));
/// failures.record(at(0), &web);
/// assert_eq!(failures.record(at(50), &web), 2);
/// assert_eq!(failures.count(at(100), &web), 1, "only the second is of the last 60 s");
/// ```
#[derive(Debug, Clone)]
pub struct Failures {
    counting: Counting,
    counts: BTreeMap<ResourceName, Count>,
}

#[derive(Debug, Clone)]
struct Count {
    number: u32,
    last: Instant,
    /// When they were, oldest first; kept only for a sliding window.
    times: VecDeque<Instant>,
}

/// How many resources are counted for.
const MAX_RESOURCES: usize = 4_096;
/// How many failures of one resource a sliding window keeps.
const MAX_TIMES: usize = 64;

impl Failures {
    /// No failures yet; they are forgotten `expiry` after the last. Default of the executor: never,
    /// as in Pacemaker.
    #[must_use]
    pub const fn new(expiry: Option<Duration>) -> Self {
        Self::counting(match expiry {
            Some(expiry) => Counting::UntilQuiet(expiry),
            None => Counting::Forever,
        })
    }

    /// No failures yet; each counts for as long as `window`.
    #[must_use]
    pub const fn within(window: Duration) -> Self {
        Self::counting(Counting::Within(window))
    }

    /// No failures yet.
    #[must_use]
    pub const fn counting(counting: Counting) -> Self {
        Self { counting, counts: BTreeMap::new() }
    }

    /// Notes a failure; returns how many there are now.
    pub fn record(&mut self, now: Instant, resource: &ResourceName) -> u32 {
        let number = self.count(now, resource).saturating_add(1);
        if !self.counts.contains_key(resource) && self.counts.len() >= MAX_RESOURCES {
            let oldest = self.counts.iter().min_by_key(|(_, count)| count.last);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.counts.remove(&name);
            }
        }
        let new = || Count { number: 0, last: now, times: VecDeque::new() };
        let count = self.counts.entry(resource.clone()).or_insert_with(new);
        (count.number, count.last) = (number, now);
        if let Counting::Within(window) = self.counting {
            if count.times.len() >= MAX_TIMES {
                count.times.pop_front();
            }
            count.times.push_back(now);
            count.times.retain(|at| now < *at + window);
        }
        self.count(now, resource)
    }

    /// Forgets the failures of `resource` (Pacemaker's cleanup).
    pub fn clear(&mut self, resource: &ResourceName) {
        self.counts.remove(resource);
    }

    /// How many failures count at `now`.
    #[must_use]
    pub fn count(&self, now: Instant, resource: &ResourceName) -> u32 {
        let Some(count) = self.counts.get(resource) else { return 0 };
        match self.counting {
            Counting::Forever => count.number,
            Counting::UntilQuiet(expiry) if now < count.last + expiry => count.number,
            Counting::UntilQuiet(_) => 0,
            Counting::Within(window) => {
                let fresh = count.times.iter().filter(|at| now < **at + window).count();
                u32::try_from(fresh).unwrap_or(u32::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut failures = Failures::within(Duration::from_secs(100));
        let name = |number: u64| format!("r{number}").parse().expect("a name");
        for number in 0..5_000 {
            failures.record(Instant::from_millis(number), &name(number));
        }
        assert_eq!(failures.counts.len(), MAX_RESOURCES);
        let now = Instant::from_millis(5_000);
        assert_eq!((failures.count(now, &name(0)), failures.count(now, &name(4_999))), (0, 1));
        for _ in 0..1_000 {
            failures.record(now, &name(4_999));
        }
        assert_eq!(failures.count(now, &name(4_999)), 64);
    }
}
