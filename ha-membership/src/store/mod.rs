//! The store that a cluster agrees on.

#[cfg(feature = "tokio")]
mod memory;
#[cfg(feature = "raft")]
mod raft;
#[cfg(feature = "tokio")]
mod state;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use ha_core::effect::Effect;

#[cfg(feature = "tokio")]
pub use self::memory::MemoryStore;
#[cfg(feature = "raft")]
pub use self::raft::{
    Formation, Leadership, OpenError, RaftStore, RaftStoreConfig, RaftStoreConfigBuilder,
};
use crate::key::{Key, Revision};

/// The largest value, in bytes: 1 MiB; a store is for state, not for data.
pub const MAX_VALUE_LEN: usize = 1 << 20;

/// A value; cloning is cheap.
pub type Value = Arc<[u8]>;

/// A value, and the revision that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain pair, made by every store")]
pub struct Entry {
    /// What is stored.
    pub value: Value,
    /// When it was stored.
    pub revision: Revision,
}

/// What must hold of an entry for a write to take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "every store must handle all of them")]
pub enum Expected {
    /// Whatever is there.
    Any,
    /// Nothing is there.
    Absent,
    /// What this revision wrote is still there.
    Revision(Revision),
}

/// A write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "every store must carry out all of it")]
pub struct Write {
    /// Where.
    pub key: Key,
    /// On which condition.
    pub expected: Expected,
    /// What; `None` deletes.
    pub value: Option<Value>,
}

/// A write that took place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain record, made by every store")]
pub struct StoreChange {
    /// Where.
    pub key: Key,
    /// What is there now; `None` after a delete.
    pub value: Option<Value>,
    /// The revision of the write.
    pub revision: Revision,
}

/// A linearizable store of small values.
///
/// Linearizable: every call takes effect at one moment between its start and its end, the same
/// for all nodes. A read sees every write that was acknowledged before it began.
#[async_trait]
pub trait ClusterStore: fmt::Debug + Send + Sync {
    /// Reads one entry.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Reads all entries whose keys start with `prefix`, in the order of the keys, and the
    /// revision of the store at that moment, from which to [watch](Self::next_change) on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn list(&self, prefix: &str) -> Result<(Vec<(Key, Entry)>, Revision), StoreError>;

    /// Writes if the condition holds (compare-and-set), and says at which revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the condition does not hold, [`StoreError::TooLarge`],
    /// [`StoreError::Full`], or [`StoreError::Unavailable`]: then read before writing again.
    ///
    /// # Cancel safety
    ///
    /// When dropped the write may have taken place.
    async fn write(&self, write: Write) -> Result<Revision, StoreError>;

    /// Waits for the first change after `after` to a key that starts with `prefix`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Compacted`] when changes after `after` are no longer kept: list, then watch
    /// from the revision that the list has. [`StoreError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the change is still there for the next call.
    async fn next_change(&self, prefix: &str, after: Revision) -> Result<StoreChange, StoreError>;

    /// Writes whatever is there.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), never `Conflict`.
    ///
    /// # Cancel safety
    ///
    /// When dropped the write may have taken place.
    async fn put(&self, key: &Key, value: Value) -> Result<Revision, StoreError> {
        let (key, expected) = (key.clone(), Expected::Any);
        self.write(Write { key, expected, value: Some(value) }).await
    }

    /// Deletes whatever is there.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), never `Conflict`.
    ///
    /// # Cancel safety
    ///
    /// When dropped the entry may have been deleted.
    async fn delete(&self, key: &Key) -> Result<Revision, StoreError> {
        self.write(Write { key: key.clone(), expected: Expected::Any, value: None }).await
    }
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<S: ClusterStore + ?Sized> ClusterStore for $pointer {
            async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
                (**self).get(key).await
            }
            async fn list(&self, prefix: &str) -> Result<(Vec<(Key, Entry)>, Revision), StoreError> {
                (**self).list(prefix).await
            }
            async fn write(&self, write: Write) -> Result<Revision, StoreError> {
                (**self).write(write).await
            }
            async fn next_change(
                &self,
                prefix: &str,
                after: Revision,
            ) -> Result<StoreChange, StoreError> {
                (**self).next_change(prefix, after).await
            }
        }
    )*};
}

forward!(&S, Box<S>, Arc<S>);

/// A store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The changes that were asked for are no longer kept.
    #[error(
        "cannot watch from revision {after}: only those from {oldest} on are kept; list, then watch from there"
    )]
    Compacted {
        /// Where the watch was to start.
        after: Revision,
        /// The oldest change that is kept.
        oldest: Revision,
    },
    /// The condition of a write did not hold.
    #[error("cannot write {key}: it is at {}, not as expected; read it and decide again", state(*found))]
    Conflict {
        /// Where.
        key: Key,
        /// What is there.
        found: Option<Revision>,
    },
    /// There is no room.
    #[error(
        "cannot write {key}: the store's {limit} bytes are used up; delete what is no longer needed"
    )]
    Full {
        /// Where.
        key: Key,
        /// How much the store takes.
        limit: usize,
    },
    /// The value is too large.
    #[error(
        "cannot write {key}: its {len} bytes are more than {MAX_VALUE_LEN}; store a reference to it"
    )]
    TooLarge {
        /// Where.
        key: Key,
        /// The size of the value.
        len: usize,
    },
    /// The store gave no answer: no majority, no network, no daemon.
    #[error(
        "cannot reach the store: check that a majority of its nodes is up; read before writing again"
    )]
    Unavailable {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

fn state(revision: Option<Revision>) -> String {
    revision.map_or_else(|| "nothing".to_owned(), |revision| format!("revision {revision}"))
}

impl StoreError {
    /// Whether the action may have happened all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Compacted { .. }
            | Self::Conflict { .. }
            | Self::Full { .. }
            | Self::TooLarge { .. } => Effect::None,
            Self::Unavailable { .. } => Effect::Unknown,
        }
    }
}
