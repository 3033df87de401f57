//! What goes into a session and what comes out of it.

use std::time::Duration;

use super::config::Intervals;
use super::wire::{Diagnostic, Reject, State};

/// What can happen to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// Hold the session down and say so (RFC 5880, section 6.8.16).
    Disable,
    /// End holding the session down.
    Enable,
    /// Change how often packets are sent and taken; the session stays up (section 6.8.3).
    Intervals(Intervals),
    /// A control packet for this session came in.
    Packet(Packet),
    /// Begin.
    Start,
    /// Say that the session is held down, and end.
    Stop,
}

/// A received control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the parts of a datagram that BFD looks at")]
pub struct Packet {
    /// Its TTL or hop limit.
    pub hop_limit: u8,
    /// The payload of the datagram.
    pub message: Vec<u8>,
}

/// What a session wants done, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a driver that ignores an effect loses an action")]
pub enum Output {
    /// A fact, for people and logs.
    Event(SessionEvent),
    /// Send this control packet to the other end, with TTL or hop limit 255.
    Send(Vec<u8>),
}

/// A fact that a session tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// Both ends agree on other times than before.
    Agreed {
        /// How often this end sends, before jitter; zero: not at all but in answer.
        transmit: Duration,
        /// After which silence of the other end the session is down.
        detection: Duration,
    },
    /// A packet was dropped.
    Rejected {
        /// Why.
        why: Reject,
    },
    /// The state changed.
    StateChanged {
        /// Before.
        from: State,
        /// After.
        to: State,
        /// Why, from this end's view.
        diagnostic: Diagnostic,
        /// What the other end said about its own last change.
        remote_diagnostic: Diagnostic,
    },
}

/// What a session has counted since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Control packets sent.
    pub sent: u64,
    /// Control packets taken in.
    pub received: u64,
    /// How often the session came up.
    pub came_up: u64,
    /// How often it was about to go down only because this program had stood still.
    pub oversleeps: u64,
    /// Packets dropped, in the order of [`Reject::ALL`].
    pub rejected: [u64; Reject::ALL.len()],
}

impl Stats {
    /// How many packets were dropped for this reason.
    #[must_use]
    pub fn rejected(&self, why: Reject) -> u64 {
        Reject::ALL.iter().zip(self.rejected).find(|(r, _)| **r == why).map_or(0, |(_, n)| n)
    }

    #[cfg(feature = "tokio")]
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.came_up += other.came_up;
        self.oversleeps += other.oversleeps;
        for (counter, more) in self.rejected.iter_mut().zip(other.rejected) {
            *counter += more;
        }
    }

    pub(super) fn count(&mut self, why: Reject) {
        let counters = Reject::ALL.iter().zip(&mut self.rejected);
        for (_, counter) in counters.filter(|(reject, _)| **reject == why) {
            *counter += 1;
        }
    }
}
