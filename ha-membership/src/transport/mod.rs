//! What carries messages between nodes safely.

#[cfg(feature = "raft")]
pub mod channel;
mod key_file;
mod sealed;

pub use self::key_file::{KeyFileError, SharedKey};
pub use self::sealed::{OpenError, SealError, Sealed, SealedStats, SessionId};
