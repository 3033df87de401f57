//! Where reported answers go: the tables of the groups that are in use.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use futures_util::task::AtomicWaker;
use ha_core::id::EndpointName;

use super::Table;
use crate::snapshot::Endpoints;
use crate::state::EndpointState;

/// The most probes that picks can ask for before somebody sends them.
const MOST_WANTED: u32 = 1 << 16;

/// The tables of one pool, and what its picks ask for.
#[derive(Debug, Default)]
pub(super) struct Reports {
    tables: ArcSwap<Vec<Weak<Table>>>,
    wanted: AtomicU32,
    /// Whether the driver has nothing to do and waits to be woken.
    idle: AtomicBool,
    waker: AtomicWaker,
}

impl Reports {
    /// The tables that are in use: one for each group, and those of lists that are on their way
    /// out.
    pub(super) fn tables(&self) -> impl Iterator<Item = Arc<Table>> {
        let tables = self.tables.load_full();
        (0..tables.len()).filter_map(move |at| tables.get(at)?.upgrade())
    }

    /// Takes a table in; it begins with the answers that the tables before have of its endpoints.
    pub(super) fn keep(&self, table: &Arc<Table>) {
        for before in self.tables().filter(|before| !Arc::ptr_eq(before, table)) {
            let (Some(old), Some(new)) = (&before.names, &table.names) else { continue };
            table.probes.take_over(&before.probes, |index| new.find(old.name(index)?));
        }
        self.tables.rcu(|tables| {
            let others = tables.iter().filter(|known| {
                known.strong_count() > 0 && !std::ptr::eq(known.as_ptr(), Arc::as_ptr(table))
            });
            others.cloned().chain([Arc::downgrade(table)]).collect::<Vec<_>>()
        });
    }

    /// Asks for probes; wakes whoever sends them, if it has nothing to do.
    pub(super) fn want(&self, probes: u32) {
        if probes == 0 {
            return;
        }
        let before = self.wanted.fetch_add(probes, Ordering::SeqCst);
        if before > MOST_WANTED {
            // Nobody sends them: do not count for ever.
            self.wanted.store(MOST_WANTED, Ordering::Relaxed);
        }
        if self.idle.load(Ordering::SeqCst) && self.idle.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    pub(super) fn take_wanted(&self) -> u32 {
        self.wanted.swap(0, Ordering::SeqCst)
    }

    /// Waits until probes are asked for.
    #[cfg(feature = "tokio")]
    pub(super) async fn wanted(&self) -> u32 {
        std::future::poll_fn(|context| {
            self.waker.register(context.waker());
            self.idle.store(true, Ordering::SeqCst);
            match self.take_wanted() {
                0 => std::task::Poll::Pending,
                wanted => {
                    self.idle.store(false, Ordering::SeqCst);
                    std::task::Poll::Ready(wanted)
                }
            }
        })
        .await
    }
}

/// The endpoints of a group, found by name.
#[derive(Debug)]
pub(super) struct Names {
    states: Box<[Arc<EndpointState>]>,
    /// Indices, ordered by name.
    by_name: Box<[u32]>,
}

impl Names {
    pub(super) fn of(endpoints: &Endpoints) -> Self {
        let states: Box<[_]> =
            endpoints.indices().filter_map(|index| endpoints.state(index).cloned()).collect();
        let mut by_name: Vec<u32> = (0..u32::try_from(states.len()).unwrap_or(u32::MAX)).collect();
        by_name.sort_by_key(|index| states.get(*index as usize).map(|state| state.name()));
        Self { states, by_name: by_name.into() }
    }

    pub(super) fn name(&self, index: u32) -> Option<&EndpointName> {
        self.states.get(index as usize).map(|state| state.name())
    }

    pub(super) fn find(&self, name: &EndpointName) -> Option<u32> {
        let found = self.by_name.binary_search_by_key(&Some(name), |index| self.name(*index));
        self.by_name.get(found.ok()?).copied()
    }
}
