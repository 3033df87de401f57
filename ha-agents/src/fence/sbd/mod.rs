//! SBD: fencing by messages on shared disks, compatible with the `sbd` tool.
//!
//! ```text
//!   n1: SbdFence ──reset──▶ slot of n2 on 1 to 3 disks ◀──reads every second── n2: Watcher
//!          │                                                                    │   │
//!          └ after the message wait: assumed; earlier by an acknowledgement     │   └▶ Watchdog
//!                                                      acts on reset, off, … ◀──┘   fed while most
//!                                                                                   disks answer
//! ```
//!
//! Why n2 is harmless after the message wait: either its watcher reads the message, or it cannot
//! read the disks, does not feed its watchdog any more, and is reset by that. A message goes to
//! more than half of the disks, and the watchdog is fed only while at least half of them answer
//! (two of three, one of two): so every fed node sees every message. But a slot has room for one:
//! a message that is written within a moment of another may be lost, as with `sbd`; an order is
//! read again after it is written, which leaves a narrow gap.
//!
//! A disk begins with a header: version 2, 255 slots, sector size, times, UUID. Each slot is a
//! sector with the node's name and one with its message and the sender.

#[cfg(feature = "tokio")]
mod agent;
#[cfg(feature = "tokio")]
mod disk;
#[cfg(feature = "tokio")]
mod driver;
mod layout;
#[cfg(feature = "tokio")]
mod thread;
mod watcher;

#[cfg(feature = "tokio")]
pub use self::agent::{SbdFence, SbdFenceBuilder};
#[cfg(feature = "tokio")]
pub use self::disk::{SbdDisk, SbdError};
#[cfg(feature = "tokio")]
pub use self::driver::{MakeHarmless, SbdService, WatchError};
pub use self::layout::{
    DiskTimes, Header, LayoutError, MAX_NODE_NAME, MAX_SECTOR, Mail, Message, SLOTS, Slot,
    decode_mail, decode_node,
};
pub use self::watcher::{
    Ended, Input, Output, StartMode, Watcher, WatcherConfig, WatcherConfigBuilder,
};

/// An error with its causes, in one line.
#[cfg(feature = "tokio")]
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
