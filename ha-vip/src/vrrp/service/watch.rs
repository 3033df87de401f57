//! The tasks that watch something for the driver, and what they tell it.

use std::net::IpAddr;
use std::time::Duration;

use ha_core::driver::{Task, pause};
use tokio::sync::{mpsc, watch};

use super::ServiceError;
use super::opener::Opened;
use crate::announce::{ConflictEvent, ConflictListener};
use crate::bfd::SessionHandle;
use crate::bfd::wire::State;
use crate::track::{Tracker, Verdict};
use crate::vrrp::effects::StateName;
use crate::vrrp::host::RouterId;

/// How long a tracker that failed is left alone.
const TRACKER_PAUSE: Duration = Duration::from_secs(1);

/// What the tasks say.
#[derive(Debug)]
pub(super) enum Word {
    Verdict(String, Verdict),
    /// This neighbour is gone.
    Lost(IpAddr),
    /// Another host claims an address of this station, or no longer does.
    Conflict(RouterId, ConflictEvent),
    /// The interfaces of this station were looked for again.
    Opened(RouterId, Result<Box<Opened>, ServiceError>),
}

/// Runs a tracker for as long as the task lives; each verdict goes to the driver.
pub(super) fn follow(mut tracker: Box<dyn Tracker>, to: &mpsc::Sender<Word>) -> (String, Task<()>) {
    let (name, to) = (tracker.name().to_owned(), to.clone());
    let task = Task::spawn(|mut stop| async move {
        let told = async {
            loop {
                let (verdict, failed) = match tracker.changed().await {
                    Ok(verdict) => (verdict, false),
                    Err(error) => {
                        tracing::warn!(%error, tracker = tracker.name(), "tracker failed");
                        (Verdict::Unknown, true)
                    }
                };
                let sent = to.send(Word::Verdict(tracker.name().to_owned(), verdict)).await;
                if sent.is_err() || (failed && pause(TRACKER_PAUSE).await.is_err()) {
                    return;
                }
            }
        };
        tokio::select! { biased;
            () = stop.wait() => {}
            () = told => {}
        }
    });
    (name, task)
}

/// Watches a BFD session for as long as the task lives, and tells when its peer is lost. A session
/// that a person took down at the other end says nothing of that host (RFC 5882, section 4.2).
pub(super) fn follow_session(session: SessionHandle, to: &mpsc::Sender<Word>) -> Task<()> {
    let to = to.clone();
    Task::spawn(|mut stop| async move {
        let told = async {
            let mut known = session.state();
            while let Ok(state) = session.changed(known).await {
                let lost = known == State::Up && session.remote_state() != State::AdminDown;
                let peer = session.peer();
                if lost && to.send(Word::Lost(peer)).await.is_err() {
                    return;
                }
                known = state;
            }
        };
        tokio::select! { biased;
            () = stop.wait() => {}
            () = told => {}
        }
    })
}

/// Listens for conflicts for as long as the task lives, while the router holds its addresses.
pub(super) fn listen(
    mut listener: ConflictListener,
    mut state: watch::Receiver<StateName>,
    station: RouterId,
    to: &mpsc::Sender<Word>,
) -> Task<()> {
    let to = to.clone();
    Task::spawn(move |mut stop| async move {
        loop {
            if state.borrow_and_update().holds() {
                listener.hold();
            } else {
                listener.release();
            }
            let event = tokio::select! { biased;
                () = stop.wait() => return,
                changed = state.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                event = listener.next() => event,
            };
            let sent = match event {
                Ok(event) => to.send(Word::Conflict(station, event)).await.is_ok(),
                Err(error) => {
                    tracing::warn!(%error, "cannot listen for conflicts");
                    pause(TRACKER_PAUSE).await.is_ok()
                }
            };
            if !sent {
                return;
            }
        }
    })
}
