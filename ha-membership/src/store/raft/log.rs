//! The log and the votes, as the engine asks for them.

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageIOError};

use super::file::File;
use super::types::{Entry, LogId, StorageError, Types, Vote};

/// The entries of one message to a member: with the last one, which may be a batch of 1.3 MiB,
/// they stay well below the most that a channel takes.
const ENOUGH: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) file: Arc<File>,
    /// The number of this node.
    pub(super) me: u64,
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        let read = self.file.run(move |file| file.entries(range, usize::MAX)).await;
        read.map_err(|error| StorageIOError::read_logs(error.to_any()).into())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let read = self.file.run(move |file| file.entries(start..end, ENOUGH)).await;
        read.map_err(|error| StorageIOError::read_logs(error.to_any()).into())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let read = self.file.run(|file| {
            let last_purged_log_id: Option<LogId> = file.get("purged")?;
            let last_log_id = file.last_entry()?.map(|entry| entry.log_id);
            Ok(LogState { last_purged_log_id, last_log_id: last_log_id.or(last_purged_log_id) })
        });
        read.await.map_err(|error| StorageIOError::read_logs(error.to_any()).into())
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        // Before it is on disk, so that what this node tells of itself is never too little.
        self.file.note_term(vote.leader_id().term);
        let written =
            self.file.run(move |file| file.write(|tables| tables.put("vote", &vote))).await;
        written.map_err(|error| StorageIOError::write_vote(error.to_any()).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let read = self.file.run(|file| file.get::<Vote>("vote")).await;
        let read = read.map_err(|error| StorageIOError::read_vote(error.to_any()))?;
        // A leader that comes back is not to go on in its old term: the engine would answer reads
        // before it knows again what it had acknowledged. So it only remembers whom it voted for.
        let mine = |vote: &Vote| vote.leader_id().voted_for() == Some(self.me);
        Ok(read.map(|vote| match vote.leader_id().voted_for() {
            Some(me) if mine(&vote) => Vote::new(vote.leader_id().term, me),
            Some(_) | None => vote,
        }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Only saves time after a restart: it need not be on disk at once.
        self.file.note_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        let read = self.file.run(|file| {
            let committed: Option<Option<LogId>> = file.get("committed")?;
            file.note_committed(committed.flatten());
            Ok(committed.flatten())
        });
        read.await.map_err(|error| StorageIOError::read_logs(error.to_any()).into())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Types>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(last) = entries.last() {
            // As with votes: before it is on disk.
            self.file.note_last(last.log_id.index);
        }
        let written = self.file.run(move |file| {
            file.write(|tables| {
                entries.iter().try_for_each(|entry| tables.append(entry.log_id.index, entry))
            })
        });
        written.await.map_err(|error| StorageIOError::write_logs(error.to_any()))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let cut =
            self.file.run(move |file| file.write(|tables| tables.remove(log_id.index..))).await;
        cut.map_err(|error| StorageIOError::write_logs(error.to_any()))?;
        self.file.forget_from(log_id.index);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.file.note_last(log_id.index);
        let purged = self.file.run(move |file| {
            file.write(|tables| {
                tables.put("purged", &log_id)?;
                tables.remove(..=log_id.index)
            })
        });
        purged.await.map_err(|error| StorageIOError::write_logs(error.to_any()).into())
    }
}
