//! Holds a change back until it has lasted.

use std::time::Duration;

use ha_core::time::Instant;

use super::Verdict;

/// Lets a change to up or down through only when it has lasted for its delay; a change back
/// before that was none. The first state that is known counts at once.
#[derive(Debug, Clone)]
pub(super) struct Debounce {
    up_delay: Duration,
    down_delay: Duration,
    told: Verdict,
    /// The change that is waited with, and since when it counts.
    coming: Option<(Verdict, Instant)>,
}

impl Debounce {
    pub(super) const fn new(up_delay: Duration, down_delay: Duration) -> Self {
        Self { up_delay, down_delay, told: Verdict::Unknown, coming: None }
    }

    /// Takes what is seen at `now`.
    pub(super) fn observe(&mut self, now: Instant, seen: Verdict) {
        if seen == self.told {
            self.coming = None;
            return;
        }
        if self.coming.is_some_and(|(coming, _)| coming == seen) {
            return;
        }
        let delay = match (self.told, seen) {
            (Verdict::Unknown, _) | (_, Verdict::Unknown | Verdict::Number(_)) => Duration::ZERO,
            (_, Verdict::Up) => self.up_delay,
            (_, Verdict::Down) => self.down_delay,
        };
        self.coming = Some((seen, now + delay));
    }

    /// The change that is due at `now`.
    pub(super) fn take(&mut self, now: Instant) -> Option<Verdict> {
        let (verdict, due) = self.coming?;
        if now < due {
            return None;
        }
        self.coming = None;
        self.told = verdict;
        Some(verdict)
    }

    /// When [`take`](Self::take) has something.
    pub(super) fn due(&self) -> Option<Instant> {
        self.coming.map(|(_, due)| due)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bounce_shorter_than_the_delay_is_none() {
        let at = Instant::from_millis;
        let mut debounce = Debounce::new(Duration::from_millis(50), Duration::from_millis(20));
        debounce.observe(at(0), Verdict::Up);
        assert_eq!(debounce.take(at(0)), Some(Verdict::Up)); // the first counts at once
        debounce.observe(at(10), Verdict::Down);
        debounce.observe(at(15), Verdict::Down); // still the same change
        assert_eq!(debounce.take(at(29)), None);
        debounce.observe(at(29), Verdict::Up);
        assert_eq!((debounce.take(at(100)), debounce.due()), (None, None));
        debounce.observe(at(100), Verdict::Down);
        assert_eq!(debounce.due(), Some(at(120)));
        assert_eq!(debounce.take(at(120)), Some(Verdict::Down));
        debounce.observe(at(130), Verdict::Up);
        assert_eq!(debounce.due(), Some(at(180)));
    }

    proptest! {
        /// Never two equal verdicts in a row, none that was not seen for its delay, and in the
        /// end what was seen last.
        #[test]
        fn what_is_told_has_lasted_and_is_never_told_twice(
            up in 0u64..50, down in 0u64..50,
            seen in prop::collection::vec((any::<bool>(), 0u64..40), 1..60),
        ) {
            let mut debounce =
                Debounce::new(Duration::from_millis(up), Duration::from_millis(down));
            let (mut now, mut told) = (Instant::ZERO, Verdict::Unknown);
            let mut since: Option<(Verdict, Instant)> = None;
            for (is_up, gap) in seen {
                let verdict = if is_up { Verdict::Up } else { Verdict::Down };
                if since.is_none_or(|(last, _)| last != verdict) {
                    since = Some((verdict, now));
                }
                debounce.observe(now, verdict);
                let next = now + Duration::from_millis(gap);
                let due = debounce.due().filter(|due| *due <= next);
                if let Some(change) = debounce.take(due.unwrap_or(now)) {
                    let (last, began) = since.expect("something was seen");
                    let delay = if is_up { up } else { down };
                    prop_assert!(change != told && change == last);
                    let lasted = due.expect("it was due").since(began);
                    prop_assert!(told == Verdict::Unknown
                        || lasted >= Duration::from_millis(delay));
                    told = change;
                }
                now = next;
            }
            debounce.take(now + Duration::from_secs(1));
            prop_assert_eq!(debounce.told, since.expect("something").0);
            prop_assert_eq!(debounce.due(), None);
        }
    }
}
