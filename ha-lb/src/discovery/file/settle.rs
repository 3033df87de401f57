//! Whether what a file says now is what its writer means; without I/O.
//!
//! ```text
//!  first look ───────────────────────────────▶ take it
//!  later:  other than before ─▶ look again ─▶ the same twice ─▶ take it
//! ```

use std::io::ErrorKind;

/// What a look at the file has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing has changed that can be told without reading.
    Unchanged,
    /// It was read; the hash of its content.
    Content(u64),
    /// It could not be read.
    Failed(ErrorKind),
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Read it next time, even if it seems unchanged, and see whether it stays so.
    LookAgain,
    /// Nothing.
    Wait,
    /// Tell of the failure.
    Tell,
    /// Use the content; then as `LookAgain`.
    Use,
}

/// Waits until a file says the same twice.
///
/// Whoever writes a file in place leaves half of it to be seen for a moment, and two writes within
/// a tick of the file system's clock look like one.
#[derive(Debug, Default)]
pub(super) struct Settle {
    /// The content that was used last.
    used: Option<u64>,
    /// Other content, seen once.
    candidate: Option<u64>,
    failed: Option<ErrorKind>,
}

impl Settle {
    pub(super) fn judge(&mut self, seen: Seen) -> Verdict {
        match seen {
            Seen::Unchanged => Verdict::Wait,
            Seen::Failed(kind) if self.failed == Some(kind) => Verdict::Wait,
            Seen::Failed(kind) => {
                (self.failed, self.candidate) = (Some(kind), None);
                Verdict::Tell
            }
            Seen::Content(content) => self.content(content),
        }
    }

    fn content(&mut self, content: u64) -> Verdict {
        let is_first = self.used.is_none() && self.failed.is_none();
        let is_settled = self.candidate == Some(content);
        if is_first || is_settled {
            // After a failure also if it is what it was: that all is well again is news.
            let is_news = self.used != Some(content) || self.failed.is_some();
            *self = Self { used: Some(content), candidate: None, failed: None };
            return if is_news { Verdict::Use } else { Verdict::Wait };
        }
        if self.used == Some(content) && self.failed.is_none() {
            self.candidate = None;
            return Verdict::Wait;
        }
        self.candidate = Some(content);
        Verdict::LookAgain
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn verdicts(seen: &[Seen]) -> Vec<Verdict> {
        let mut settle = Settle::default();
        seen.iter().map(|seen| settle.judge(*seen)).collect()
    }

    #[test]
    fn content_counts_once_it_is_seen_twice() {
        use Verdict::{LookAgain, Tell, Use, Wait};
        let c = Seen::Content;
        assert_eq!(verdicts(&[c(1), c(1), Seen::Unchanged]), [Use, Wait, Wait]);
        // Half of a file, then all of it.
        assert_eq!(verdicts(&[c(1), c(2), c(3), c(3)]), [Use, LookAgain, LookAgain, Use]);
        // A change that is taken back.
        assert_eq!(
            verdicts(&[c(1), c(2), c(1), c(2), c(2)]),
            [Use, LookAgain, Wait, LookAgain, Use]
        );
        // Gone, and back with what it was.
        let gone = Seen::Failed(ErrorKind::NotFound);
        let seen = [c(1), gone, gone, c(1), c(1), c(1)];
        assert_eq!(verdicts(&seen), [Use, Tell, Wait, LookAgain, Use, Wait]);
        let denied = Seen::Failed(ErrorKind::PermissionDenied);
        assert_eq!(verdicts(&[gone, denied, c(1), c(1)]), [Tell, Tell, LookAgain, Use]);
    }

    proptest! {
        #[test]
        fn what_stays_is_used(seen in prop::collection::vec(0u8..6, 0..50), last in 0u64..4) {
            let mut settle = Settle::default();
            let mut used = None;
            let mut look = |seen| {
                if settle.judge(seen) == Verdict::Use {
                    used = if let Seen::Content(content) = seen { Some(content) } else { None };
                }
            };
            for seen in seen {
                look(match seen {
                    4 => Seen::Unchanged,
                    5 => Seen::Failed(ErrorKind::NotFound),
                    content => Seen::Content(content.into()),
                });
            }
            look(Seen::Content(last));
            look(Seen::Content(last));
            prop_assert_eq!(used, Some(last));
        }
    }
}
