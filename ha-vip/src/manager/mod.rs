//! Who holds a floating address, and how it is moved.

#[cfg(feature = "tokio")]
mod memory;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

#[cfg(feature = "tokio")]
pub use memory::MemoryVip;

use crate::address::VirtualAddress;

/// Whether this node serves the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Holding {
    /// Another node serves them, or none does.
    Elsewhere,
    /// This node serves them.
    Here,
    /// This node still serves them and is about to let go.
    Leaving,
}

/// Decides which node serves floating addresses: a VRRP router, a CARP host, a cluster.
///
/// Guarantee: *at least one*. In a split two nodes may serve an address.
#[async_trait]
pub trait VipManager: Debug + Send + Sync {
    /// The addresses that float.
    fn addresses(&self) -> &[VirtualAddress];

    /// Whether this node serves them now.
    fn holding(&self) -> Holding;

    /// Waits until [`holding`](Self::holding) is no longer `known`, and tells what it is.
    ///
    /// # Errors
    ///
    /// [`VipError::Ended`] when the manager has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn changed(&self, known: Holding) -> Result<Holding, VipError>;

    /// Gives the addresses to another node and stays back (switchover). Where no other node
    /// takes them, this one serves on.
    ///
    /// Returns as soon as the manager knows of it; await [`changed`](Self::changed) for the end.
    ///
    /// # Errors
    ///
    /// [`VipError::Ended`] when the manager has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: when dropped, the hand-over was begun or it was not.
    async fn hand_over(&self) -> Result<(), VipError>;

    /// Ends staying back: this node competes for the addresses again.
    ///
    /// # Errors
    ///
    /// [`VipError::Ended`] when the manager has ended.
    ///
    /// # Cancel safety
    ///
    /// As [`hand_over`](Self::hand_over).
    async fn resume(&self) -> Result<(), VipError>;
}

#[async_trait]
impl<V: VipManager + ?Sized> VipManager for Arc<V> {
    fn addresses(&self) -> &[VirtualAddress] {
        (**self).addresses()
    }
    fn holding(&self) -> Holding {
        (**self).holding()
    }
    async fn changed(&self, known: Holding) -> Result<Holding, VipError> {
        (**self).changed(known).await
    }
    async fn hand_over(&self) -> Result<(), VipError> {
        (**self).hand_over().await
    }
    async fn resume(&self) -> Result<(), VipError> {
        (**self).resume().await
    }
}

/// A manager could not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VipError {
    /// It has ended and let go of its addresses.
    #[error("cannot move the address: its manager has ended; start it again")]
    Ended,
}
