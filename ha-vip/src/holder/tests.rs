use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::*;
use crate::announce::MemoryAnnouncer;
use crate::backend::MemoryBackend;

/// A backend whose every call waits for a permit, as a slow cloud's.
#[derive(Debug)]
struct Slow {
    permits: Semaphore,
    inner: MemoryBackend,
}

impl Slow {
    async fn wait(&self) {
        self.permits.acquire().await.expect("never closed").forget();
    }
}

#[async_trait]
impl AddressBackend for Slow {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.wait().await;
        self.inner.add(address).await
    }
    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.wait().await;
        self.inner.remove(address).await
    }
    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        self.inner.list().await
    }
}

struct Rig {
    backend: Arc<Slow>,
    announcer: Arc<MemoryAnnouncer>,
    holder: Holder,
}

fn rig(permits: usize) -> Rig {
    let inner = MemoryBackend::new("eth0");
    let backend = Arc::new(Slow { permits: Semaphore::new(permits), inner });
    let announcer = Arc::new(MemoryAnnouncer::default());
    let addresses = ["10.0.0.1/24", "10.0.0.2/24"].map(|text| text.parse().expect("an address"));
    let (shared, told): (Arc<Slow>, Arc<MemoryAnnouncer>) = (backend.clone(), announcer.clone());
    Rig { backend, announcer, holder: Holder::new(shared, told, Arc::new(addresses)) }
}

#[tokio::test]
async fn addresses_are_announced_only_once_they_are_there() {
    let mut rig = rig(0);
    rig.holder.acquire();
    rig.holder.announce();
    assert!(rig.announcer.announced().is_empty());
    rig.backend.permits.add_permits(2);
    assert!(rig.holder.settled().await.expect("no failure"));
    assert_eq!(rig.announcer.announced().len(), 2);
    rig.holder.announce();
    assert_eq!(rig.announcer.announced().len(), 4);
}

#[tokio::test]
async fn the_latest_wish_wins_over_a_change_that_is_under_way() {
    let mut rig = rig(0);
    rig.holder.acquire();
    rig.holder.announce();
    rig.holder.release();
    rig.backend.permits.add_permits(4);
    assert!(rig.holder.settled().await.expect("added"), "the first change ends");
    assert!(!rig.holder.is_settled());
    assert!(!rig.holder.settled().await.expect("removed"));
    assert!(rig.holder.is_settled());
    assert!(rig.backend.list().await.expect("memory").is_empty());
    assert!(rig.announcer.announced().is_empty(), "what is let go of is not announced");
}

#[tokio::test]
async fn half_a_set_of_addresses_is_not_kept() {
    let mut rig = rig(100);
    rig.backend.inner.fail(true);
    rig.holder.acquire();
    assert!(rig.holder.settled().await.is_err());
    rig.holder.release();
    assert!(rig.holder.is_settled());
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let mut rig = rig(1);
    rig.holder.acquire();
    for _ in 0..3 {
        let waiting = tokio::time::timeout(Duration::from_millis(1), rig.holder.settled());
        assert!(waiting.await.is_err());
    }
    rig.backend.permits.add_permits(1);
    assert!(rig.holder.settled().await.expect("added"));
    assert_eq!(rig.backend.list().await.expect("memory").len(), 2);
}
