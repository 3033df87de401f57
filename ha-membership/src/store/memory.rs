//! A store in the memory of one process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{ClusterStore, Entry, Expected, MAX_VALUE_LEN, StoreChange, StoreError, Write};
use crate::key::{Key, Revision};

/// How many changes are kept for watchers that lag behind.
const HISTORY: usize = 1024;
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

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    revision: Revision,
    history: VecDeque<StoreChange>,
    /// Bytes of keys and values in `entries`.
    bytes: usize,
    /// Bytes of keys and values in `history`.
    history_bytes: usize,
}

fn size(key: &Key, value: Option<&[u8]>) -> usize {
    value.map_or(0, |value| key.as_str().len() + value.len())
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

impl State {
    fn write(&mut self, write: Write, limit: usize) -> Result<Revision, StoreError> {
        let Write { key, expected, value } = write;
        let found = self.entries.get(&key).map(|entry| entry.revision);
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::Revision(revision) => found == Some(revision),
        };
        if !holds {
            return Err(StoreError::Conflict { key, found });
        }
        let len = value.as_deref().map_or(0, <[u8]>::len);
        if len > MAX_VALUE_LEN {
            return Err(StoreError::TooLarge { key, len });
        }
        let before = self.entries.get(&key).map_or(0, |entry| size(&key, Some(&entry.value)));
        let bytes = self.bytes - before + size(&key, value.as_deref());
        if bytes > limit {
            return Err(StoreError::Full { key, limit });
        }
        self.bytes = bytes;
        self.revision = self.revision.next();
        let revision = self.revision;
        match &value {
            Some(value) => {
                self.entries.insert(key.clone(), Entry { value: value.clone(), revision });
            }
            None => {
                self.entries.remove(&key);
            }
        }
        self.remember(StoreChange { key, value, revision }, limit);
        Ok(revision)
    }

    fn remember(&mut self, change: StoreChange, limit: usize) {
        self.history_bytes += size(&change.key, change.value.as_deref());
        self.history.push_back(change);
        while self.history.len() > HISTORY || self.history_bytes > limit {
            let Some(oldest) = self.history.pop_front() else {
                return;
            };
            self.history_bytes -= size(&oldest.key, oldest.value.as_deref());
        }
    }

    fn change(&self, prefix: &str, after: Revision) -> Result<Option<StoreChange>, StoreError> {
        let oldest = self.history.front().map_or(self.revision.next(), |change| change.revision);
        if after.next() < oldest {
            return Err(StoreError::Compacted { after, oldest });
        }
        let start = self.history.partition_point(|change| change.revision <= after);
        let mut later = self.history.range(start..);
        Ok(later.find(|change| change.key.as_str().starts_with(prefix)).cloned())
    }
}

#[async_trait]
impl ClusterStore for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.state().entries.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<(Vec<(Key, Entry)>, Revision), StoreError> {
        let state = self.state();
        let entries = state.entries.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let found = entries.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Ok((found, state.revision))
    }

    async fn write(&self, write: Write) -> Result<Revision, StoreError> {
        let mut state = self.state();
        let revision = state.write(write, self.limit)?;
        self.revision.send_replace(revision);
        Ok(revision)
    }

    async fn next_change(&self, prefix: &str, after: Revision) -> Result<StoreChange, StoreError> {
        let mut revision = self.revision.subscribe();
        let mut after = after;
        loop {
            revision.mark_unchanged();
            {
                let state = self.state();
                if let Some(change) = state.change(prefix, after)? {
                    return Ok(change);
                }
                // What other prefixes do must not push this watch out of the history.
                after = after.max(state.revision);
            }
            if revision.changed().await.is_err() {
                // The sender is a field of `self`: it lives as long as this call.
                std::future::pending::<()>().await;
            }
        }
    }
}
