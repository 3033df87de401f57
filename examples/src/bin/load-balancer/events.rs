//! The events: one line of JSON each on standard output.

use std::net::SocketAddr;
use std::sync::Arc;

use ha_core::event::{Event, EventKind, Observer};
use ha_core::health::Health;
use ha_examples::json::JsonLines;
use serde::Serialize;

/// What is said.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Line<'a> {
    /// Clients can connect.
    Ready { listen: SocketAddr, threads: usize },
    /// A backend was taken out, or is back.
    Health { backend: &'a str, from: Health, to: Health, reason: &'a str },
    /// A backend was ejected because of how its work went, or is back.
    State { backend: &'a str, from: &'a str, to: &'a str, reason: &'a str },
    /// A signal came: nothing new is accepted.
    Stopping { signal: &'a str },
    /// All is done; `cut` is how many connections were not, none if nobody counted.
    Stopped { cut: Option<usize> },
}

/// Says the changes of health.
#[derive(Debug)]
pub(crate) struct HealthLines(pub(crate) Arc<JsonLines>);

impl Observer for HealthLines {
    fn observe(&self, event: &Event) {
        let (backend, reason) = (&event.subject, &event.reason);
        if let EventKind::HealthChanged { from, to } = event.kind {
            self.0.write(&Line::Health { backend, from, to, reason });
        }
        if let EventKind::StateChanged { from, to } = &event.kind {
            self.0.write(&Line::State { backend, from, to, reason });
        }
    }
}
