//! The side of the node.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::control::{self, Answer, Lines, Responder};
use ha_core::driver::pause;
use ha_membership::Key;
use ha_membership::store::{ClusterStore, StoreError, Write};

use super::wire::{Ask, Bytes, Fault, StoreAnswer, StoreAsk};
use super::{ControlError, Handler, Tally};

/// How long a watcher is left without an answer; it asks again then.
const WATCH: Duration = Duration::from_secs(30);

/// A control socket that is listened on; see the [module](super) for the protocol.
///
/// Dropping it stops it, too, but does not wait for the end.
#[derive(Debug)]
pub struct Server(control::Server);

#[derive(Debug)]
struct Node {
    handler: Arc<dyn Handler>,
    store: Option<Arc<dyn ClusterStore>>,
}

impl Server {
    /// Listens on `socket` and has `handler` answer the requests.
    ///
    /// A socket that a process left behind is replaced. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ControlError::InUse`], [`ControlError::NotASocket`], [`ControlError::Listen`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is left behind.
    pub async fn bind(
        socket: impl Into<PathBuf>,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ControlError> {
        control::Server::bind(socket, Arc::new(Node { handler, store: None })).await.map(Self)
    }

    /// The same, and the cluster's store can be used through it, too.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    ///
    /// # Cancel safety
    ///
    /// As [`bind`](Self::bind).
    pub async fn bind_with_store(
        socket: impl Into<PathBuf>,
        handler: Arc<dyn Handler>,
        store: Arc<dyn ClusterStore>,
    ) -> Result<Self, ControlError> {
        control::Server::bind(socket, Arc::new(Node { handler, store: Some(store) }))
            .await
            .map(Self)
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        self.0.socket()
    }

    /// What has happened so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.0.tally()
    }

    /// Ends all connections and removes the socket.
    ///
    /// # Cancel safety
    ///
    /// It has been told to stop from the first poll on.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

#[async_trait]
impl Responder for Node {
    async fn respond(&self, line: &[u8], from: &mut Lines) -> Answer {
        match Ask::decode(line) {
            Err(error) => Answer::unreadable(&error),
            Ok(Ask::Manager(request)) => Answer::of(&self.handler.answer(request).await),
            Ok(Ask::Store(ask)) => match &self.store {
                Some(store) => {
                    let answer = asked(&**store, ask, from).await;
                    answer.map_or(Answer::Nobody, |answer| Answer::of(&answer))
                }
                None => Answer::Misunderstood("this socket gives no access to a store".to_owned()),
            },
        }
    }
}

/// What the store says; `None` if a watcher is gone.
async fn asked(store: &dyn ClusterStore, ask: StoreAsk, from: &mut Lines) -> Option<StoreAnswer> {
    let answer = match ask {
        StoreAsk::Get { key } => get(store, &key).await,
        StoreAsk::List { prefix } => list(store, &prefix).await,
        StoreAsk::Write { key, expected, value } => {
            let value = value.map(|Bytes(value)| value);
            let write = Write { key, expected: expected.into(), value };
            store.write(write).await.map(|revision| StoreAnswer::Written { revision })
        }
        StoreAsk::NextChange { prefix, after } => tokio::select! { biased;
            change = store.next_change(&prefix, after) => change.map(StoreAnswer::from),
            () = from.ended() => return None,
            _timer = pause(WATCH) => Ok(StoreAnswer::Nothing),
        },
    };
    Some(answer.unwrap_or_else(|error| StoreAnswer::Failed { fault: Fault::from(error) }))
}

async fn get(store: &dyn ClusterStore, key: &Key) -> Result<StoreAnswer, StoreError> {
    let entry = store.get(key).await?.map(Into::into);
    Ok(StoreAnswer::Entry { entry })
}

async fn list(store: &dyn ClusterStore, prefix: &str) -> Result<StoreAnswer, StoreError> {
    let (entries, revision) = store.list(prefix).await?;
    let entries = entries.into_iter().map(Into::into).collect();
    Ok(StoreAnswer::List { entries, revision })
}
