//! The timeline as a table.

use std::fmt::{self, Display, Formatter};

use super::Timeline;

/// A timeline, displayed as lines of text.
pub(super) struct Table<'a>(pub(super) &'a Timeline);

impl Display for Table<'_> {
    fn fmt(&self, text: &mut Formatter<'_>) -> fmt::Result {
        let Some((start, _)) = self.0.range() else {
            return writeln!(text, "no events");
        };
        let width = self.0.subjects().iter().map(|subject| subject.chars().count()).max();
        let width = width.unwrap_or_default().min(32);
        for event in self.0.events() {
            let since = event.at.since(start).as_secs_f64();
            write!(text, "{since:>10.4} s  {:<width$}  {}", event.subject, event.kind)?;
            if !event.reason.is_empty() {
                write!(text, "  ({})", event.reason)?;
            }
            writeln!(text)?;
        }
        if self.0.dropped() > 0 {
            writeln!(text, "({} older events were dropped)", self.0.dropped())?;
        }
        Ok(())
    }
}
