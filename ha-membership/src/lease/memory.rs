//! Leases in the memory of one process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::id::{FencingToken, NodeName};
use ha_core::time::{BootClock, Clock, Instant};

use super::{Lease, LeaseError, LeaseStore, checked};
use crate::key::Key;

/// A [`LeaseStore`] in memory: real among the tasks of one process, and the model that the stores
/// on a network are tested against.
///
/// Holders and store share one clock, so no margin is needed. Names are remembered for ever, some
/// 200 bytes each, because their tokens must go on growing.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ha_core::time::{Clock, ManualClock};
/// use ha_membership::lease::{LeaseStore, MemoryLeases};
///
/// let clock = Arc::new(ManualClock::default());
/// let leases = MemoryLeases::with_clock(Arc::clone(&clock));
/// let (db, n1, n2) = ("db".parse()?, "n1".parse()?, "n2".parse()?);
/// let ttl = Duration::from_secs(5);
///
/// let first = leases.acquire(&db, &n1, ttl).await?;
/// assert!(leases.acquire(&db, &n2, ttl).await.is_err()); // held by n1
/// clock.advance(ttl); // n1 sleeps
/// let second = leases.acquire(&db, &n2, ttl).await?;
/// assert!(first.token(clock.now()).is_err()); // it finds out before it acts
/// assert!(second.token(clock.now())? > first.granted_token()); // and storage could tell
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryLeases<C = BootClock> {
    clock: C,
    records: Mutex<BTreeMap<Key, Record>>,
}

#[derive(Debug)]
struct Record {
    holder: NodeName,
    token: FencingToken,
    until: Instant,
}

impl MemoryLeases<BootClock> {
    /// A store on the kernel's boot-time clock.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_clock(BootClock::new())
    }
}

impl Default for MemoryLeases<BootClock> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Clock> MemoryLeases<C> {
    /// A store on another clock.
    #[must_use]
    pub const fn with_clock(clock: C) -> Self {
        Self { clock, records: Mutex::new(BTreeMap::new()) }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<Key, Record>> {
        // No call leaves a record half written, so one that panicked has broken nothing.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<C: Clock> LeaseStore for MemoryLeases<C> {
    async fn acquire(
        &self,
        name: &Key,
        holder: &NodeName,
        ttl: Duration,
    ) -> Result<Lease, LeaseError> {
        let ttl = checked(name, ttl)?;
        let mut records = self.records();
        let now = self.clock.now();
        let token = match records.get(name) {
            Some(record) if now < record.until => {
                let (by, remaining) = (record.holder.clone(), record.until.since(now));
                return Err(LeaseError::Held { name: name.clone(), by, remaining });
            }
            Some(record) => record.token.next(),
            None => FencingToken::FIRST,
        };
        let until = now + ttl;
        records.insert(name.clone(), Record { holder: holder.clone(), token, until });
        Ok(Lease::new(name.clone(), holder.clone(), token, until))
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LeaseError> {
        let ttl = checked(lease.name(), ttl)?;
        let mut records = self.records();
        let now = self.clock.now();
        let (name, holder) = (lease.name().clone(), lease.holder().clone());
        match records.get_mut(&name) {
            Some(record) if record.token == lease.granted_token() && now < record.until => {
                record.until = now + ttl;
                Ok(Lease::new(name, holder, record.token, record.until))
            }
            Some(_) | None => Err(LeaseError::Lost { name, holder }),
        }
    }

    async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
        let mut records = self.records();
        if let Some(record) = records.get_mut(lease.name())
            && record.token == lease.granted_token()
        {
            record.until = Instant::ZERO;
        }
        Ok(())
    }

    async fn holder(&self, name: &Key) -> Result<Option<(NodeName, FencingToken)>, LeaseError> {
        let now = self.clock.now();
        let records = self.records();
        let held = records.get(name).filter(|record| now < record.until);
        Ok(held.map(|record| (record.holder.clone(), record.token)))
    }
}
