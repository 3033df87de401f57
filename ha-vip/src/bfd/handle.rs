//! What a program holds of a running service, and what goes wrong.

use std::io;
use std::sync::Arc;

use ha_core::config::ConfigError;
use tokio::sync::{mpsc, oneshot, watch};

use super::config::{Intervals, SessionConfig};
use super::effects::Input;
use super::session::Session;
use super::socket::Endpoints;
use super::wire::{Diagnostic, Discriminator, State};

#[derive(Debug)]
pub(super) enum Command {
    Add {
        endpoints: Endpoints,
        config: SessionConfig,
        reply: oneshot::Sender<Result<SessionHandle, ServiceError>>,
    },
    Input {
        session: Discriminator,
        input: Input,
    },
    Remove {
        session: Discriminator,
    },
}

/// What watchers see of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status {
    state: State,
    diagnostic: Diagnostic,
    remote_state: State,
}

impl Status {
    pub(super) const fn of(session: &Session) -> Self {
        Self {
            state: session.state(),
            diagnostic: session.diagnostic(),
            remote_state: session.remote_state(),
        }
    }
}

/// Adds and removes sessions of a running [`Service`](super::Service); cheap to clone.
#[derive(Debug, Clone)]
pub struct ServiceHandle {
    commands: mpsc::Sender<Command>,
}

impl ServiceHandle {
    pub(super) const fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }

    /// Adds a session.
    ///
    /// # Errors
    ///
    /// As [`Service::add`](super::Service::add), and [`ServiceError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a session whose handle nobody takes is removed again.
    pub async fn add(
        &self,
        endpoints: Endpoints,
        config: SessionConfig,
    ) -> Result<SessionHandle, ServiceError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Add { endpoints, config, reply }).await?;
        answer.await.map_err(|_| ServiceError::Ended)?
    }

    /// Ends a session: its peer is told that it was taken down.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the session is removed or it is not.
    pub async fn remove(&self, session: &SessionHandle) -> Result<(), ServiceError> {
        self.send(Command::Remove { session: session.discriminator }).await
    }

    async fn send(&self, command: Command) -> Result<(), ServiceError> {
        self.commands.send(command).await.map_err(|_| ServiceError::Ended)
    }
}

/// Watches and commands one session of a running [`Service`](super::Service); cheap to clone.
///
/// Dropping it does not end the session: see [`ServiceHandle::remove`].
#[derive(Debug, Clone)]
pub struct SessionHandle {
    discriminator: Discriminator,
    endpoints: Arc<Endpoints>,
    status: watch::Receiver<Status>,
    service: ServiceHandle,
}

impl SessionHandle {
    pub(super) fn new(
        discriminator: Discriminator,
        endpoints: Endpoints,
        status: watch::Receiver<Status>,
        service: ServiceHandle,
    ) -> Self {
        Self { discriminator, endpoints: Arc::new(endpoints), status, service }
    }

    /// The session's state.
    #[must_use]
    pub fn state(&self) -> State {
        self.status.borrow().state
    }

    /// Why the session went down last.
    #[must_use]
    pub fn diagnostic(&self) -> Diagnostic {
        self.status.borrow().diagnostic
    }

    /// The state that the other end reported last; `AdminDown` says that a person took the session
    /// down there, so that silence means nothing.
    #[must_use]
    pub fn remote_state(&self) -> State {
        self.status.borrow().remote_state
    }

    /// Between which neighbours the session runs.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The address of the other end.
    #[must_use]
    pub fn peer(&self) -> std::net::IpAddr {
        self.endpoints.peer()
    }

    /// This end's number of the session.
    #[must_use]
    pub const fn discriminator(&self) -> Discriminator {
        self.discriminator
    }

    /// Waits until the state is another one than `known`.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Ended`] when the session was removed or the service ended before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn changed(&self, known: State) -> Result<State, ServiceError> {
        self.until(|state| state != known).await
    }

    /// Waits until the session is in a state for which `wanted` is true.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Ended`] when the session was removed or the service ended before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until(
        &self,
        mut wanted: impl FnMut(State) -> bool + Send,
    ) -> Result<State, ServiceError> {
        let mut status = self.status.clone();
        let found = status.wait_for(|status| wanted(status.state)).await;
        found.map(|status| status.state).map_err(|_| ServiceError::Ended)
    }

    /// Holds the session down and says so to the peer.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is commanded or it is not.
    pub async fn disable(&self) -> Result<(), ServiceError> {
        self.input(Input::Disable).await
    }

    /// Ends [`disable`](Self::disable).
    ///
    /// # Errors
    ///
    /// [`ServiceError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is commanded or it is not.
    pub async fn enable(&self) -> Result<(), ServiceError> {
        self.input(Input::Enable).await
    }

    /// Changes how often packets are sent and taken; the session stays up.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Ended`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is commanded or it is not.
    pub async fn set_intervals(&self, intervals: Intervals) -> Result<(), ServiceError> {
        self.input(Input::Intervals(intervals)).await
    }

    async fn input(&self, input: Input) -> Result<(), ServiceError> {
        self.service.send(Command::Input { session: self.discriminator, input }).await
    }
}

/// A session or the service cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The endpoints cannot be those of a session.
    #[error("cannot run a BFD session")]
    Endpoints(#[from] ConfigError),
    /// It has ended.
    #[error("cannot use the BFD session: it has ended; add it again")]
    Ended,
    /// There is a session with these endpoints.
    #[error("cannot run a second BFD session with {endpoints}: one is enough")]
    Exists {
        /// The peer.
        endpoints: String,
    },
    /// There is no such interface.
    #[error("cannot run a BFD session with {endpoints}: there is no such network interface")]
    NoInterface {
        /// The peer, with the interface.
        endpoints: String,
    },
    /// Another program has the port.
    #[error(
        "cannot run BFD: UDP port 3784 is taken; stop the other BFD daemon, or run in another \
         network namespace"
    )]
    PortTaken,
    /// A socket failed.
    #[error("cannot run BFD: a socket failed")]
    Socket(#[from] io::Error),
}

impl ServiceError {
    pub(super) fn of_listener(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::AddrInUse {
            return Self::PortTaken;
        }
        Self::Socket(source)
    }

    pub(super) fn of_sender(endpoints: &Endpoints, source: io::Error) -> Self {
        if source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) {
            return Self::NoInterface { endpoints: endpoints.to_string() };
        }
        Self::Socket(source)
    }
}
