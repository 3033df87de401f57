//! An address that floats in memory only.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Holding, VipError, VipManager};
use crate::address::VirtualAddress;

/// A manager whose address goes where a test says.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_vip::{Holding, MemoryVip, VipManager};
///
/// let vip = MemoryVip::new(vec!["192.0.2.10/24".parse().unwrap()]);
/// assert_eq!(vip.holding(), Holding::Elsewhere);
/// vip.arrive(); // the other node died
/// assert_eq!(vip.changed(Holding::Elsewhere).await?, Holding::Here);
/// vip.hand_over().await?;
/// assert_eq!(vip.holding(), Holding::Elsewhere);
/// # Ok::<(), ha_vip::VipError>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryVip {
    addresses: Vec<VirtualAddress>,
    holding: watch::Sender<Holding>,
    stands_back: AtomicBool,
}

impl MemoryVip {
    /// Addresses that another node serves.
    #[must_use]
    pub fn new(addresses: Vec<VirtualAddress>) -> Self {
        let holding = watch::Sender::new(Holding::Elsewhere);
        Self { addresses, holding, stands_back: AtomicBool::new(false) }
    }

    /// The addresses come to this node.
    pub fn arrive(&self) {
        self.holding.send_replace(Holding::Here);
    }

    /// The addresses go to another node.
    pub fn leave(&self) {
        self.holding.send_replace(Holding::Elsewhere);
    }

    /// Whether a hand-over was asked for and not ended with [`resume`](VipManager::resume).
    #[must_use]
    pub fn stands_back(&self) -> bool {
        self.stands_back.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl VipManager for MemoryVip {
    fn addresses(&self) -> &[VirtualAddress] {
        &self.addresses
    }

    fn holding(&self) -> Holding {
        *self.holding.borrow()
    }

    async fn changed(&self, known: Holding) -> Result<Holding, VipError> {
        let mut holding = self.holding.subscribe();
        let changed = holding.wait_for(|holding| *holding != known).await;
        changed.map(|holding| *holding).map_err(|_| VipError::Ended)
    }

    async fn hand_over(&self) -> Result<(), VipError> {
        self.stands_back.store(true, Ordering::SeqCst);
        self.leave();
        Ok(())
    }

    async fn resume(&self) -> Result<(), VipError> {
        self.stands_back.store(false, Ordering::SeqCst);
        Ok(())
    }
}
