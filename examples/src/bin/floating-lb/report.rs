//! What is shown: progress while it goes on, a table and a timeline at the end.

use std::fmt::Write;
use std::time::Duration;

use crate::traffic::Seen;

/// One event of the show, and what it cost.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) event: &'static str,
    pub(crate) outcome: String,
    pub(crate) seen: Seen,
    /// The longest time without an answer to the 1 ms probe of the address itself.
    pub(crate) address_gap: Duration,
    /// How long two balancers held the address together.
    pub(crate) overlap: Duration,
    /// What must hold for the show to be a success, and whether it did.
    pub(crate) passed: bool,
}

fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut line = |cells: [&str; 9]| {
        let [event, outcome, http, address, overlap, sent, failed, retried, passed] = cells;
        writeln!(
            text,
            "{event:<24} {outcome:<26} {http:>9} {address:>12} {overlap:>10} {sent:>6} {failed:>7} \
             {retried:>8}  {passed}"
        )
        .unwrap_or_default();
    };
    line([
        "event",
        "outcome",
        "HTTP gap",
        "address gap",
        "both hold",
        "sent",
        "failed",
        "retried",
        "",
    ]);
    line(["", "", "ms", "ms", "ms", "", "", "", ""]);
    for row in rows {
        line([
            row.event,
            &row.outcome,
            &ms(row.seen.gap),
            &ms(row.address_gap),
            &ms(row.overlap),
            &row.seen.sent.to_string(),
            &row.seen.failed.to_string(),
            &row.seen.retried.to_string(),
            if row.passed { "ok" } else { "MISSED" },
        ]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_event_and_marks_what_was_missed() {
        let row = |event, passed| Row {
            event,
            outcome: "lb2 serves".to_owned(),
            seen: Seen { sent: 10, gap: Duration::from_micros(38_400), ..Seen::default() },
            address_gap: Duration::from_millis(37),
            overlap: Duration::ZERO,
            passed,
        };
        let text = table(&[row("power lost", true), row("switchover", false)]);
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("38.4") && text.contains("MISSED"), "{text}");
    }
}
