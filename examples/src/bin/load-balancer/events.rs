//! The events: one line of JSON each on standard output.

use std::io::Write;

use ha_core::event::{Event, EventKind, Observer};
use ha_core::time::{BootClock, Clock};
use serde_json::{Map, Value, json};

/// Prints an event with the time; `fields` is an object.
pub(crate) fn emit(event: &str, fields: Value) {
    let mut line = Map::new();
    line.insert("t".to_owned(), json!(BootClock::new().wall().as_secs_f64()));
    line.insert("event".to_owned(), json!(event));
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    print_text(&format!("{}\n", Value::Object(line)));
}

/// Prints and flushes; whoever reads may have gone, which is no reason to stop serving.
pub(crate) fn print_text(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints the changes of health.
#[derive(Debug)]
pub(crate) struct Printer;

impl Observer for Printer {
    fn observe(&self, event: &Event) {
        if let EventKind::HealthChanged { from, to } = &event.kind {
            let (backend, reason) = (&event.subject, &event.reason);
            emit("health", json!({ "backend": backend, "from": from, "to": to, "reason": reason }));
        }
    }
}
