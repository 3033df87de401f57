//! What every store of this crate keeps, and the meaning of a write.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::{Entry, Expected, MAX_VALUE_LEN, StoreChange, StoreError, Write};
use crate::key::{Key, Revision};

/// How many changes are kept for watchers that lag behind.
const HISTORY: usize = 1024;

/// Entries, their revision, and the last changes.
#[derive(Debug, Default)]
pub(super) struct State {
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

impl Expected {
    /// Whether the condition holds of an entry that this revision wrote, or of none.
    pub(super) fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Revision(revision) => found == Some(revision),
        }
    }
}

impl State {
    pub(super) fn get(&self, key: &Key) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    /// The entries whose keys start with `prefix`, and the revision of all.
    pub(super) fn list(&self, prefix: &str) -> (Vec<(Key, Entry)>, Revision) {
        let entries = self.entries.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        (entries.map(|(key, entry)| (key.clone(), entry.clone())).collect(), self.revision)
    }

    #[cfg(feature = "raft")]
    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    /// The state that a snapshot holds; its changes are no longer known.
    #[cfg(feature = "raft")]
    pub(super) fn restored(entries: BTreeMap<Key, Entry>, revision: Revision) -> Self {
        let bytes = entries.iter().map(|(key, entry)| size(key, Some(&entry.value))).sum();
        Self { entries, revision, history: VecDeque::new(), bytes, history_bytes: 0 }
    }

    /// Carries a write out if its condition holds and there is room.
    pub(super) fn write(&mut self, write: Write, limit: usize) -> Result<Revision, StoreError> {
        let Write { key, expected, value } = write;
        let found = self.entries.get(&key).map(|entry| entry.revision);
        if !expected.holds(found) {
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

    /// The first change after `after` to a key that starts with `prefix`, if there is one yet.
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

/// Waits for the first change after `after` to a key that starts with `prefix`; `changed` follows
/// the revision of the state.
pub(super) async fn next_change(
    state: &Mutex<State>,
    mut changed: watch::Receiver<Revision>,
    prefix: &str,
    mut after: Revision,
) -> Result<StoreChange, StoreError> {
    loop {
        changed.mark_unchanged();
        {
            // No call leaves the state half written, so one that panicked has broken nothing.
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(change) = state.change(prefix, after)? {
                return Ok(change);
            }
            // What other prefixes do must not push this watch out of the history.
            after = after.max(state.revision);
        }
        if changed.changed().await.is_err() {
            let source = std::io::Error::other("the store was shut down");
            return Err(StoreError::Unavailable { source });
        }
    }
}
