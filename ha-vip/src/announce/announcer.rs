//! Who sends the announcements.

use std::fmt::Debug;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::address::VirtualAddress;

/// Tells the neighbours that addresses are here now.
///
/// Called from a driver: it must not block.
pub trait Announcer: Debug + Send + Sync {
    /// Sends one frame for each address.
    ///
    /// # Errors
    ///
    /// The system's, such as a link that is down. Nothing is repeated: the caller announces again
    /// by its own schedule.
    fn announce(&self, addresses: &[VirtualAddress]) -> io::Result<()>;
}

/// Remembers what was announced, for tests.
#[derive(Debug, Default)]
pub struct MemoryAnnouncer(Mutex<Vec<VirtualAddress>>);

impl MemoryAnnouncer {
    /// Everything announced so far, in order.
    #[must_use]
    pub fn announced(&self) -> Vec<VirtualAddress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Announcer for MemoryAnnouncer {
    fn announce(&self, addresses: &[VirtualAddress]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(addresses);
        Ok(())
    }
}
