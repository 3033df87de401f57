//! Telling those who work with an endpoint to stop at once.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::EndpointState;

/// Those who wait to be told.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all that wait.
    pub(super) fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }

    /// Has this one be woken; returns its place.
    fn wait(&self, place: Option<u64>, waker: &Waker) -> u64 {
        let mut waiting = self.lock();
        let place = place.unwrap_or_else(|| {
            waiting.next += 1;
            waiting.next
        });
        waiting.wakers.insert(place, waker.clone());
        place
    }

    fn leave(&self, place: u64) {
        self.lock().wakers.remove(&place);
    }
}

/// Ready when the work that an endpoint was picked for is to end at once; made by
/// [`Pick::closing`](crate::pick::Pick::closing).
///
/// Until then a poll takes no lock, but for the first one of a task.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Closing {
    state: Arc<EndpointState>,
    epoch: u16,
    registered: Option<(u64, Waker)>,
}

impl Closing {
    pub(crate) const fn new(state: Arc<EndpointState>, epoch: u16) -> Self {
        Self { state, epoch, registered: None }
    }

    /// The endpoint's epoch of sessions when it was picked.
    #[cfg(feature = "http")]
    pub(crate) const fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Whether the work is to end.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.state.session_epoch() != self.epoch
    }
}

impl Future for Closing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let known = |(_, waker): &(u64, Waker)| waker.will_wake(cx.waker());
        if !self.registered.as_ref().is_some_and(known) {
            let place = self.registered.as_ref().map(|(place, _)| *place);
            let place = self.state.cold().sessions.wait(place, cx.waker());
            self.registered = Some((place, cx.waker().clone()));
        }
        // After the registration: who closes counts first and wakes then, under the same lock.
        if self.is_due() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some((place, _)) = self.registered {
            self.state.cold().sessions.leave(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;

    use super::*;

    #[test]
    fn who_waits_is_told_and_who_came_later_is_not() {
        let address = "192.0.2.1:80".parse().expect("an address");
        let state = Arc::new(EndpointState::new("a".parse().expect("a name"), address));
        let closing = || Closing::new(Arc::clone(&state), state.session_epoch());
        let mut cx = Context::from_waker(noop_waker_ref());
        let (mut early, gone) = (closing(), closing());
        assert!(Pin::new(&mut early).poll(&mut cx).is_pending());
        drop(gone);
        assert_eq!(state.cold().sessions.lock().wakers.len(), 1);
        state.shut_sessions();
        let mut late = closing();
        assert!(Pin::new(&mut early).poll(&mut cx).is_ready());
        assert!(early.is_due());
        assert!(Pin::new(&mut late).poll(&mut cx).is_pending());
        drop((early, late));
        assert!(state.cold().sessions.lock().wakers.is_empty());
    }
}
