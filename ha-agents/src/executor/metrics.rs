//! Numbers for monitoring, through the `metrics` facade: told as the events happen.
//!
//! | name | kind | labels | meaning |
//! |---|---|---|---|
//! | `ha_executor_operations_total` | counter | `action`, `outcome` | operations that have ended |
//! | `ha_executor_operation_seconds` | histogram | `action` | how long they took |
//! | `ha_executor_wait_seconds` | histogram | `action` | how long they waited before that |
//! | `ha_executor_failures_total` | counter | `resource`, `action`, `recovery` | failures that counted |
//! | `ha_executor_tolerated_total` | counter | `resource` | failed monitors that did not count |
//! | `ha_executor_skipped_total` | counter | `resource` | runs of monitors that were left out |
//! | `ha_executor_forgotten_total` | counter | none | resources that were forgotten |
//! | `ha_executor_pressure` | gauge | none | 0 to 3: how much the node's load holds up |
//!
//! `action` is `start`, `stop`, `probe`, `monitor`, …; `outcome` is as [`Outcome`](crate::Outcome)
//! prints it, or `no answer`; `recovery` is an [`OnFail`](super::OnFail).

use metrics::{counter, gauge, histogram};

use super::event::Event;
use super::throttle::Pressure;

/// Tells the recorder that the program has installed.
pub(super) fn count(event: &Event) {
    match event {
        Event::Began { action, waited, .. } => {
            let action = action.to_string();
            histogram!("ha_executor_wait_seconds", "action" => action).record(waited.as_secs_f64());
        }
        Event::Finished { action, outcome, took, .. } => {
            let action = action.to_string();
            let outcome =
                outcome.map_or_else(|| "no answer".to_owned(), |outcome| outcome.to_string());
            histogram!("ha_executor_operation_seconds", "action" => action.clone())
                .record(took.as_secs_f64());
            counter!("ha_executor_operations_total", "action" => action, "outcome" => outcome)
                .increment(1);
        }
        Event::Failed { resource, action, recovery, .. } => {
            let (resource, action) = (resource.to_string(), action.to_string());
            let recovery = recovery.what.to_string();
            counter!("ha_executor_failures_total", "resource" => resource, "action" => action, "recovery" => recovery)
                .increment(1);
        }
        Event::Diagnosed { .. } => {}
        Event::Forgotten { .. } => counter!("ha_executor_forgotten_total").increment(1),
        Event::Pressure { pressure } => {
            let step = match pressure {
                Pressure::None => 0.0,
                Pressure::Medium => 1.0,
                Pressure::High => 2.0,
                Pressure::Extreme => 3.0,
            };
            gauge!("ha_executor_pressure").set(step);
        }
        Event::Skipped { resource, ticks, .. } => {
            counter!("ha_executor_skipped_total", "resource" => resource.to_string())
                .increment(*ticks);
        }
        Event::Tolerated { resource, .. } => {
            counter!("ha_executor_tolerated_total", "resource" => resource.to_string())
                .increment(1);
        }
    }
}
