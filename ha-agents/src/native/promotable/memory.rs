//! A server in memory.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Replication, ReplicationStatus};
use crate::agent::{Metadata, Report};

/// A server with replication that is nothing, for tests; its clones are the same server.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_agents::native::{MemoryReplication, Replication};
///
/// let server = MemoryReplication::new();
/// server.follow(Some("n2")).await.unwrap();
/// assert_eq!(server.followed().as_deref(), Some("n2"));
/// server.promote().await.unwrap();
/// assert!(server.status(0).await.unwrap().promoted);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct MemoryReplication {
    state: Arc<Mutex<State>>,
    offline: bool,
}

#[derive(Debug)]
struct State {
    status: Result<ReplicationStatus, Report>,
    followed: Option<String>,
    deaf: bool,
}

impl MemoryReplication {
    /// A server that comes up as the primary.
    #[must_use]
    pub fn new() -> Self {
        let status = Ok(ReplicationStatus { promoted: true, ..ReplicationStatus::default() });
        let state = State { status, followed: None, deaf: false };
        Self { state: Arc::new(Mutex::new(state)), offline: false }
    }

    /// Sets whether it becomes a copy only by a restart.
    #[must_use]
    pub const fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// Sets what it answers from now on, until its role changes.
    pub fn answer(&self, status: Result<ReplicationStatus, Report>) {
        self.state().status = status;
    }

    /// Sets whether it says yes to everything and does nothing.
    pub fn deaf(&self, deaf: bool) {
        self.state().deaf = deaf;
    }

    /// Whom it follows.
    #[must_use]
    pub fn followed(&self) -> Option<String> {
        self.state().followed.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, promoted: bool, followed: Option<&str>) {
        let mut state = self.state();
        if !state.deaf {
            state.status = Ok(ReplicationStatus { promoted, ..ReplicationStatus::default() });
            state.followed = followed.map(str::to_owned);
        }
    }
}

impl Default for MemoryReplication {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Replication for MemoryReplication {
    fn metadata(&self) -> Metadata {
        Metadata::new("memory", "A server that is nothing")
    }

    async fn status(&self, _depth: u8) -> Result<ReplicationStatus, Report> {
        self.state().status.clone()
    }

    async fn promote(&self) -> Result<(), Report> {
        self.change(true, None);
        Ok(())
    }

    async fn follow(&self, primary: Option<&str>) -> Result<(), Report> {
        self.change(false, primary);
        Ok(())
    }

    fn is_offline(&self) -> bool {
        self.offline
    }
}
