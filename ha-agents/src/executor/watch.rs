//! Following a running executor.

use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::event::Event;

/// How many events are kept for a reader that is behind.
const EVENTS: usize = 1_024;

/// The events of an executor from now on; see
/// [`ExecutorHandle::events`](super::ExecutorHandle::events).
///
/// Nobody waits for its reader: one that is more than 1024 events behind loses the oldest, and is
/// told how many.
#[derive(Debug)]
pub struct Events(Receiver<Event>);

/// What a reader of [`Events`] gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a reader must know of what it has lost")]
pub enum News {
    /// Something has happened.
    Event(Event),
    /// So many events were lost, as they were not read in time.
    Lost(u64),
}

impl Events {
    /// Waits for the next event. `None`: the executor has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no event is lost.
    pub async fn next(&mut self) -> Option<News> {
        use tokio::sync::broadcast::error::RecvError;
        match self.0.recv().await {
            Ok(event) => Some(News::Event(event)),
            Err(RecvError::Lagged(number)) => Some(News::Lost(number)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Where events go.
#[derive(Debug, Clone)]
pub(super) struct Stage(Sender<Event>);

/// Where readers come from; does not keep the events open.
#[derive(Debug, Clone)]
pub(super) struct Seats(tokio::sync::broadcast::WeakSender<Event>);

impl Stage {
    pub(super) fn new() -> Self {
        Self(channel(EVENTS).0)
    }

    pub(super) fn seats(&self) -> Seats {
        Seats(self.0.downgrade())
    }

    pub(super) fn tell(&self, event: Event) {
        // An error means that nobody reads.
        let _nobody = self.0.send(event);
    }
}

impl Seats {
    pub(super) fn take(&self) -> Option<Events> {
        self.0.upgrade().map(|sender| Events(sender.subscribe()))
    }
}
