//! The changes that a holder makes, each to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::address::VirtualAddress;
use crate::backend::{AddressBackend, BackendError};

/// How often a failed removal is tried again, and how long to wait between.
const REMOVALS: usize = 5;
const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// How a change ended.
#[derive(Debug)]
pub(super) enum Done {
    Acquired,
    Released,
    /// What was put there, and whether more is missing.
    Mended {
        put_back: Vec<VirtualAddress>,
        missing: bool,
    },
    /// Nothing is held, but for what could not be removed.
    Failed {
        error: BackendError,
        left: Vec<VirtualAddress>,
    },
}

/// Puts all addresses there, or none: half a set would keep the rest from another router.
pub(super) async fn acquire(
    backend: Arc<dyn AddressBackend>,
    addresses: Arc<[VirtualAddress]>,
) -> Done {
    match backend.add_all(&addresses).await {
        Ok(()) => Done::Acquired,
        Err(error) => give_up(&*backend, &addresses, error).await,
    }
}

pub(super) async fn release(
    backend: Arc<dyn AddressBackend>,
    addresses: Vec<VirtualAddress>,
) -> Done {
    match remove_all(&*backend, &addresses).await {
        Ok(()) => Done::Released,
        Err(error) => Done::Failed { error, left: addresses },
    }
}

/// Makes what is there what is wanted.
#[derive(Debug)]
pub(super) struct Mend {
    pub(super) wanted: Arc<[VirtualAddress]>,
    pub(super) remove: Vec<VirtualAddress>,
    /// Added in any case when missing.
    pub(super) fresh: BTreeSet<VirtualAddress>,
    /// Whether all that is missing is added.
    pub(super) put_back: bool,
    /// Whether the lease of what is there begins anew.
    pub(super) renew: bool,
}

impl Mend {
    pub(super) async fn run(self, backend: Arc<dyn AddressBackend>) -> Done {
        let removed = remove_all(&*backend, &self.remove).await;
        let mended = match removed {
            Ok(()) => self.add_missing(&*backend).await,
            Err(error) => Err(error),
        };
        match mended {
            Ok(done) => done,
            // All or nothing, as when they are acquired.
            Err(error) => {
                let all: Vec<_> = self.wanted.iter().chain(&self.remove).copied().collect();
                give_up(&*backend, &all, error).await
            }
        }
    }

    async fn add_missing(&self, backend: &dyn AddressBackend) -> Result<Done, BackendError> {
        // Read after the removal: with the first address of an IPv4 network the kernel removes
        // the others of that network, too.
        let there: BTreeSet<_> = match backend.list().await {
            Ok(there) => there.into_iter().collect(),
            // Not to be able to look is no reason to give up what is held.
            Err(error) if self.fresh.is_empty() => {
                tracing::warn!(%error, "cannot tell whether addresses are missing");
                return Ok(Done::Mended { put_back: Vec::new(), missing: false });
            }
            Err(error) => return Err(error),
        };
        let (present, missing): (Vec<_>, Vec<_>) =
            self.wanted.iter().partition(|address| there.contains(address));
        if self.renew {
            backend.add_all(&present).await?;
        }
        let all = self.put_back || !self.remove.is_empty();
        let (add, wait): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|address| all || self.fresh.contains(address));
        if add.is_empty() {
            return Ok(Done::Mended { put_back: add, missing: !wait.is_empty() });
        }
        backend.add_all(&add).await?;
        // One that another program has put there is not listed, and was not missing.
        let there: BTreeSet<_> = backend.list().await?.into_iter().collect();
        let put_back = add.into_iter().filter(|address| there.contains(address)).collect();
        Ok(Done::Mended { put_back, missing: !wait.is_empty() })
    }
}

async fn give_up(
    backend: &dyn AddressBackend,
    addresses: &[VirtualAddress],
    error: BackendError,
) -> Done {
    let left = match remove_all(backend, addresses).await {
        Ok(()) => Vec::new(),
        Err(error) => {
            tracing::error!(%error, "addresses left behind");
            addresses.to_vec()
        }
    };
    Done::Failed { error, left }
}

async fn remove_all(
    backend: &dyn AddressBackend,
    addresses: &[VirtualAddress],
) -> Result<(), BackendError> {
    if addresses.is_empty() {
        return Ok(());
    }
    for _ in 1..REMOVALS {
        match backend.remove_all(addresses).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::warn!(%error, "addresses not removed, trying again"),
        }
        if let Err(error) = ha_core::driver::pause(REMOVAL_PAUSE).await {
            tracing::warn!(%error, "no timer");
        }
    }
    backend.remove_all(addresses).await
}
