//! Who held an address when, computed from the changes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ha_core::id::NodeName;
use ha_core::time::Instant;
use serde::Serialize;

/// A host began or ceased to hold the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HolderEvent {
    /// When.
    pub at: Instant,
    /// Who.
    pub host: NodeName,
    /// Whether it holds it from now on.
    pub holds: bool,
}

impl HolderEvent {
    /// A change.
    #[must_use]
    pub const fn new(at: Instant, host: NodeName, holds: bool) -> Self {
        Self { at, host, holds }
    }
}

/// A time in which a host held the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HolderSpan {
    /// Who.
    pub host: NodeName,
    /// From when.
    pub from: Instant,
    /// Until when; the end of the watch if it still does.
    pub to: Instant,
}

/// A time in which the same two or more hosts held the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Overlap {
    /// Who, by name.
    pub hosts: Vec<NodeName>,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
}

/// A time in which nobody held the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Vacancy {
    /// From when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
}

/// Who held an address when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HolderReport {
    /// Who held it when, by the time at which it began.
    pub spans: Vec<HolderSpan>,
    /// The times with more than one holder, oldest first.
    pub overlaps: Vec<Overlap>,
    /// The times without a holder, oldest first.
    pub vacancies: Vec<Vacancy>,
    /// The sum of all overlaps.
    pub overlapped: Duration,
    /// The sum of all vacancies.
    pub vacant: Duration,
}

impl HolderReport {
    /// Computes it from the changes between `start` and `end`, in the order of their times.
    ///
    /// At the start nobody holds it; what is there already is a change at the start. Changes that
    /// change nothing are passed over; a time that goes back counts as the last one.
    #[must_use]
    pub fn of(events: &[HolderEvent], start: Instant, end: Instant) -> Self {
        let mut report = Self::default();
        let mut holders: BTreeMap<&NodeName, Instant> = BTreeMap::new();
        let mut since = start;
        for event in events {
            if event.holds == holders.contains_key(&event.host) {
                continue;
            }
            let at = event.at.max(since).min(end.max(start));
            report.stretch(&holders, since, at);
            since = at;
            if event.holds {
                holders.insert(&event.host, at);
            } else if let Some(from) = holders.remove(&event.host) {
                report.spans.push(HolderSpan { host: event.host.clone(), from, to: at });
            }
        }
        let end = end.max(since);
        report.stretch(&holders, since, end);
        for (host, from) in holders {
            report.spans.push(HolderSpan { host: host.clone(), from, to: end });
        }
        report.spans.sort_by(|a, b| (a.from, &a.host).cmp(&(b.from, &b.host)));
        report
    }

    /// Takes a time in which the holders were the same.
    fn stretch(&mut self, holders: &BTreeMap<&NodeName, Instant>, from: Instant, to: Instant) {
        if to <= from {
            return;
        }
        match holders.len() {
            0 => {
                self.vacancies.push(Vacancy { from, to });
                self.vacant += to.since(from);
            }
            1 => {}
            _ => {
                let hosts = holders.keys().map(|&name| name.clone()).collect();
                self.overlaps.push(Overlap { hosts, from, to });
                self.overlapped += to.since(from);
            }
        }
    }
}

impl fmt::Display for HolderReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(
            f,
            "held {} times, {} overlaps ({:.1} ms), {} vacancies ({:.1} ms)",
            self.spans.len(),
            self.overlaps.len(),
            millis(self.overlapped),
            self.vacancies.len(),
            millis(self.vacant)
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(at: u64, host: &str, holds: bool) -> HolderEvent {
        HolderEvent::new(Instant::from_millis(at), NodeName::new(host).expect("a name"), holds)
    }

    #[test]
    fn a_clean_handover_has_a_vacancy_and_a_dirty_one_an_overlap() {
        let events = [
            event(0, "a", true),
            event(10, "a", false),
            event(15, "b", true),
            event(20, "a", true),
            event(22, "b", false),
        ];
        let report = HolderReport::of(&events, Instant::ZERO, Instant::from_millis(30));
        let [from, to] = [10, 15].map(Instant::from_millis);
        assert_eq!(report.vacancies, [Vacancy { from, to }]);
        assert_eq!(report.overlaps.len(), 1);
        assert_eq!(report.overlapped, Duration::from_millis(2));
        let spans: Vec<_> = report.spans.iter().map(|s| (s.host.as_str(), s.to)).collect();
        let ends = [10, 22, 30].map(Instant::from_millis);
        assert_eq!(spans, [("a", ends[0]), ("b", ends[1]), ("a", ends[2])]);
    }

    #[test]
    fn nothing_seen_is_vacant_throughout() {
        let report = HolderReport::of(&[], Instant::ZERO, Instant::from_secs(1));
        assert_eq!((report.spans.len(), report.vacant), (0, Duration::from_secs(1)));
    }

    proptest! {
        /// Beside the naive way: look at each millisecond who holds it.
        #[test]
        fn the_report_agrees_with_a_look_at_each_millisecond(
            steps in proptest::collection::vec((0_u64..5, 0_usize..3, any::<bool>()), 0..60),
        ) {
            let mut now = 0;
            let events: Vec<HolderEvent> = steps.iter().map(|&(step, host, holds)| {
                now += step;
                event(now, ["a", "b", "c"][host], holds)
            }).collect();
            let end = now + 3;
            let report = HolderReport::of(&events, Instant::ZERO, Instant::from_millis(end));
            let (mut none, mut many) = (0, 0);
            for millisecond in 0..end {
                let mut holders = std::collections::BTreeSet::new();
                for event in events.iter().filter(|e| e.at <= Instant::from_millis(millisecond)) {
                    if event.holds {
                        holders.insert(&event.host);
                    } else {
                        holders.remove(&event.host);
                    }
                }
                none += u64::from(holders.is_empty());
                many += u64::from(holders.len() > 1);
            }
            prop_assert_eq!(report.vacant, Duration::from_millis(none));
            prop_assert_eq!(report.overlapped, Duration::from_millis(many));
            prop_assert!(report.spans.is_sorted_by_key(|span| span.from));
        }
    }
}
