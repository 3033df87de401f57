//! All virtual routers of a service, and which of them have something to do.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::station::Station;
use crate::holder::Settled;
use crate::vrrp::auth::Authenticator;
use crate::vrrp::host::RouterId;

/// The virtual routers of a service, by their ids.
///
/// Whatever is reached for a change may have something to do after it, and so has one whose change
/// goes on: only these are polled, so that a thousand idle ones cost nothing when one is woken.
#[derive(Debug, Default)]
pub(super) struct Stations {
    all: BTreeMap<RouterId, Entry>,
    touched: BTreeSet<RouterId>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Entry {
    station: Station,
    waker: Waker,
}

/// Who has been woken, and the task that is to be told.
#[derive(Debug, Default)]
struct Bell(Mutex<Rung>);

#[derive(Debug, Default)]
struct Rung {
    ids: BTreeSet<RouterId>,
    task: Option<Waker>,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rings the bell for one router.
#[derive(Debug)]
struct Pull {
    id: RouterId,
    bell: Arc<Bell>,
}

impl Wake for Pull {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let task = {
            let mut rung = self.bell.lock();
            rung.ids.insert(self.id);
            rung.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Stations {
    pub(super) fn get(&self, id: RouterId) -> Option<&Station> {
        self.all.get(&id).map(|entry| &entry.station)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (RouterId, &Station)> {
        self.all.iter().map(|(id, entry)| (*id, &entry.station))
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Station> {
        self.all.values().map(|entry| &entry.station)
    }

    pub(super) fn get_mut(&mut self, id: RouterId) -> Option<&mut Station> {
        let entry = self.all.get_mut(&id)?;
        self.touched.insert(id);
        Some(&mut entry.station)
    }

    /// What signs and verifies for a router; a change of it leaves nothing to do.
    pub(super) fn authenticator(&mut self, id: RouterId) -> Option<&mut Authenticator> {
        self.all.get_mut(&id)?.station.authenticator.as_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (RouterId, &mut Station)> {
        self.touched.extend(self.all.keys());
        self.all.iter_mut().map(|(id, entry)| (*id, &mut entry.station))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Station> {
        self.iter_mut().map(|(_, station)| station)
    }

    pub(super) fn insert(&mut self, id: RouterId, station: Station) {
        let waker = Arc::new(Pull { id, bell: Arc::clone(&self.bell) }).into();
        self.all.insert(id, Entry { station, waker });
        self.touched.insert(id);
    }

    /// Takes those out that `chosen` chooses.
    pub(super) fn extract(
        &mut self,
        mut chosen: impl FnMut(RouterId, &Station) -> bool,
    ) -> Vec<(RouterId, Station)> {
        let gone = self.all.extract_if(.., |id, entry| chosen(*id, &entry.station));
        gone.map(|(id, entry)| (id, entry.station)).collect()
    }

    /// Waits until a station has done what it was about; tells of all that have, and how it went.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is under way goes on at the next call.
    pub(super) async fn settled(&mut self) -> Vec<(RouterId, Settled)> {
        poll_fn(|context| self.poll_settled(context)).await
    }

    fn poll_settled(&mut self, context: &Context<'_>) -> Poll<Vec<(RouterId, Settled)>> {
        {
            // Known before the stations are polled, so that no ring is lost.
            let mut rung = self.bell.lock();
            match &mut rung.task {
                Some(task) => task.clone_from(context.waker()),
                task @ None => *task = Some(context.waker().clone()),
            }
            self.touched.append(&mut rung.ids);
        }
        let mut done = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            let Some(Entry { station, waker }) = self.all.get_mut(&id) else {
                continue;
            };
            if station.holder.is_settled() {
                continue;
            }
            let mut context = Context::from_waker(waker);
            if let Poll::Ready(settled) = pin!(station.holder.settled()).poll(&mut context) {
                done.push((id, settled));
                // It may go on with something else.
                self.touched.insert(id);
            }
        }
        if done.is_empty() { Poll::Pending } else { Poll::Ready(done) }
    }
}
