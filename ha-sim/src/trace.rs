//! The last things that happened, kept cheaply and written out only when asked for.

use std::collections::VecDeque;
use std::fmt;

use ha_core::time::Instant;

use crate::node::NodeIndex;

/// Why a message did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    BufferFull,
    Chance,
    CutOff,
    NodeDown,
}

/// One line of the trace.
#[derive(Debug, Clone)]
pub(crate) enum Entry<M> {
    Delivered { from: NodeIndex, to: NodeIndex, message: M },
    Dropped { from: NodeIndex, to: NodeIndex, why: Lost, message: M },
    Fault { text: String },
    Input { to: NodeIndex },
    Note { node: NodeIndex, text: String },
    Tick { node: NodeIndex },
}

impl<M: fmt::Debug> fmt::Display for Entry<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered { from, to, message } => write!(f, "{from} -> {to} {message:?}"),
            Self::Dropped { from, to, why, message } => {
                let why = match why {
                    Lost::BufferFull => "receive buffer full",
                    Lost::CutOff => "cut off",
                    Lost::Chance => "lost",
                    Lost::NodeDown => "node down",
                };
                write!(f, "{from} -> {to} {message:?} DROPPED ({why})")
            }
            Self::Fault { text } => write!(f, "FAULT {text}"),
            Self::Input { to } => write!(f, "{to} input"),
            Self::Note { node, text } => write!(f, "{node} {text}"),
            Self::Tick { node } => write!(f, "{node} tick"),
        }
    }
}

/// A ring of entries.
#[derive(Debug)]
pub(crate) struct Trace<M> {
    entries: VecDeque<(Instant, Entry<M>)>,
    capacity: usize,
}

impl<M: fmt::Debug> Trace<M> {
    pub(crate) const fn new(capacity: usize) -> Self {
        Self { entries: VecDeque::new(), capacity }
    }

    pub(crate) fn add(&mut self, at: Instant, entry: Entry<M>) {
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        if self.capacity > 0 {
            self.entries.push_back((at, entry));
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.entries.iter().map(|(at, entry)| format!("{at} {entry}")).collect()
    }
}
