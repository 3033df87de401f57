//! Addresses that exist in memory only.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{AddressBackend, BackendError};
use crate::address::VirtualAddress;

/// A backend without a network, for tests and dry runs.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_vip::backend::{AddressBackend, MemoryBackend};
///
/// let backend = MemoryBackend::new("eth0");
/// let address = "192.0.2.10/24".parse().unwrap();
/// backend.add(address).await?;
/// assert_eq!(backend.list().await?, [address]);
///
/// backend.fail(true); // from now on every call fails, as without CAP_NET_ADMIN
/// assert!(backend.remove(address).await.is_err());
/// # Ok::<(), ha_vip::backend::BackendError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryBackend {
    interface: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeSet<VirtualAddress>,
    fails: bool,
}

impl MemoryBackend {
    /// An interface of this name without addresses.
    pub fn new(interface: impl Into<String>) -> Self {
        Self { interface: interface.into(), state: Mutex::default() }
    }

    /// Makes every call fail from now on, or work again.
    pub fn fail(&self, fails: bool) {
        self.state().fails = fails;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn working(&self) -> Result<MutexGuard<'_, State>, BackendError> {
        let state = self.state();
        if state.fails {
            return Err(BackendError::Privilege { interface: self.interface.clone() });
        }
        Ok(state)
    }
}

#[async_trait]
impl AddressBackend for MemoryBackend {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.working()?.held.insert(address);
        Ok(())
    }

    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.working()?.held.remove(&address);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        Ok(self.working()?.held.iter().copied().collect())
    }
}
