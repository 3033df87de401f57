//! The driver of a [`Manager`]: the mesh, the store, the channels, the executor and the fence
//! devices around it.

mod agents;
mod driver;
mod fences;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{self, Limits};
use ha_agents::registry::Registry;
use ha_core::driver::{Alarm, Stop, Task};
use ha_core::id::{NodeName, ResourceName};
use ha_core::time::{BootClock, Clock, Instant, WallTime};
use ha_membership::mesh::MeshService;
use ha_membership::store::RaftStore;
use ha_membership::transport::channel::{CallError, Channels, ServeError};
use tokio::sync::{broadcast, mpsc, oneshot};

use self::driver::Driver;
use self::wire::{ASK, Asks, Letters, MANAGER};
use super::event::ManagerEvent;
use super::machine::Manager;
use super::request::{Request, Response};
use super::settings::ManagerConfig;

/// Events that wait for a slow reader; it is told how many it missed.
const EVENTS: usize = 4096;
/// Requests that wait for the driver; more wait at their sender.
const REQUESTS: usize = 64;
/// Messages of other managers that wait for the driver; more are dropped, and said again.
const LETTERS: usize = 1024;

/// Makes a node harmless that could not stop what it must not run: a reboot without syncing disks,
/// a watchdog that is no longer fed. Called with what could not be stopped.
pub type SelfFence = Arc<dyn Fn(&[ResourceName]) + Send + Sync>;

/// What a [`Service`] works with.
#[expect(clippy::exhaustive_structs, reason = "whoever joins them must have all of them")]
pub struct Parts {
    /// Who is there.
    pub mesh: MeshService,
    /// What was agreed on; with the same members as the mesh.
    pub store: RaftStore,
    /// How managers speak; the topics 2 and 3 must be free.
    pub channels: Channels,
    /// The agents that resources may have.
    pub agents: Registry,
    /// How much runs at once.
    pub limits: Limits,
    /// What the processes of resources are marked with, for
    /// [`leftovers::end`](ha_agents::leftovers::end) in a next life of this program; unique among
    /// the managers of one computer. `None`: they are not.
    pub mark: Option<String>,
    /// What to do when a resource cannot be stopped in time without quorum. `None`: nothing more
    /// than saying so; the others then rely on fencing alone.
    pub self_fence: Option<SelfFence>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("mesh", &self.mesh)
            .field("store", &self.store)
            .field("agents", &self.agents)
            .field("limits", &self.limits)
            .field("self_fence", &self.self_fence.is_some())
            .finish_non_exhaustive()
    }
}

/// An event, and when.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "a record of three facts")]
pub struct Told {
    /// On the boot-time clock.
    pub at: Instant,
    /// On the calendar.
    pub wall: WallTime,
    /// What happened.
    pub event: ManagerEvent,
}

/// A node's manager, ready to run.
///
/// Stopping its task leaves the cluster in order: resources are moved first.
pub struct Service {
    driver: Driver,
    ask: Ask,
    events: broadcast::Sender<Told>,
}

/// A service cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The kernel refused something.
    #[error("cannot start the manager: the system refused a timer or a descriptor")]
    Io(#[source] io::Error),
    /// A topic of the channels is taken.
    #[error("cannot start the manager: another one uses the same channels; end it first")]
    Topic(#[source] ServeError),
}

impl Service {
    /// Joins the parts; must be called inside a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub fn new(config: ManagerConfig, parts: Parts) -> Result<Self, ServiceError> {
        let (letters, inbox) = mpsc::channel(LETTERS);
        let (asks, requests) = mpsc::channel(REQUESTS);
        let (events, _) = broadcast::channel(EVENTS);
        let topic = ServiceError::Topic;
        let letters = Arc::new(Letters(letters));
        let letters = parts.channels.serve(MANAGER, letters).map_err(topic)?;
        let answers = parts.channels.serve(ASK, Arc::new(Asks(asks.clone()))).map_err(topic)?;
        let (executor, results) = executor::Service::new(parts.limits).map_err(ServiceError::Io)?;
        let clock = BootClock::new();
        let ask = Ask {
            me: config.me().clone(),
            own: asks,
            channels: parts.channels.clone(),
            leadership: parts.store.leadership(),
        };
        let driver = Driver::new(
            Manager::new(config, clock.now()),
            (parts, executor, results),
            (inbox, requests, events.clone()),
            (vec![letters, answers], Alarm::new().map_err(ServiceError::Io)?),
        );
        Ok(Self { driver, ask, events })
    }

    /// A handle to ask the cluster; cheap to clone.
    #[must_use]
    pub fn ask(&self) -> Ask {
        self.ask.clone()
    }

    /// Follows what happens, from now on; a reader that lags is told how many events it missed.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Told> {
        self.events.subscribe()
    }

    /// Where what happens is told, for those who begin to follow later.
    #[cfg(feature = "node")]
    pub(crate) fn teller(&self) -> broadcast::Sender<Told> {
        self.events.clone()
    }

    /// Runs it as a task; its end is that of [`run`](Self::run).
    #[must_use]
    pub fn spawn(self) -> Task<io::Result<()>> {
        Task::spawn(|stop| self.run(stop))
    }

    /// Runs until told to stop; then leaves the cluster in order, which may take until
    /// `leave_within` of the settings and the resources' stops.
    ///
    /// # Errors
    ///
    /// The kernel's; none is expected.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a drop is to the others as if the node had died.
    pub async fn run(self, stop: Stop) -> io::Result<()> {
        self.driver.run(stop).await
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("me", &self.ask.me).finish_non_exhaustive()
    }
}

/// Asks the cluster, wherever its leader is; cheap to clone.
#[derive(Debug, Clone)]
pub struct Ask {
    me: NodeName,
    own: mpsc::Sender<(Request, oneshot::Sender<Response>)>,
    channels: Channels,
    leadership: tokio::sync::watch::Receiver<ha_membership::store::Leadership>,
}

/// The cluster did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The leader cannot be reached.
    #[error("cannot ask the leader {leader}: see the cause; ask again")]
    Call {
        /// The leader.
        leader: NodeName,
        /// Why.
        #[source]
        source: CallError,
    },
    /// This node's manager has ended.
    #[error("cannot ask the cluster: this node's manager has ended; start it again")]
    Ended,
    /// Nobody leads.
    #[error(
        "cannot ask the cluster: nobody leads it; it needs a majority of its nodes, see their logs"
    )]
    NoLeader,
    /// The leader's answer cannot be read.
    #[error("cannot read the answer of the leader {leader}: do both run the same version?")]
    Version {
        /// The leader.
        leader: NodeName,
    },
}

impl Ask {
    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<NodeName> {
        self.leadership.borrow().leader.clone()
    }

    /// Asks the leader, and waits for its answer for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`AskError`]; what was asked for may have been done all the same, unless nobody leads.
    ///
    /// # Cancel safety
    ///
    /// When dropped, what was asked for may be done.
    pub async fn ask(&self, request: Request, limit: Duration) -> Result<Response, AskError> {
        let leader = self.leader().ok_or(AskError::NoLeader)?;
        if leader == self.me {
            let (answer, answered) = oneshot::channel();
            self.own.send((request, answer)).await.map_err(|_| AskError::Ended)?;
            return match tokio::time::timeout(limit, answered).await {
                Ok(answer) => answer.map_err(|_| AskError::Ended),
                Err(_) => Err(AskError::NoLeader),
            };
        }
        let version = || AskError::Version { leader: leader.clone() };
        let bytes = serde_json::to_vec(&request).map_err(|_| version())?;
        let called = self.channels.call(&leader, ASK, bytes, limit).await;
        let called = called.map_err(|source| AskError::Call { leader: leader.clone(), source })?;
        serde_json::from_slice(&called).map_err(|_| version())
    }
}
