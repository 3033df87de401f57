//! The file of a node: votes, log and snapshot, all on disk before anything is acknowledged.
//!
//! Table `meta`: format, name, members, `is_member`, vote, committed, purged, snapshot,
//! `snapshot_meta`. Table `log`: an entry an index.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use ha_core::id::NodeName;
use openraft::AnyError;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::error::OpenError;
use super::types::{Entry, LogId, Undecodable, Vote, decode, encode};

const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// The version of the tables and records.
const FORMAT: u32 = 1;
/// Pages that are kept in memory: the hot ends of two small trees.
const CACHE: usize = 2 << 20;

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot use the store's file: it was closed")]
    Closed,
    #[error("cannot use the store's file: {0}")]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
}

macro_rules! from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for FileError {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}
from_redb!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError);

impl FileError {
    pub(super) fn to_any(&self) -> AnyError {
        AnyError::error(self)
    }
}

/// The open file; calls block, so they are made through [`File::run`].
#[derive(Debug)]
pub(super) struct File {
    /// `None` once it was closed.
    database: RwLock<Option<Database>>,
    /// The term of the last vote, noted before it is on disk.
    term: AtomicU64,
    /// The index of the last entry, noted before it is on disk.
    last: AtomicU64,
    /// What is committed; goes to disk with the next write.
    committed: Mutex<Option<LogId>>,
}

/// The tables of one transaction.
pub(super) struct Tables<'t> {
    meta: redb::Table<'t, &'static str, &'static [u8]>,
    log: redb::Table<'t, u64, &'static [u8]>,
}

impl Tables<'_> {
    pub(super) fn put<T: Serialize>(&mut self, key: &str, value: &T) -> Result<(), FileError> {
        self.put_raw(key, &encode(value))
    }

    pub(super) fn put_raw(&mut self, key: &str, value: &[u8]) -> Result<(), FileError> {
        self.meta.insert(key, value)?;
        Ok(())
    }

    pub(super) fn append(&mut self, index: u64, entry: &Entry) -> Result<(), FileError> {
        self.log.insert(index, encode(entry).as_slice())?;
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        range: impl std::ops::RangeBounds<u64>,
    ) -> Result<(), FileError> {
        self.log.retain_in(range, |_, _| false)?;
        Ok(())
    }
}

impl File {
    /// Opens the file of `me`, or makes it.
    pub(super) fn open(
        path: &Path,
        me: &NodeName,
        members: &[NodeName],
    ) -> Result<Self, OpenError> {
        if !path.try_exists().map_err(|source| OpenError::io(path, source))? {
            create(path, me, members)?;
        }
        let file = || path.to_owned();
        if fs::metadata(path).map_err(|source| OpenError::io(path, source))?.len() == 0 {
            return Err(OpenError::Corrupt {
                file: file(),
                source: io::ErrorKind::InvalidData.into(),
            });
        }
        let database = builder().open(path).map_err(|error| refused(path, error))?;
        let database = RwLock::new(Some(database));
        let (term, last, committed) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
        let opened = Self { database, term, last, committed };
        opened.check(me, members, &file).and_then(|()| {
            let corrupt = |error| OpenError::corrupt(path, error);
            let vote: Option<Vote> = opened.get("vote").map_err(corrupt)?;
            opened.note_term(vote.map_or(0, |vote| vote.leader_id().term));
            let purged: Option<LogId> = opened.get("purged").map_err(corrupt)?;
            opened.note_last(purged.map_or(0, |log_id| log_id.index));
            let last = opened.last_entry().map_err(corrupt)?;
            opened.note_last(last.map_or(0, |entry| entry.log_id.index));
            Ok(opened)
        })
    }

    fn check(
        &self,
        me: &NodeName,
        members: &[NodeName],
        file: &impl Fn() -> PathBuf,
    ) -> Result<(), OpenError> {
        let corrupt = |error| OpenError::corrupt(&file(), error);
        let format: Option<u32> = self.get("format").map_err(corrupt)?;
        match format {
            Some(FORMAT) => {}
            Some(theirs) => {
                return Err(OpenError::Format { file: file(), theirs, ours: FORMAT });
            }
            None => {
                let source = io::Error::from(io::ErrorKind::InvalidData);
                return Err(OpenError::Corrupt { file: file(), source });
            }
        }
        let name: Option<NodeName> = self.get("name").map_err(corrupt)?;
        if let Some(name) = name.filter(|name| name != me) {
            return Err(OpenError::Foreign { file: file(), name, me: me.clone() });
        }
        let stored: Option<Vec<NodeName>> = self.get("members").map_err(corrupt)?;
        match stored {
            Some(stored) if stored != members => {
                Err(OpenError::Members { file: file(), stored, configured: members.to_vec() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Runs something that waits for the disk where it delays no task.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        action: impl FnOnce(&Self) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let file = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || action(&file)).await;
        // An error means that the runtime ends.
        done.unwrap_or(Err(FileError::Closed))
    }

    /// Writes in one transaction, and returns when all is on disk.
    pub(super) fn write(
        &self,
        action: impl FnOnce(&mut Tables<'_>) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or(FileError::Closed)?.begin_write()?;
        {
            let (meta, log) = (transaction.open_table(META)?, transaction.open_table(LOG)?);
            let mut tables = Tables { meta, log };
            action(&mut tables)?;
            let committed = *self.committed.lock().unwrap_or_else(PoisonError::into_inner);
            tables.put("committed", &committed)?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn get_raw(&self, key: &str) -> Result<Option<Vec<u8>>, FileError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or(FileError::Closed)?.begin_read()?;
        let table = transaction.open_table(META)?;
        Ok(table.get(key)?.map(|value| value.value().to_vec()))
    }

    pub(super) fn get<T: for<'a> Deserialize<'a>>(
        &self,
        key: &str,
    ) -> Result<Option<T>, FileError> {
        let bytes = self.get_raw(key)?;
        Ok(bytes.map(|bytes| decode(&bytes)).transpose()?)
    }

    /// The entries of a range, until their sizes add up to more than `enough`.
    pub(super) fn entries(
        &self,
        range: impl std::ops::RangeBounds<u64>,
        enough: usize,
    ) -> Result<Vec<Entry>, FileError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or(FileError::Closed)?.begin_read()?;
        let table = transaction.open_table(LOG)?;
        let (mut entries, mut size) = (Vec::new(), 0_usize);
        for item in table.range(range)? {
            let (_, bytes) = item?;
            size = size.saturating_add(bytes.value().len());
            entries.push(decode(bytes.value())?);
            if size > enough {
                break;
            }
        }
        Ok(entries)
    }

    pub(super) fn last_entry(&self) -> Result<Option<Entry>, FileError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or(FileError::Closed)?.begin_read()?;
        let table = transaction.open_table(LOG)?;
        let last = table.last()?;
        Ok(last.map(|(_, bytes)| decode(bytes.value())).transpose()?)
    }

    /// Whether anything came of this node yet.
    pub(super) fn has_history(&self) -> Result<bool, FileError> {
        let purged: Option<LogId> = self.get("purged")?;
        let vote: Option<Vote> = self.get("vote")?;
        Ok(purged.is_some() || vote.is_some() || self.last_entry()?.is_some())
    }

    /// The highest term that this node has voted or been led in.
    pub(super) fn term(&self) -> u64 {
        self.term.load(Ordering::SeqCst)
    }

    pub(super) fn note_term(&self, term: u64) {
        self.term.fetch_max(term, Ordering::SeqCst);
    }

    /// The index of the last entry that this node has, or more.
    pub(super) fn last_index(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    pub(super) fn note_last(&self, index: u64) {
        self.last.fetch_max(index, Ordering::SeqCst);
    }

    pub(super) fn forget_from(&self, index: u64) {
        self.last.fetch_min(index.saturating_sub(1), Ordering::SeqCst);
    }

    pub(super) fn note_committed(&self, committed: Option<LogId>) {
        *self.committed.lock().unwrap_or_else(PoisonError::into_inner) = committed;
    }

    /// Lets go of the file; waits for a write that is under way.
    pub(super) fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(database);
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    // Reads all of the file, some MiB: bits that rotted are found here, not in the midst of work.
    builder.set_check_integrity_on_open(true);
    builder
}

/// Makes the file wholly or not at all: a name that is there always has all that it needs.
fn create(path: &Path, me: &NodeName, members: &[NodeName]) -> Result<(), OpenError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let failed = |source| OpenError::io(path, source);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {} // what a crash may have left
    }
    let database = builder().create(&new).map_err(|error| refused(path, error))?;
    let (term, last, committed) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
    let file = File { database: RwLock::new(Some(database)), term, last, committed };
    let written = file.write(|tables| {
        tables.put("format", &FORMAT)?;
        tables.put("name", me)?;
        tables.put("members", &members)
    });
    written.map_err(|error| failed(io::Error::other(error)))?;
    file.close();
    fs::rename(&new, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    folder.sync_all().map_err(failed)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "DatabaseError is redb's, and may grow")]
fn refused(path: &Path, error: DatabaseError) -> OpenError {
    let file = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::Locked { file }
        }
        DatabaseError::Storage(redb::StorageError::Io(source)) => OpenError::io(path, source),
        other => OpenError::Corrupt { file, source: io::Error::other(other) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_format_is_refused_and_both_versions_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (path, me) = (folder.path().join("store"), "a".parse::<NodeName>().unwrap());
        let members = [me.clone()];
        let file = File::open(&path, &me, &members).unwrap();
        file.write(|tables| tables.put("format", &(FORMAT + 1))).unwrap();
        file.close();
        let error = File::open(&path, &me, &members).unwrap_err();
        assert!(matches!(error, OpenError::Format { theirs: 2, ours: 1, .. }), "{error}");
    }

    #[test]
    fn a_file_that_a_crash_left_half_made_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, me) = (folder.path().join("store"), "a".parse::<NodeName>().unwrap());
        fs::write(folder.path().join("store.new"), b"half").unwrap();
        let file = File::open(&path, &me, std::slice::from_ref(&me)).unwrap();
        assert!(!file.has_history().unwrap());
    }
}
