//! Watching and moving the addresses of a running service.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::ServiceError;
use super::opener::{Opened, Opener};
use super::reload::Plan;
use crate::address::VirtualAddress;
use crate::manager::{Holding, VipError, VipManager};
use crate::track::Tracker;
use crate::vrrp::config::HostConfig;
use crate::vrrp::effects::{Input, StateName};
use crate::vrrp::host::RouterId;
use crate::vrrp::snapshot::Snapshot;

/// What a handle asks of the driver.
#[derive(Debug)]
pub(super) enum Command {
    Input(RouterId, Input),
    Plan(Box<HostConfig>, oneshot::Sender<Plan>),
    Reload(Box<Reload>, oneshot::Sender<Result<Changes, ServiceError>>),
    Snapshot(oneshot::Sender<Snapshot>),
}

/// Another configuration, and what was opened for it.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) config: HostConfig,
    pub(super) opened: Vec<Opened>,
    pub(super) trackers: Vec<Box<dyn Tracker>>,
}

/// What a reload has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// The virtual routers that are new.
    pub added: Vec<String>,
    /// The virtual routers that go on with other settings.
    pub changed: Vec<String>,
    /// The virtual routers that are gone: they hand their addresses over first.
    pub removed: Vec<String>,
    /// The virtual routers that have changed their interface, number, version, family or source:
    /// the old one hands over, and the new one listens first.
    pub restarted: Vec<String>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("added", &self.added),
            ("changed", &self.changed),
            ("removed", &self.removed),
            ("restarted", &self.restarted),
        ];
        let mut said = kinds.into_iter().filter(|(_, names)| !names.is_empty()).peekable();
        if said.peek().is_none() {
            return f.pad("nothing changed");
        }
        while let Some((kind, names)) = said.next() {
            let end = if said.peek().is_some() { "; " } else { "" };
            write!(f, "{kind}: {}{end}", names.join(", "))?;
        }
        Ok(())
    }
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

/// Watches all virtual routers of a running [`Service`](super::Service), and changes their
/// configuration; cheap to clone.
#[derive(Debug, Clone)]
pub struct ServiceHandle {
    pub(super) routers: watch::Receiver<Arc<[RouterHandle]>>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) opener: Arc<Opener>,
}

impl ServiceHandle {
    /// The virtual routers that are configured now, in the order in which they were added.
    #[must_use]
    pub fn routers(&self) -> Arc<[RouterHandle]> {
        Arc::clone(&self.routers.borrow())
    }

    /// The virtual router of this name.
    #[must_use]
    pub fn router(&self, name: &str) -> Option<RouterHandle> {
        self.routers.borrow().iter().find(|router| router.name() == name).cloned()
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
        self.ask(Command::Snapshot).await
    }

    /// Goes on with another configuration.
    ///
    /// Addresses, priorities, intervals, keys, trackers' weights and groups change where they are,
    /// without a change of state. Routers may come and go. One that has another interface, number,
    /// version, family or source is a new one under the old name. A name that no tracker has is
    /// taken for an interface's.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; the old configuration stays in force, as a whole.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the new configuration may be in force.
    pub async fn reload(&self, config: HostConfig) -> Result<Changes, ReloadError> {
        self.reload_with(config, Vec::new()).await
    }

    /// The same, with trackers that are new or replace those of the same name. Those that no
    /// router names any more are let go of.
    ///
    /// # Errors
    ///
    /// As [`reload`](Self::reload).
    ///
    /// # Cancel safety
    ///
    /// As [`reload`](Self::reload).
    pub async fn reload_with(
        &self,
        config: HostConfig,
        trackers: Vec<Box<dyn Tracker>>,
    ) -> Result<Changes, ReloadError> {
        let plan = self.ask(|reply| Command::Plan(Box::new(config.clone()), reply)).await?;
        let mut opened = Vec::new();
        for instance in &plan.open {
            opened.push(self.opener.open(instance, &plan.spared).await?);
        }
        let reload = Box::new(Reload { config, opened, trackers });
        Ok(self.ask(|reply| Command::Reload(reload, reply)).await??)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command + Send,
    ) -> Result<T, VipError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| VipError::Ended)?;
        answer.await.map_err(|_| VipError::Ended)
    }
}

/// A configuration was not taken over; the old one is in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The service has ended.
    #[error(transparent)]
    Ended(#[from] VipError),
    /// A virtual router that is new cannot run.
    #[error(transparent)]
    Service(#[from] ServiceError),
}
