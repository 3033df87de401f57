//! Why a store cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use ha_core::id::NodeName;

use super::file::FileError;
use crate::transport::channel::ServeError;

/// A store cannot be opened. Its file is never deleted or overwritten.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is damaged, or something else.
    #[error(
        "cannot read {file}: it is damaged or no store; move it away, \
         and this node catches up from the other members"
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
    /// The engine does not start.
    #[error("cannot start the store on {file}: {reason}; move the file away if this persists")]
    Engine {
        /// The file.
        file: PathBuf,
        /// What it says.
        reason: String,
    },
    /// The file is another node's.
    #[error("cannot use {file}: it is that of node {name}, not of {me}; give each node its own")]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        name: NodeName,
        /// The name of this node.
        me: NodeName,
    },
    /// The file was written by another version.
    #[error(
        "cannot read {file}: it has format {theirs}, this program reads {ours}; \
         use the version that wrote it"
    )]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        theirs: u32,
        /// What can be read.
        ours: u32,
    },
    /// The disk is full.
    #[error("cannot write {file}: the disk is full; make room")]
    Full {
        /// The file.
        file: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The system refuses.
    #[error("cannot open {file}: check that its folder exists and its disk is well")]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A process has the file open.
    #[error("cannot open {file}: a process has it open; stop that one, or give another file")]
    Locked {
        /// The file.
        file: PathBuf,
    },
    /// The members are not those that the file was made with.
    #[error(
        "cannot use {file}: it is of a cluster of {stored:?}, not of {configured:?}; \
         correct the settings, or move the files of all nodes away to begin anew"
    )]
    Members {
        /// The file.
        file: PathBuf,
        /// The members that it was made with.
        stored: Vec<NodeName>,
        /// Those of the settings.
        configured: Vec<NodeName>,
    },
    /// The channels are those of another node.
    #[error("cannot open the store of {me}: the channels are those of {channels}; use its own")]
    OtherNode {
        /// The node of the settings.
        me: NodeName,
        /// The node of the channels.
        channels: NodeName,
    },
    /// This user may not use the file.
    #[error("cannot open {file}: this user may not; change its owner or mode")]
    Permission {
        /// The file.
        file: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The topic is served already.
    #[error("cannot open the store: its topic is taken; set another one on all members")]
    Topic(#[source] ServeError),
}

impl OpenError {
    /// Sorts an error of the system.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let file = path.to_owned();
        #[expect(clippy::wildcard_enum_match_arm, reason = "io::ErrorKind is the system's")]
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission { file, source }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { file, source }
            }
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::Corrupt { file, source }
            }
            _ => Self::Io { file, source },
        }
    }

    pub(super) fn corrupt(path: &Path, error: FileError) -> Self {
        match error {
            FileError::Redb(redb::Error::Io(source)) => Self::io(path, source),
            error @ (FileError::Closed | FileError::Redb(_) | FileError::Undecodable(_)) => {
                Self::Corrupt { file: path.to_owned(), source: io::Error::other(error) }
            }
        }
    }
}
