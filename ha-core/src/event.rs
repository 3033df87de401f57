//! Events: what happened, when, to whom and why; and who watches.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::health::Health;
use crate::time::Instant;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// An address was put on this node.
    AddressAdded {
        /// The address with its prefix length.
        address: String,
    },
    /// An address was taken off this node.
    AddressRemoved {
        /// The address with its prefix length.
        address: String,
    },
    /// A contradiction in our own code; the part went to its safe state.
    Bug {
        /// What was seen.
        what: String,
    },
    /// A person or program asked for something.
    Command {
        /// What was asked for, such as `switchover`.
        what: String,
    },
    /// A fault was put in on purpose, by a test or a laboratory.
    Fault {
        /// What was done, such as `power off`.
        what: String,
    },
    /// The health of something changed.
    HealthChanged {
        /// Before.
        from: Health,
        /// After.
        to: Health,
    },
    /// Something worth a line that has no kind of its own.
    Note {
        /// The line.
        text: String,
    },
    /// Clients were served again.
    Served,
    /// The state of a protocol machine changed, such as `backup` to `active`.
    StateChanged {
        /// Before.
        from: String,
        /// After.
        to: String,
    },
    /// Clients were no longer served.
    Unserved,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressAdded { address } => write!(f, "holds {address}"),
            Self::AddressRemoved { address } => write!(f, "lets go of {address}"),
            Self::Bug { what } => write!(f, "BUG: {what}"),
            Self::Command { what } => write!(f, "command: {what}"),
            Self::Fault { what } => write!(f, "fault: {what}"),
            Self::HealthChanged { from, to } => write!(f, "{from} → {to}"),
            Self::Note { text } => f.write_str(text),
            Self::Served => f.write_str("served"),
            Self::StateChanged { from, to } => write!(f, "{from} → {to}"),
            Self::Unserved => f.write_str("not served"),
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
    /// When.
    pub at: Instant,
    /// To whom: a node, a router, a backend; the lane of the [timeline](crate::timeline).
    pub subject: String,
    /// Why, in words for a person; empty if the kind says it all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Event {
    /// An event without a reason.
    pub fn new(at: Instant, subject: impl Into<String>, kind: EventKind) -> Self {
        Self { kind, at, subject: subject.into(), reason: String::new() }
    }

    /// Adds why it happened.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.at, self.subject, self.kind)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        Ok(())
    }
}

/// Somebody who is told of every event.
///
/// Called from the driver that saw the event: return soon and do not block. A slow consumer
/// belongs behind a bounded channel.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Takes note of `event`.
    fn observe(&self, event: &Event);
}

impl<O: Observer + ?Sized> Observer for std::sync::Arc<O> {
    fn observe(&self, event: &Event) {
        (**self).observe(event);
    }
}

/// Nobody watches.
impl Observer for () {
    fn observe(&self, _: &Event) {}
}
