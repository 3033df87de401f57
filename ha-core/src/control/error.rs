//! How it fails.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::effect::Effect;

/// A control socket could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The connection ended before the answer.
    #[error(
        "cannot tell whether the node at {} did it: the connection ended before the answer; ask for the status",
        socket.display()
    )]
    Closed {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process listens there.
    #[error(
        "cannot listen on {}: another process does; stop it, or give this node a `socket` of its own",
        socket.display()
    )]
    InUse {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket could not be made.
    #[error(
        "cannot listen on {}: the system refused; check that its folder exists, is yours, and that the path has less than 100 bytes",
        socket.display()
    )]
    Listen {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error(
        "cannot tell whether the node at {} did it: no answer in {limit:?}; ask for the status",
        socket.display()
    )]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// How long it was given.
        limit: Duration,
    },
    /// Something else than a socket is there.
    #[error(
        "cannot listen on {}: there is something that is no socket; remove it, or choose another `socket`",
        socket.display()
    )]
    NotASocket {
        /// What is there.
        socket: PathBuf,
    },
    /// The node did not understand, or did not take the connection.
    #[error("cannot ask the node at {}: it says: {reason}", socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// What it says.
        reason: String,
    },
    /// The answer is not one.
    #[error(
        "cannot understand the node at {}: its answer is no answer to this; use programs of one version",
        socket.display()
    )]
    Strange {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Nobody listens there.
    #[error(
        "cannot reach a node at {}: is it running, and may you use its socket? Start it, or name another socket",
        socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ControlError {
    /// Whether what was asked for may have been done all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::InUse { .. }
            | Self::Listen { .. }
            | Self::NotASocket { .. }
            | Self::Refused { .. }
            | Self::Unreachable { .. } => Effect::None,
            Self::Closed { .. } | Self::NoAnswer { .. } | Self::Strange { .. } => Effect::Unknown,
        }
    }
}
