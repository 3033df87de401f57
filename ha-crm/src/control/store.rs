//! The cluster's store, through a node's control socket.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::control::Client;
use ha_membership::store::{ClusterStore, Entry, MAX_VALUE_LEN, StoreChange, StoreError, Write};
use ha_membership::{Key, Revision};

use super::ControlError;
use super::wire::{Bytes, StoreAnswer, StoreAsk};

/// How many connections are kept for the next calls.
const KEPT: usize = 4;
/// How long an answer may take if nothing else is said.
const LIMIT: Duration = Duration::from_secs(5);

/// A [`ClusterStore`] for programs beside a node: it asks the node through its control socket.
///
/// As linearizable as the node's own: every call is one call of it. Connects when it is used, and
/// anew after the node was started again.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use ha_crm::control::{Server, SocketStore};
/// use ha_membership::store::{ClusterStore, MemoryStore};
/// # use ha_crm::{control::Handler, manager::{Request, Response}};
/// # #[derive(Debug)] struct Node;
/// # #[async_trait::async_trait] impl Handler for Node {
/// #     async fn answer(&self, _: Request) -> Response { Response::Done }
/// # }
///
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("ha.sock");
/// let server = Server::bind_with_store(&path, Arc::new(Node), Arc::new(MemoryStore::new())).await?;
/// let store = SocketStore::new(&path);
/// let written = store.put(&"jobs/backup".parse()?, (*b"n1").into()).await?;
/// assert_eq!(store.get(&"jobs/backup".parse()?).await?.unwrap().revision, written);
/// # server.stop().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct SocketStore {
    socket: PathBuf,
    limit: Duration,
    idle: Mutex<Vec<Client>>,
}

impl SocketStore {
    /// The store of the node that listens on `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into(), limit: LIMIT, idle: Mutex::default() }
    }

    /// Sets how long an answer may take, but for that of a watch. Default: 5 s.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    async fn ask(&self, ask: &StoreAsk) -> Result<StoreAnswer, StoreError> {
        let unavailable =
            |error: ControlError| StoreError::Unavailable { source: io::Error::other(error) };
        let mut client = match self.kept() {
            Some(client) => client,
            None => Client::connect(&self.socket).await.map_err(unavailable)?,
        };
        // A watcher is always answered in half a minute, if only that it shall ask again.
        let limit = match ask {
            StoreAsk::NextChange { .. } => self.limit + Duration::from_mins(1),
            StoreAsk::Get { .. } | StoreAsk::List { .. } | StoreAsk::Write { .. } => self.limit,
        };
        let answer = client.ask(ask, limit).await.map_err(unavailable)?;
        self.keep(client);
        if let StoreAnswer::Failed { fault } = answer { Err(fault.into()) } else { Ok(answer) }
    }

    /// A connection from before that is still good.
    fn kept(&self) -> Option<Client> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(Client::is_idle)
    }

    fn keep(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(client);
        }
    }
}

/// An answer to another question.
fn strange() -> StoreError {
    let source = io::Error::other("the node's answer is no answer to this; use one version");
    StoreError::Unavailable { source }
}

#[async_trait]
impl ClusterStore for SocketStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let answer = self.ask(&StoreAsk::Get { key: key.clone() }).await?;
        let StoreAnswer::Entry { entry } = answer else { return Err(strange()) };
        Ok(entry.map(Into::into))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<(Key, Entry)>, Revision), StoreError> {
        let answer = self.ask(&StoreAsk::List { prefix: prefix.to_owned() }).await?;
        let StoreAnswer::List { entries, revision } = answer else { return Err(strange()) };
        Ok((entries.into_iter().map(Into::into).collect(), revision))
    }

    async fn write(&self, write: Write) -> Result<Revision, StoreError> {
        let len = write.value.as_deref().map_or(0, <[u8]>::len);
        if len > MAX_VALUE_LEN {
            return Err(StoreError::TooLarge { key: write.key, len });
        }
        let answer = self.ask(&write.into()).await?;
        let StoreAnswer::Written { revision } = answer else { return Err(strange()) };
        Ok(revision)
    }

    async fn next_change(&self, prefix: &str, after: Revision) -> Result<StoreChange, StoreError> {
        let ask = StoreAsk::NextChange { prefix: prefix.to_owned(), after };
        loop {
            let answer = self.ask(&ask).await?;
            if let StoreAnswer::Change { key, value, revision } = answer {
                let value = value.map(|Bytes(value)| value);
                return Ok(StoreChange { key, value, revision });
            }
            if !matches!(answer, StoreAnswer::Nothing) {
                return Err(strange());
            }
        }
    }
}
