use std::sync::Mutex;
use std::time::Duration;

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
    calls: Mutex<Vec<String>>,
}

impl Slow {
    fn note(&self, what: &str, address: VirtualAddress) {
        self.calls.lock().expect("not poisoned").push(format!("{what} {}", address.ip()));
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().expect("not poisoned"))
    }

    async fn wait(&self) {
        self.permits.acquire().await.expect("never closed").forget();
    }
}

#[async_trait]
impl AddressBackend for Slow {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.wait().await;
        self.note("add", address);
        self.inner.add(address).await
    }
    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        self.wait().await;
        self.note("remove", address);
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
    let backend =
        Arc::new(Slow { permits: Semaphore::new(permits), inner, calls: Mutex::default() });
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

fn address(text: &str) -> VirtualAddress {
    text.parse().expect("an address")
}

/// A holder that holds its two addresses; nothing was announced.
async fn holding() -> Rig {
    let mut rig = rig(100_000);
    rig.holder.acquire();
    assert!(rig.holder.settled().await.expect("added"));
    rig.backend.calls();
    rig
}

/// Drives a holder until nothing is under way.
async fn drive(holder: &mut Holder) {
    while !holder.is_settled() {
        let wait = tokio::time::timeout(Duration::from_millis(1), holder.settled());
        if let Ok(settled) = wait.await {
            settled.expect("no failure");
        }
    }
}

#[tokio::test]
async fn a_deleted_address_is_put_back_and_announced() {
    let mut rig = holding().await;
    let deleted = address("10.0.0.2/24");
    rig.backend.inner.remove(deleted).await.expect("memory");
    rig.holder.address_removed(deleted);
    drive(&mut rig.holder).await;
    assert_eq!(rig.backend.list().await.expect("memory").len(), 2);
    assert_eq!(rig.announcer.announced(), [deleted]);
    assert_eq!(rig.backend.calls(), ["add 10.0.0.2"]);
}

#[tokio::test]
async fn an_event_that_is_late_or_about_something_else_changes_nothing() {
    let mut rig = holding().await;
    rig.holder.address_removed(address("10.0.0.1/24"));
    rig.holder.address_removed(address("10.0.0.77/24"));
    drive(&mut rig.holder).await;
    rig.holder.release();
    drive(&mut rig.holder).await;
    rig.backend.calls();
    rig.holder.address_removed(address("10.0.0.1/24"));
    assert!(rig.holder.is_settled());
    assert_eq!(rig.backend.calls(), <[&str; 0]>::default());
    assert_eq!(rig.announcer.announced(), []);
}

#[tokio::test]
async fn a_fight_over_an_address_is_bounded_and_ends_with_a_release() {
    let mut rig = holding().await;
    let deleted = address("10.0.0.1/24");
    while rig.holder.pause.is_none() {
        drive(&mut rig.holder).await;
        rig.backend.inner.remove(deleted).await.expect("memory");
        rig.holder.address_removed(deleted);
    }
    assert!(rig.backend.calls().len() >= 3, "the first are put back at once");
    rig.holder.address_removed(deleted);
    assert!(rig.holder.change.is_none(), "more events make it no faster");
    drive(&mut rig.holder).await;
    assert_eq!(rig.backend.list().await.expect("memory").len(), 2, "put back in the end");

    while rig.holder.pause.is_none() {
        drive(&mut rig.holder).await;
        rig.backend.inner.remove(deleted).await.expect("memory");
        rig.holder.address_removed(deleted);
    }
    rig.holder.release();
    assert!(!rig.holder.settled().await.expect("removed"), "the pause does not delay it");
    assert!(rig.holder.is_settled());
    assert!(rig.backend.list().await.expect("memory").is_empty());
}

#[tokio::test]
async fn another_set_of_addresses_touches_only_the_difference() {
    let mut rig = holding().await;
    rig.holder.set_addresses(vec![address("10.0.0.2/24"), address("10.0.0.3/24")]);
    drive(&mut rig.holder).await;
    assert_eq!(rig.backend.calls(), ["remove 10.0.0.1", "add 10.0.0.3"]);
    assert_eq!(rig.announcer.announced(), [address("10.0.0.3/24")]);
    rig.holder.release();
    drive(&mut rig.holder).await;
    assert!(rig.backend.list().await.expect("memory").is_empty());
}

#[tokio::test]
async fn another_set_in_the_middle_of_a_change_leaves_nothing_behind() {
    for release in [false, true] {
        let mut rig = rig(0);
        rig.holder.acquire();
        rig.holder.set_addresses(vec![address("10.0.0.2/24"), address("10.0.0.3/24")]);
        if release {
            rig.holder.release();
        }
        rig.backend.permits.add_permits(100);
        drive(&mut rig.holder).await;
        let there = rig.backend.list().await.expect("memory");
        let expected = [address("10.0.0.2/24"), address("10.0.0.3/24")];
        assert_eq!(there, if release { vec![] } else { expected.to_vec() });
    }
}

#[tokio::test]
async fn a_resync_mends_what_no_event_told_of() {
    let mut rig = holding().await;
    for gone in ["10.0.0.1/24", "10.0.0.2/24"] {
        rig.backend.inner.remove(address(gone)).await.expect("memory");
    }
    rig.holder.resync();
    drive(&mut rig.holder).await;
    assert_eq!(rig.backend.list().await.expect("memory").len(), 2);
    assert_eq!(rig.announcer.announced().len(), 2);
}

#[tokio::test]
async fn a_renewal_adds_again_what_is_there_and_puts_back_what_is_gone() {
    let mut rig = holding().await;
    rig.holder.renew();
    drive(&mut rig.holder).await;
    assert_eq!(rig.backend.calls(), ["add 10.0.0.1", "add 10.0.0.2"]);
    assert_eq!(rig.announcer.announced(), []);
    rig.backend.inner.remove(address("10.0.0.1/24")).await.expect("memory");
    rig.holder.renew();
    drive(&mut rig.holder).await;
    assert_eq!(rig.backend.list().await.expect("memory").len(), 2);
    assert_eq!(rig.announcer.announced(), [address("10.0.0.1/24")]);
}

#[tokio::test]
async fn an_acquisition_that_failed_is_not_tried_again_by_an_event() {
    let mut rig = rig(100);
    rig.backend.inner.fail(true);
    rig.holder.acquire();
    assert!(rig.holder.settled().await.is_err());
    rig.holder.address_removed(address("10.0.0.1/24"));
    assert!(rig.holder.change.is_none());
}

#[tokio::test]
async fn what_could_not_be_removed_is_removed_when_there_is_a_reason_to_look() {
    let mut rig = holding().await;
    rig.backend.inner.fail(true);
    rig.holder.release();
    assert!(rig.holder.settled().await.is_err());
    rig.backend.inner.fail(false);
    assert_eq!(rig.backend.list().await.expect("memory").len(), 2);
    rig.holder.resync();
    assert!(!rig.holder.settled().await.expect("removed"));
    assert!(rig.backend.list().await.expect("memory").is_empty());
}

#[tokio::test]
async fn a_backend_that_cannot_be_asked_is_no_reason_to_give_up_what_is_held() {
    let mut rig = holding().await;
    rig.backend.inner.remove(address("10.0.0.1/24")).await.expect("memory");
    rig.backend.inner.fail(true);
    rig.holder.resync();
    drive(&mut rig.holder).await;
    rig.backend.inner.fail(false);
    rig.holder.resync();
    drive(&mut rig.holder).await;
    assert_eq!(rig.backend.calls(), ["add 10.0.0.1"]);
    assert_eq!(rig.backend.list().await.expect("memory").len(), 2);
}

#[tokio::test]
async fn an_address_that_cannot_be_put_back_takes_the_others_with_it() {
    let mut rig = holding().await;
    // The set is changed while nothing works: all or nothing.
    rig.backend.inner.fail(true);
    rig.holder.set_addresses(vec![address("10.0.0.1/24"), address("10.0.0.3/24")]);
    assert!(rig.holder.settled().await.is_err());
    rig.backend.inner.fail(false);
    rig.holder.release();
    assert!(rig.holder.is_settled());
    rig.holder.resync();
    assert!(!rig.holder.settled().await.expect("removed"));
    assert!(rig.backend.list().await.expect("memory").is_empty(), "nothing is left behind");
}
