//! Watching and moving the addresses of a running service.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use ha_core::config::ConfigError;

use crate::address::VirtualAddress;
use crate::manager::{Holding, VipError, VipManager};
use crate::vrrp::config::HostConfig;
use crate::vrrp::effects::{Input, StateName};
use crate::vrrp::host::RouterId;
use crate::vrrp::snapshot::Snapshot;

/// What a handle asks of the driver.
#[derive(Debug)]
pub(super) enum Command {
    Input(RouterId, Input),
    Reload(Box<HostConfig>, oneshot::Sender<Result<Changes, ConfigError>>),
    Snapshot(oneshot::Sender<Snapshot>),
}

/// What a reload has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Changes {
    /// The virtual routers that go on with other settings.
    pub changed: Vec<String>,
}

/// Watches and moves the addresses of one virtual router of a running
/// [`Service`](super::Service); cheap to clone.
#[derive(Debug, Clone)]
pub struct RouterHandle {
    pub(super) id: RouterId,
    pub(super) name: Arc<str>,
    pub(super) addresses: Arc<[VirtualAddress]>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) state: watch::Receiver<StateName>,
}

impl RouterHandle {
    /// The virtual router's name. Its addresses, as the handle tells them, are those with which
    /// the service was opened.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The router's state.
    #[must_use]
    pub fn state(&self) -> StateName {
        *self.state.borrow()
    }

    /// Waits until the router is in a state for which `wanted` is true.
    ///
    /// # Errors
    ///
    /// [`VipError::Ended`] when the service ended before.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn until(
        &self,
        mut wanted: impl FnMut(StateName) -> bool + Send,
    ) -> Result<StateName, VipError> {
        let mut state = self.state.clone();
        let found = state.wait_for(|state| wanted(*state)).await;
        found.map(|state| *state).map_err(|_| VipError::Ended)
    }

    /// Tells the router that a detector, such as a BFD session, has lost this neighbour: if it is
    /// the active router, its silence is not waited for.
    ///
    /// # Errors
    ///
    /// [`VipError::Ended`] when the service has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: when dropped, it was told or it was not.
    pub async fn peer_lost(&self, peer: std::net::IpAddr) -> Result<(), VipError> {
        self.command(Input::PeerLost(peer)).await
    }

    async fn command(&self, command: Input) -> Result<(), VipError> {
        let command = Command::Input(self.id, command);
        self.commands.send(command).await.map_err(|_| VipError::Ended)
    }
}

const fn holding(state: StateName) -> Holding {
    match state {
        StateName::Active => Holding::Here,
        StateName::Leaving => Holding::Leaving,
        StateName::Backup | StateName::Fault | StateName::Initialize => Holding::Elsewhere,
    }
}

#[async_trait]
impl VipManager for RouterHandle {
    fn addresses(&self) -> &[VirtualAddress] {
        &self.addresses
    }

    fn holding(&self) -> Holding {
        holding(self.state())
    }

    async fn changed(&self, known: Holding) -> Result<Holding, VipError> {
        self.until(|state| holding(state) != known).await.map(holding)
    }

    async fn hand_over(&self) -> Result<(), VipError> {
        self.command(Input::HandOver).await
    }

    async fn resume(&self) -> Result<(), VipError> {
        self.command(Input::Resume).await
    }
}

/// Changes the configuration of a running [`Service`](super::Service); cheap to clone.
#[derive(Debug, Clone)]
pub struct ServiceHandle {
    pub(super) routers: Arc<[RouterHandle]>,
    pub(super) commands: mpsc::Sender<Command>,
}

impl ServiceHandle {
    /// The virtual routers, in the order of the configuration.
    #[must_use]
    pub fn routers(&self) -> &[RouterHandle] {
        &self.routers
    }

    /// The virtual router of this name.
    #[must_use]
    pub fn router(&self, name: &str) -> Option<&RouterHandle> {
        self.routers.iter().find(|router| router.name() == name)
    }

    /// What all virtual routers are now, with reasons.
    ///
    /// # Errors
    ///
    /// [`VipError::Ended`] when the service has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn snapshot(&self) -> Result<Snapshot, VipError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Snapshot(reply)).await.map_err(|_| VipError::Ended)?;
        answer.await.map_err(|_| VipError::Ended)
    }

    /// Goes on with another configuration: addresses, priorities, intervals, trackers' weights and
    /// groups change where they are, without a change of state.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; the old configuration stays in force, as a whole. A virtual router cannot
    /// come, go, or change its interface, number, family or version while the service runs: start
    /// another service for it.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the new configuration may be in force.
    pub async fn reload(&self, config: HostConfig) -> Result<Changes, ReloadError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Reload(Box::new(config), reply);
        self.commands.send(command).await.map_err(|_| VipError::Ended)?;
        Ok(answer.await.map_err(|_| VipError::Ended)??)
    }
}

/// A configuration was not taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// It differs from the running one in what cannot change.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The service has ended.
    #[error(transparent)]
    Ended(#[from] VipError),
}
