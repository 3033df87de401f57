//! Putting an address on this node, and taking it off.

#[cfg(feature = "tokio")]
mod command;
#[cfg(feature = "netlink")]
mod divided;
mod memory;
#[cfg(feature = "netlink")]
mod netlink;
#[cfg(feature = "tokio")]
mod refusing;

use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::effect::Effect;

#[cfg(feature = "tokio")]
pub use command::{CommandBackend, CommandBackendBuilder};
#[cfg(feature = "netlink")]
pub(crate) use divided::{DividedAnnouncer, DividedBackend};
pub use memory::MemoryBackend;
#[cfg(feature = "netlink")]
pub use netlink::NetlinkBackend;
#[cfg(feature = "netlink")]
pub(crate) use netlink::into_io;
#[cfg(feature = "tokio")]
pub use refusing::RefusingBackend;
#[cfg(feature = "netlink")]
pub(crate) use refusing::clear_leftovers;

use crate::address::VirtualAddress;

/// Puts addresses where traffic finds them: a network interface, a cloud's route table.
///
/// Idempotent: adding what is there and removing what is not there succeed, so that a caller can
/// repeat itself until the answer is yes. A backend never removes an address that it did not add.
#[async_trait]
pub trait AddressBackend: Debug + Send + Sync {
    /// Puts `address` on this node.
    ///
    /// # Cancel safety
    ///
    /// The address may be there or not afterwards; ask [`list`](Self::list).
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError>;

    /// Takes `address` off this node, if this backend put it there.
    ///
    /// # Cancel safety
    ///
    /// As [`add`](Self::add).
    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError>;

    /// The addresses that this backend put here and that are here now.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError>;

    /// Puts all of `addresses` on this node, and begins anew the lease of those that are there.
    ///
    /// Provided: one after the other, up to the first that fails. A backend that can do many at
    /// once overrides it.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add); any of the addresses may be there then.
    ///
    /// # Cancel safety
    ///
    /// As [`add`](Self::add).
    async fn add_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        for address in addresses {
            self.add(*address).await?;
        }
        Ok(())
    }

    /// Takes those of `addresses` off this node that this backend put there.
    ///
    /// Provided: one after the other; one that fails does not keep the others.
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove), of one of those that failed.
    ///
    /// # Cancel safety
    ///
    /// As [`add`](Self::add).
    async fn remove_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        let mut failed = None;
        for address in addresses {
            failed = self.remove(*address).await.err().or(failed);
        }
        failed.map_or(Ok(()), Err)
    }

    /// How long an address stays by itself after it was added; `None`, the default: until it is
    /// removed.
    ///
    /// Whoever drives a backend with a lease adds its addresses again every third of it.
    fn lease(&self) -> Option<Duration> {
        None
    }
}

#[async_trait]
impl<B: AddressBackend + ?Sized> AddressBackend for Arc<B> {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        (**self).add(address).await
    }
    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        (**self).remove(address).await
    }
    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        (**self).list().await
    }
    async fn add_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        (**self).add_all(addresses).await
    }
    async fn remove_all(&self, addresses: &[VirtualAddress]) -> Result<(), BackendError> {
        (**self).remove_all(addresses).await
    }
    fn lease(&self) -> Option<Duration> {
        (**self).lease()
    }
}

/// An address could not be put on or taken off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A command of the user could not be run, or failed.
    #[error("cannot change the addresses: the command {program} failed; run it by hand to see why")]
    Command {
        /// The program.
        program: String,
        /// How it failed, with the first line of what it said.
        #[source]
        source: io::Error,
    },
    /// A command of the user took too long and was killed.
    #[error(
        "cannot tell whether the addresses have changed: the command {program} took longer than \
         {limit:?}; raise its timeout, or find out what it waits for"
    )]
    NoAnswer {
        /// The program.
        program: String,
        /// How long it might take.
        limit: Duration,
    },
    /// There is no such interface, or it went away.
    #[error("cannot change the addresses of {interface}: it is gone; plug it in or name another")]
    NoInterface {
        /// The interface.
        interface: String,
    },
    /// The kernel or the API did not answer as expected.
    #[error("cannot change address {address} of {interface}: the system refused")]
    Refused {
        /// The address.
        address: VirtualAddress,
        /// The interface.
        interface: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The process may not do this.
    #[error(
        "cannot change the addresses of {interface}: the capability CAP_NET_ADMIN is missing; \
         run as root, or grant it with AmbientCapabilities= or setcap"
    )]
    Privilege {
        /// The interface.
        interface: String,
    },
    /// The kernel could not be asked what is there: nothing is known, nothing was changed.
    #[error(
        "cannot tell which addresses {interface} has: the kernel could not be asked; try again,          and look at the limit of open files"
    )]
    Unreadable {
        /// The interface.
        interface: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

impl BackendError {
    /// Whether the address may have changed all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::NoInterface { .. } | Self::Privilege { .. } | Self::Unreadable { .. } => {
                Effect::None
            }
            Self::Command { .. } | Self::NoAnswer { .. } | Self::Refused { .. } => Effect::Unknown,
        }
    }
}
