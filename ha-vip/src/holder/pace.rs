//! How often addresses are put back that another program removes.

use std::collections::VecDeque;
use std::time::Duration;

use ha_core::time::Instant;

/// So many times in a row at once, and as many in each period after that.
const TIMES: usize = 3;
const PERIOD: Duration = Duration::from_secs(1);

/// The last times at which something was put back.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<Instant>);

impl Pace {
    /// Takes notice that something was put back.
    pub(super) fn note(&mut self, now: Instant) {
        self.0.push_back(now);
        if self.0.len() > TIMES {
            self.0.pop_front();
        }
    }

    /// When the next time may be; `None`: at once.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let first = self.0.front().filter(|_| self.0.len() == TIMES)?;
        Some(*first + PERIOD).filter(|due| *due > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_slowed_down_to_a_few_times_a_second() {
        let (mut pace, mut now, mut times) = (Pace::default(), Instant::ZERO, 0);
        while now < Instant::ZERO + Duration::from_secs(10) {
            if pace.due(now).is_none() {
                pace.note(now);
                times += 1;
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(times, 30);
    }

    #[test]
    fn after_a_quiet_time_the_first_is_at_once() {
        let mut pace = Pace::default();
        for _ in 0..TIMES {
            assert_eq!(pace.due(Instant::ZERO), None);
            pace.note(Instant::ZERO);
        }
        assert_eq!(pace.due(Instant::ZERO), Some(Instant::ZERO + PERIOD));
        assert_eq!(pace.due(Instant::ZERO + PERIOD), None);
    }
}
