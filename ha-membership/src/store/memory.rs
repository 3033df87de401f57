//! A store in the memory of one process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::state::{self, State};
use super::{ClusterStore, Entry, StoreChange, StoreError, Write};
use crate::key::{Key, Revision};

/// How many bytes of keys and values are kept.
const DEFAULT_LIMIT: usize = 64 << 20;

/// A [`ClusterStore`] in memory: real among the tasks of one process, and the model that the
/// stores on a network are tested against.
///
/// Keeps 64 MiB of keys and values, and for watchers the last 1,024 changes (at most as many bytes
/// again).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_membership::store::{ClusterStore, Expected, MemoryStore, Write};
///
/// let store = MemoryStore::new();
/// let key = "resources/db/node".parse()?;
/// let first = store.put(&key, (*b"n1").into()).await?;
/// // Compare-and-set: only if it is still what we read.
/// let write = |value: &[u8; 2]| Write {
///     key: "resources/db/node".parse().unwrap(),
///     expected: Expected::Revision(first),
///     value: Some((*value).into()),
/// };
/// store.write(write(b"n2")).await?;
/// assert!(store.write(write(b"n3")).await.is_err());
/// let change = store.next_change("resources/", first).await?;
/// assert_eq!(change.value.as_deref(), Some(&b"n2"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    limit: usize,
    /// The revision of the last write, for watchers.
    revision: watch::Sender<Revision>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_LIMIT)
    }

    /// An empty store that keeps at most `bytes` of keys and values.
    #[must_use]
    pub fn with_limit(bytes: usize) -> Self {
        let revision = watch::Sender::new(Revision::ZERO);
        Self { state: Mutex::default(), limit: bytes, revision }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half written, so one that panicked has broken nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ClusterStore for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.state().get(key))
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<(Key, Entry)>, Revision), StoreError> {
        Ok(self.state().list(prefix))
    }

    async fn write(&self, write: Write) -> Result<Revision, StoreError> {
        let mut state = self.state();
        let revision = state.write(write, self.limit)?;
        self.revision.send_replace(revision);
        Ok(revision)
    }

    async fn next_change(&self, prefix: &str, after: Revision) -> Result<StoreChange, StoreError> {
        let changed = self.revision.subscribe();
        state::next_change(&self.state, changed, prefix, after).await
    }
}
