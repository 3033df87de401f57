//! The deaths of a process, without asking.

use std::sync::Arc;

use ha_core::driver::Readiness;
use tokio::sync::watch;

use crate::group::has_ended;

/// The lives of one process resource; each start begins one.
#[derive(Debug, Default)]
pub(crate) struct Life {
    state: watch::Sender<State>,
}

#[derive(Debug, Default, Clone)]
struct State {
    /// How many lives have begun.
    begun: u64,
    /// The number of the last life that ended by itself and was buried.
    fell: u64,
    /// The present life, unless it has been buried or is being stopped.
    exit: Option<Arc<Readiness>>,
}

impl Life {
    pub(crate) fn began(&self, exit: Arc<Readiness>) {
        self.state.send_modify(|state| {
            state.begun += 1;
            state.exit = Some(exit);
        });
    }

    /// From now on an end of the present life is no death.
    pub(crate) fn is_stopped(&self) {
        self.state.send_modify(|state| state.exit = None);
    }

    /// The present life has ended; by itself, unless it was being stopped.
    pub(crate) fn fell(&self) {
        self.state.send_modify(|state| {
            if state.exit.take().is_some() {
                state.fell = state.begun;
            }
        });
    }

    pub(crate) fn deaths(&self) -> Deaths {
        let state = self.state.subscribe();
        let seen = state.borrow().fell;
        Deaths { state, seen }
    }
}

/// The deaths of a [`Process`](super::Process) as they happen, by the kernel's word and not by
/// polling.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::native::Process;
/// use ha_agents::{OpContext, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let brief = Process::new("sleep").arg("0.01");
/// let mut deaths = brief.deaths();
/// brief.start(&OpContext::new("brief".parse().unwrap(), OpId::FIRST)).await?;
/// assert!(deaths.next().await.is_some());
/// # Ok::<(), ha_agents::AgentError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Deaths {
    state: watch::Receiver<State>,
    seen: u64,
}

impl Deaths {
    /// Waits for the next death; the number says which start had begun that life. `None`: the
    /// agent is gone, and its process with it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no death is lost.
    pub async fn next(&mut self) -> Option<u64> {
        loop {
            let State { begun, fell, exit } = self.state.borrow_and_update().clone();
            if fell > self.seen {
                self.seen = fell;
                return Some(fell);
            }
            let ended = async {
                match exit.filter(|_| begun > self.seen) {
                    // An error means that there is no such child any more.
                    Some(exit) => drop(has_ended(&exit).await),
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! { biased;
                changed = self.state.changed() => { changed.ok()?; false }
                () = ended => true,
            };
            // A stop may have begun at the same moment.
            let state = self.state.borrow();
            if ended && state.begun == begun && state.exit.is_some() {
                self.seen = begun;
                return Some(begun);
            }
        }
    }
}
