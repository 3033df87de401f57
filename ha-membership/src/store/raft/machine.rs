//! The state that the log leads to, and its snapshots.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::storage::RaftStateMachine;
use openraft::{
    EmptyNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta,
    StorageIOError, StoredMembership,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::file::{File, FileError};
use super::types::{Blob, Entry, LogId, Outcome, StorageError, Types, Undecodable, decode, encode};
use crate::key::{Key, Revision};
use crate::store;
use crate::store::state::State;

type Meta = SnapshotMeta<u64, EmptyNode>;
type Membership = StoredMembership<u64, EmptyNode>;

/// What was applied, as readers see it.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) state: Mutex<State>,
    /// The revision of `state`, for those who watch it.
    pub(super) revision: watch::Sender<Revision>,
    /// The index of the last entry in `state`, for those who wait for it.
    pub(super) index: watch::Sender<u64>,
}

impl Applied {
    pub(super) fn new() -> Self {
        let (revision, index) = (watch::Sender::new(Revision::ZERO), watch::Sender::new(0));
        Self { state: Mutex::default(), revision, index }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half written, so one that panicked has broken nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last snapshot's contents.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    revision: Revision,
    entries: Vec<(Key, Blob, Revision)>,
}

#[derive(Debug)]
pub(super) struct Machine {
    file: Arc<File>,
    applied: Arc<Applied>,
    last: Option<LogId>,
    membership: Membership,
}

impl Machine {
    /// The state as of the last snapshot; the engine applies the rest anew.
    pub(super) fn open(file: Arc<File>, applied: Arc<Applied>) -> Result<Self, FileError> {
        let mut machine = Self { file, applied, last: None, membership: Membership::default() };
        if let Some((meta, bytes)) = stored(&machine.file)? {
            machine.restore(&meta, &bytes)?;
        }
        Ok(machine)
    }

    fn restore(&mut self, meta: &Meta, bytes: &[u8]) -> Result<(), Undecodable> {
        let contents: Contents = decode(bytes)?;
        let entries: BTreeMap<Key, store::Entry> = contents
            .entries
            .into_iter()
            .map(|(key, Blob(value), revision)| (key, store::Entry { value, revision }))
            .collect();
        *self.applied.state() = State::restored(entries, contents.revision);
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish(contents.revision);
        Ok(())
    }

    fn publish(&self, revision: Revision) {
        self.applied.revision.send_replace(revision);
        self.applied.index.send_replace(self.last.map_or(0, |last| last.index));
    }
}

/// The snapshot in the file.
fn stored(file: &File) -> Result<Option<(Meta, Vec<u8>)>, FileError> {
    let meta: Option<Meta> = file.get("snapshot_meta")?;
    Ok(meta.zip(file.get_raw("snapshot")?))
}

/// Puts a snapshot in the place of the one in the file.
fn store_snapshot(file: &File, meta: &Meta, bytes: &[u8]) -> Result<(), FileError> {
    file.write(|tables| {
        tables.put("snapshot_meta", meta)?;
        tables.put_raw("snapshot", bytes)
    })
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        let mut state = self.applied.state();
        for entry in entries {
            self.last = Some(entry.log_id);
            outcomes.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    Vec::new()
                }
                EntryPayload::Normal(batch) => {
                    let limit = usize::try_from(batch.limit).unwrap_or(usize::MAX);
                    let writes = batch.writes.into_iter();
                    writes.map(|write| Outcome::new(&state.write(write.into(), limit))).collect()
                }
            });
        }
        let revision = state.revision();
        drop(state);
        self.publish(revision);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let (entries, revision) = self.applied.state().list("");
        Builder {
            file: Arc::clone(&self.file),
            entries,
            revision,
            last: self.last,
            membership: self.membership.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = Arc::new(snapshot.into_inner());
        let failed = |error: FileError| {
            StorageError::from(StorageIOError::write_snapshot(
                Some(meta.signature()),
                error.to_any(),
            ))
        };
        let (to_file, copy) = (meta.clone(), Arc::clone(&bytes));
        // On disk only what can be read again.
        let written = self.file.run(move |file| {
            decode::<Contents>(&copy)?;
            store_snapshot(file, &to_file, &copy)
        });
        written.await.map_err(failed)?;
        self.restore(meta, &bytes).map_err(|error| failed(error.into()))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let read = self.file.run(stored).await;
        let read = read.map_err(|error| StorageIOError::read_snapshot(None, error.to_any()))?;
        Ok(read.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

/// Makes a snapshot of a moment.
#[derive(Debug)]
pub(super) struct Builder {
    file: Arc<File>,
    entries: Vec<(Key, store::Entry)>,
    revision: Revision,
    last: Option<LogId>,
    membership: Membership,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let entries = std::mem::take(&mut self.entries).into_iter();
        let entries =
            entries.map(|(key, entry)| (key, Blob(entry.value), entry.revision)).collect();
        let contents = Contents { revision: self.revision, entries };
        let id = self.last.map_or_else(String::new, |last| last.to_string());
        let meta = Meta {
            last_log_id: self.last,
            last_membership: self.membership.clone(),
            snapshot_id: id,
        };
        let to_file = meta.clone();
        let built = self.file.run(move |file| {
            let bytes = encode(&contents);
            store_snapshot(file, &to_file, &bytes)?;
            Ok(bytes)
        });
        let bytes = built.await.map_err(|error| {
            StorageIOError::write_snapshot(Some(meta.signature()), error.to_any())
        })?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}
