//! The timeline: the last events, in a ring, to be read as text or as a picture.

mod svg;
mod text;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::event::{Event, EventKind, Observer};
use crate::time::Instant;

/// The last events of a system, oldest first, in bounded memory.
///
/// ```
/// use ha_core::event::{Event, EventKind};
/// use ha_core::time::Instant;
/// use ha_core::timeline::Timeline;
///
/// let mut timeline = Timeline::with_capacity(100);
/// let address = "192.0.2.10/24".to_owned();
/// timeline.record(Event::new(Instant::from_millis(10), "lb1", EventKind::AddressAdded { address }));
/// assert!(timeline.to_text().contains("lb1"));
/// assert!(timeline.to_svg("a failover").starts_with("<svg"));
/// ```
#[derive(Debug, Clone)]
pub struct Timeline {
    events: VecDeque<Event>,
    capacity: usize,
    dropped: u64,
}

impl Timeline {
    /// A timeline that keeps the last `capacity` events, at least one.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self { events: VecDeque::with_capacity(capacity.min(1024)), capacity, dropped: 0 }
    }

    /// Adds an event at its place in time; drops the oldest one when full.
    ///
    /// Events of several sources may arrive a little out of order: they are sorted by
    /// [`Event::at`], and of equal ones the first recorded stays first.
    pub fn record(&mut self, event: Event) {
        if self.events.len() == self.capacity {
            self.events.pop_front();
            self.dropped += 1;
        }
        let at = self.events.partition_point(|earlier| earlier.at <= event.at);
        self.events.insert(at, event);
    }

    /// The events that are kept, oldest first.
    #[must_use]
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.events.iter()
    }

    /// How many events fell out of the ring.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A table of the events, one a line, times in seconds since the first.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::Table(self).to_string()
    }

    /// A picture: a lane for each subject, bars for who held or served, dots for the rest.
    ///
    /// The result is a whole SVG document without scripts, fonts or links; texts are escaped.
    #[must_use]
    pub fn to_svg(&self, title: &str) -> String {
        svg::Picture { timeline: self, title }.to_string()
    }

    /// The subjects, in the order in which they first appear.
    fn subjects(&self) -> Vec<&str> {
        let mut subjects: Vec<&str> = Vec::new();
        for event in &self.events {
            if !subjects.contains(&event.subject.as_str()) {
                subjects.push(&event.subject);
            }
        }
        subjects
    }

    /// First and last moment; `None` without events.
    fn range(&self) -> Option<(Instant, Instant)> {
        Some((self.events.front()?.at, self.events.back()?.at))
    }
}

impl Default for Timeline {
    /// Keeps the last 10,000 events, some 2 MB.
    fn default() -> Self {
        Self::with_capacity(10_000)
    }
}

/// A timeline that several drivers write into.
impl Observer for Mutex<Timeline> {
    fn observe(&self, event: &Event) {
        // A poisoned lock only means that a reader panicked; the timeline itself is whole.
        self.lock().unwrap_or_else(PoisonError::into_inner).record(event.clone());
    }
}

/// What a bar in the picture means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Good,
    Held,
    Bad,
}

/// How an event shows on its subject's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// A dot: the bar goes on.
    Dot,
    /// A bar starts, and ends the one before.
    Starts(Tone),
    /// The bar ends.
    Ends,
}

fn mark(kind: &EventKind) -> Mark {
    use crate::health::Health;
    match kind {
        EventKind::AddressAdded { .. } => Mark::Starts(Tone::Held),
        EventKind::Served | EventKind::HealthChanged { to: Health::Healthy, .. } => {
            Mark::Starts(Tone::Good)
        }
        EventKind::Unserved | EventKind::HealthChanged { to: Health::Unhealthy, .. } => {
            Mark::Starts(Tone::Bad)
        }
        EventKind::AddressRemoved { .. } | EventKind::HealthChanged { to: Health::Unknown, .. } => {
            Mark::Ends
        }
        EventKind::Bug { .. }
        | EventKind::Command { .. }
        | EventKind::Fault { .. }
        | EventKind::Note { .. }
        | EventKind::StateChanged { .. } => Mark::Dot,
    }
}

#[cfg(test)]
mod tests;
