//! Where states come from.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::sync::watch;

use super::NotifyState;
use crate::vrrp::effects::StateName;
#[cfg(feature = "netlink")]
use crate::vrrp::service::RouterHandle;

/// Where a [`Notifier`](super::Notifier) learns of a router's state: from a channel, or from a
/// [`RouterHandle`](crate::vrrp::RouterHandle).
#[derive(Debug)]
pub struct StateSource(Source);

#[derive(Debug)]
enum Source {
    Watch(watch::Receiver<StateName>),
    #[cfg(feature = "netlink")]
    Router(RouterHandle),
}

impl From<watch::Receiver<StateName>> for StateSource {
    fn from(receiver: watch::Receiver<StateName>) -> Self {
        Self(Source::Watch(receiver))
    }
}

#[cfg(feature = "netlink")]
impl From<RouterHandle> for StateSource {
    fn from(handle: RouterHandle) -> Self {
        Self(Source::Router(handle))
    }
}

#[cfg(feature = "netlink")]
impl From<&RouterHandle> for StateSource {
    fn from(handle: &RouterHandle) -> Self {
        handle.clone().into()
    }
}

/// One router, and what it was at the last look.
#[derive(Debug)]
pub(super) struct Member {
    source: Source,
    state: StateName,
    ended: bool,
}

impl Member {
    pub(super) fn new(source: StateSource) -> Self {
        Self { source: source.0, state: StateName::Initialize, ended: false }
    }

    pub(super) fn look(&mut self) {
        let state = match &self.source {
            Source::Watch(receiver) => *receiver.borrow(),
            #[cfg(feature = "netlink")]
            Source::Router(handle) => handle.state(),
        };
        self.state = if self.ended { StateName::Initialize } else { state };
    }

    pub(super) const fn state(&self) -> NotifyState {
        NotifyState::of(self.state)
    }

    /// Waits until it is something else than at the last look. Cancel safe.
    async fn changed(&mut self) {
        if self.ended {
            return std::future::pending().await;
        }
        let known = self.state;
        let new = match &mut self.source {
            Source::Watch(receiver) => {
                receiver.wait_for(|state| *state != known).await.map(|state| *state).ok()
            }
            #[cfg(feature = "netlink")]
            Source::Router(handle) => handle.until(|state| state != known).await.ok(),
        };
        self.ended = new.is_none();
        self.state = new.unwrap_or(StateName::Initialize);
    }
}

/// Waits until one of them is something else; `false` if all have ended. Cancel safe.
pub(super) async fn any_change(members: &mut [Member]) -> bool {
    if members.iter().all(|member| member.ended) {
        return false;
    }
    let mut waits: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
    for member in members {
        waits.push(Box::pin(member.changed()));
    }
    poll_fn(|context| {
        let ready = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    true
}
