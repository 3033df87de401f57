//! Which numbers of messages are taken.

/// How far back a message may be that comes late, and how far ahead one may be (section 6.12).
const BEHIND: u32 = 16;
const AHEAD: u32 = 15;

/// The numbers that were seen: no message is taken twice, and none that is far off.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    highest: u32,
    /// Bit n: the number `highest - n` was seen.
    seen: u32,
}

impl Window {
    /// Whether a message of this number is new; it is not any more afterwards.
    pub(super) const fn take(&mut self, number: u32) -> bool {
        let ahead = number.wrapping_sub(self.highest);
        let behind = self.highest.wrapping_sub(number);
        if number == 0 {
            return false; // the number of messages outside of sessions
        }
        if ahead > 0 && ahead <= AHEAD {
            self.seen = (self.seen << ahead) | 1;
            self.highest = number;
            return true;
        }
        if behind <= BEHIND && self.seen & (1 << behind) == 0 {
            self.seen |= 1 << behind;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_once_and_late_ones_within_the_window() {
        let mut window = Window::default();
        let take = |window: &mut Window, numbers: &[u32]| -> Vec<bool> {
            numbers.iter().map(|number| window.take(*number)).collect()
        };
        assert_eq!(
            take(&mut window, &[0, 1, 1, 3, 2, 2, 3]),
            [false, true, false, true, true, false, false]
        );
        // 16 is 13 ahead; 32 is 16 ahead of it, too far; 31 is not.
        assert_eq!(
            take(&mut window, &[16, 32, 31, 15, 14, 15]),
            [true, false, true, true, false, false]
        );
    }

    #[test]
    fn numbers_may_begin_again() {
        let mut window = Window { highest: u32::MAX, seen: 1 };
        assert!(!window.take(0) && window.take(2) && window.take(1) && !window.take(u32::MAX));
    }
}
