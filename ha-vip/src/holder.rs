//! Who keeps the addresses as the router wants them, however long that takes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::address::VirtualAddress;
use crate::announce::Announcer;
use crate::backend::{AddressBackend, BackendError};

/// How often a failed removal is tried again, and how long to wait between.
const REMOVALS: usize = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// What the addresses are after a change: held or not.
pub(crate) type Settled = Result<bool, BackendError>;
type Change = Pin<Box<dyn Future<Output = Settled> + Send>>;

/// Reconciles what is wanted with what is there: one change at a time, the latest wish wins.
///
/// The router goes on advertising while a slow backend works.
pub(crate) struct Holder {
    backend: Arc<dyn AddressBackend>,
    announcer: Arc<dyn Announcer>,
    addresses: Arc<[VirtualAddress]>,
    wanted: bool,
    held: bool,
    announce_when_held: bool,
    change: Option<Change>,
}

impl Holder {
    pub(crate) fn new(
        backend: Arc<dyn AddressBackend>,
        announcer: Arc<dyn Announcer>,
        addresses: Arc<[VirtualAddress]>,
    ) -> Self {
        Self {
            backend,
            announcer,
            addresses,
            wanted: false,
            held: false,
            announce_when_held: false,
            change: None,
        }
    }

    pub(crate) fn acquire(&mut self) {
        self.wanted = true;
        self.begin();
    }

    pub(crate) fn release(&mut self) {
        self.wanted = false;
        self.announce_when_held = false;
        self.begin();
    }

    /// Announces now if the addresses are there, else as soon as they are.
    pub(crate) fn announce(&mut self) {
        if !self.held || self.change.is_some() {
            self.announce_when_held = self.wanted;
            return;
        }
        if let Err(error) = self.announcer.announce(&self.addresses) {
            tracing::warn!(%error, "addresses not announced");
        }
    }

    /// Whether nothing is under way and what is there is what is wanted.
    pub(crate) const fn is_settled(&self) -> bool {
        self.change.is_none() && self.held == self.wanted
    }

    /// Waits for the end of the change that is under way; for ever if there is none.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the change goes on at the next call.
    pub(crate) async fn settled(&mut self) -> Settled {
        let Some(change) = &mut self.change else {
            return std::future::pending().await;
        };
        let settled = change.await;
        self.change = None;
        let Ok(held) = settled else {
            // Not tried again at once: the router decides what is wanted now, and `remove_all` has
            // tried several times.
            self.held = false;
            return settled;
        };
        self.held = held;
        if self.held && self.wanted && self.announce_when_held {
            self.announce_when_held = false;
            self.announce();
        }
        self.begin();
        settled
    }

    fn begin(&mut self) {
        if self.change.is_some() || self.held == self.wanted {
            return;
        }
        let (backend, addresses) = (Arc::clone(&self.backend), Arc::clone(&self.addresses));
        self.change = Some(if self.wanted {
            Box::pin(async move { add_all(&*backend, &addresses).await })
        } else {
            Box::pin(async move { remove_all(&*backend, &addresses).await })
        });
    }
}

async fn add_all(backend: &dyn AddressBackend, addresses: &[VirtualAddress]) -> Settled {
    for address in addresses {
        if let Err(error) = backend.add(*address).await {
            // All or nothing: half a set of addresses would keep the rest from another router.
            if let Err(error) = remove_all(backend, addresses).await {
                tracing::error!(%error, "addresses left behind");
            }
            return Err(error);
        }
    }
    Ok(true)
}

async fn remove_all(backend: &dyn AddressBackend, addresses: &[VirtualAddress]) -> Settled {
    let mut failed = None;
    for address in addresses {
        failed = remove(backend, *address).await.err().or(failed);
    }
    failed.map_or(Ok(false), Err)
}

async fn remove(backend: &dyn AddressBackend, address: VirtualAddress) -> Result<(), BackendError> {
    for _ in 1..REMOVALS {
        match backend.remove(address).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::warn!(%error, %address, "address not removed, trying again"),
        }
        if let Err(error) = ha_core::driver::pause(REMOVAL_PAUSE).await {
            tracing::warn!(%error, "no timer");
        }
    }
    backend.remove(address).await
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder")
            .field("addresses", &self.addresses)
            .field("wanted", &self.wanted)
            .field("held", &self.held)
            .field("changing", &self.change.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
