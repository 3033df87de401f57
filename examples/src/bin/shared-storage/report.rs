//! What is shown: a table at the end, and the account of the service.

use std::fmt::Write;
use std::time::Duration;

use ha_core::availability::Ledger;

use crate::events::millis;
use crate::traffic::Seen;

/// One event of the show, and what it cost.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) event: String,
    pub(crate) outcome: String,
    /// Who led when it happened.
    pub(crate) leader: String,
    pub(crate) seen: Seen,
    /// The longest time without an answer to the 1 ms probe of the address itself.
    pub(crate) address_gap: Duration,
    pub(crate) fenced: String,
    /// How long the old place was surely harmless before the first start elsewhere.
    pub(crate) margin: Option<f64>,
    /// What must hold for the show to be a success, in words if it did not.
    pub(crate) missed: Vec<String>,
}

/// A table of all rows.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut line = |cells: [&str; 9]| {
        let [event, outcome, leader, gap, address, failed, fenced, margin, passed] = cells;
        writeln!(
            text,
            "{event:<30} {outcome:<22} {leader:<6} {gap:>10} {address:>11} {failed:>7} {fenced:>7} \
             {margin:>9}  {passed}"
        )
        .unwrap_or_default();
    };
    line([
        "event",
        "outcome",
        "led by",
        "client gap",
        "address gap",
        "gave up",
        "fenced",
        "margin",
        "",
    ]);
    line(["", "", "", "ms", "ms", "", "", "ms", ""]);
    for row in rows {
        let margin = row.margin.map_or_else(|| "-".to_owned(), |margin| format!("{margin:.1}"));
        line([
            &row.event,
            &row.outcome,
            &row.leader,
            &format!("{:.1}", millis(row.seen.gap)),
            &format!("{:.1}", millis(row.address_gap)),
            &row.seen.failed.to_string(),
            &row.fenced,
            &margin,
            &if row.missed.is_empty() {
                "ok".to_owned()
            } else {
                format!("MISSED: {}", row.missed.join("; "))
            },
        ]);
    }
    text
}

/// The account of the service, as an operator would read it.
pub(crate) fn account(ledger: &Ledger, now: ha_core::time::Instant) -> String {
    let report = ledger.report(now);
    let mean = |time: Option<Duration>| {
        time.map_or_else(|| "-".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()))
    };
    format!(
        "{} in {:.1} s: {:.2} % available, {} outages of together {:.2} s (planned besides: \
         {:.2} s), mean time between failures {}, mean time to repair {}",
        ledger.service(),
        report.period.as_secs_f64(),
        report.availability() * 100.0,
        report.outages,
        report.downtime.as_secs_f64(),
        report.planned_downtime.as_secs_f64(),
        mean(report.mtbf),
        mean(report.mttr),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_event_and_says_what_was_missed() {
        let row = |missed: &[&str]| Row {
            event: "power lost".to_owned(),
            outcome: "n2 serves".to_owned(),
            leader: "n1".to_owned(),
            seen: Seen { sent: 10, failed: 0, gap: Duration::from_micros(38_400) },
            address_gap: Duration::from_millis(37),
            fenced: "n1".to_owned(),
            margin: Some(12.5),
            missed: missed.iter().map(|text| (*text).to_owned()).collect(),
        };
        let text = table(&[row(&[]), row(&["too slow"])]);
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("38.4") && text.contains("MISSED: too slow"), "{text}");
    }
}
