//! Who keeps the addresses as the router wants them, however long that takes.

mod change;
mod pace;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ha_core::time::{BootClock, Clock};

use self::change::{Done, Mend, acquire, release};
use self::pace::Pace;
use crate::address::VirtualAddress;
use crate::announce::Announcer;
use crate::backend::{AddressBackend, BackendError};

/// What the addresses are after a change: held or not.
pub(crate) type Settled = Result<bool, BackendError>;
type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Reconciles what is wanted with what is there: one change at a time, the latest wish wins.
///
/// The router goes on advertising while a slow backend works. Events only say that something may
/// be wrong: what is mended follows from what the backend lists, so that an event that is late,
/// lost or told twice does no harm.
#[expect(clippy::struct_excessive_bools, reason = "independent wishes and findings, no states")]
pub(crate) struct Holder {
    backend: Arc<dyn AddressBackend>,
    announcer: Arc<dyn Announcer>,
    addresses: Arc<[VirtualAddress]>,
    wanted: bool,
    held: bool,
    announce_when_held: bool,
    /// No longer wanted, or not removed when that was tried.
    stale: BTreeSet<VirtualAddress>,
    /// New in the set since the last change.
    fresh: BTreeSet<VirtualAddress>,
    /// Something may be missing.
    suspect: bool,
    /// The lease is to begin anew.
    renew: bool,
    pace: Pace,
    pause: Option<Work<std::io::Result<()>>>,
    change: Option<Work<Done>>,
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
            stale: BTreeSet::new(),
            fresh: BTreeSet::new(),
            suspect: false,
            renew: false,
            pace: Pace::default(),
            pause: None,
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
        self.pause = None;
        self.begin();
    }

    /// Announces now if the addresses are there, else as soon as they are.
    pub(crate) fn announce(&mut self) {
        if !self.held || self.change.is_some() {
            self.announce_when_held = self.wanted;
            return;
        }
        let addresses = Arc::clone(&self.addresses);
        self.tell(&addresses);
    }

    /// Whether nothing is under way and what is there is what is wanted.
    pub(crate) const fn is_settled(&self) -> bool {
        self.change.is_none() && self.pause.is_none() && self.held == self.wanted
    }

    /// Waits for the end of the change that is under way; for ever if there is none. Addresses
    /// that were mended are not told of, unless that failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the change goes on at the next call.
    pub(crate) async fn settled(&mut self) -> Settled {
        loop {
            if let Some(change) = &mut self.change {
                let done = change.await;
                self.change = None;
                if let Some(settled) = self.take(done) {
                    return settled;
                }
            } else if let Some(pause) = &mut self.pause {
                if let Err(error) = pause.await {
                    tracing::warn!(%error, "no timer");
                }
                self.pause = None;
                self.mend(true);
            } else {
                return std::future::pending().await;
            }
        }
    }

    fn take(&mut self, done: Done) -> Option<Settled> {
        let settled = match done {
            Done::Acquired => {
                self.held = true;
                Some(Ok(true))
            }
            Done::Released => {
                self.held = false;
                self.stale.clear();
                Some(Ok(false))
            }
            Done::Mended { put_back, missing } => {
                self.suspect |= missing;
                self.mended(&put_back);
                // Whoever waits for the end must hear of each that may be the last.
                (!self.held).then_some(Ok(false))
            }
            Done::Failed { error, left } => {
                // Not tried again at once: the router decides what is wanted now, and the
                // removal was tried several times.
                self.held = false;
                self.stale.extend(left);
                return Some(Err(error));
            }
        };
        if self.held && self.wanted && self.announce_when_held {
            self.announce_when_held = false;
            self.announce();
        }
        self.begin();
        settled
    }

    fn mended(&mut self, put_back: &[VirtualAddress]) {
        if put_back.is_empty() {
            return;
        }
        self.pace.note(BootClock::new().now());
        tracing::info!(addresses = ?put_back, "missing addresses put there");
        if self.wanted && !self.announce_when_held {
            self.tell(put_back);
        }
    }

    fn tell(&self, addresses: &[VirtualAddress]) {
        if let Err(error) = self.announcer.announce(addresses) {
            tracing::warn!(%error, "addresses not announced");
        }
    }

    fn begin(&mut self) {
        if self.change.is_some() {
            return;
        }
        if self.held == self.wanted {
            self.begin_mend();
            return;
        }
        let backend = Arc::clone(&self.backend);
        self.pause = None;
        self.fresh.clear();
        self.suspect = false;
        self.renew = false;
        if self.wanted {
            self.stale.retain(|address| !self.addresses.contains(address));
            self.change = Some(Box::pin(acquire(backend, Arc::clone(&self.addresses))));
        } else {
            self.stale.extend(self.addresses.iter());
            let all = std::mem::take(&mut self.stale).into_iter().collect();
            self.change = Some(Box::pin(release(backend, all)));
        }
    }

    fn begin_mend(&mut self) {
        if !self.held {
            self.fresh.clear();
            self.renew = false;
            // What could not be removed is tried again whenever there is a reason to look.
            if self.suspect && !self.stale.is_empty() {
                self.mend(false);
            }
            self.suspect = false;
            return;
        }
        let now = BootClock::new().now();
        let due = self.pace.due(now).filter(|_| self.suspect);
        if let (Some(due), None) = (due, &self.pause) {
            tracing::warn!(
                addresses = ?self.addresses,
                "another program removes the addresses again and again: they are put back more \
                 slowly; end it, or take them out of its configuration"
            );
            self.pause = Some(Box::pin(ha_core::driver::pause(due.since(now))));
        }
        let at_once = self.suspect && due.is_none() && self.pause.is_none();
        if at_once || self.renew || !self.fresh.is_empty() || !self.stale.is_empty() {
            self.mend(at_once);
        }
    }

    /// Begins a change that mends; `put_back`: also what has gone missing.
    fn mend(&mut self, put_back: bool) {
        if put_back {
            self.suspect = false;
        }
        let mend = Mend {
            wanted: if self.held { Arc::clone(&self.addresses) } else { Arc::default() },
            remove: std::mem::take(&mut self.stale).into_iter().collect(),
            fresh: std::mem::take(&mut self.fresh),
            put_back,
            renew: std::mem::take(&mut self.renew),
        };
        self.change = Some(Box::pin(mend.run(Arc::clone(&self.backend))));
    }
}

/// What the kernel tells of, and what changes while addresses are held.
#[cfg(any(feature = "netlink", test))]
impl Holder {
    /// Takes notice that `address` was removed from the node. While it is wanted it is put back
    /// and announced, a few times a second at most.
    pub(crate) fn address_removed(&mut self, address: VirtualAddress) {
        if self.wanted && self.addresses.contains(&address) {
            self.resync();
        }
    }

    /// Compares what is there with what is wanted, and mends it: after events were lost, or when
    /// an interface came back.
    pub(crate) fn resync(&mut self) {
        self.suspect = true;
        self.look();
    }

    /// Begins the lease of the addresses anew; one that is gone is put back.
    pub(crate) fn renew(&mut self) {
        self.renew = true;
        self.look();
    }

    /// Replaces the set of addresses; those in both sets are not touched.
    pub(crate) fn set_addresses(&mut self, addresses: Vec<VirtualAddress>) {
        let before: BTreeSet<_> = self.addresses.iter().copied().collect();
        let after: BTreeSet<_> = addresses.iter().copied().collect();
        if self.held || self.change.is_some() {
            self.fresh.extend(after.difference(&before));
            self.stale.extend(before.difference(&after));
        }
        self.fresh.retain(|address| after.contains(address));
        self.stale.retain(|address| !after.contains(address));
        self.addresses = addresses.into();
        self.look();
    }

    /// Mends if that is the next thing to do. An acquisition that has failed is not tried again.
    fn look(&mut self) {
        if self.change.is_none() && self.held == self.wanted {
            self.begin_mend();
        }
    }
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
