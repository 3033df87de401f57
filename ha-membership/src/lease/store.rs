//! Leases in a store that the cluster agrees on.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::id::{FencingToken, NodeName};
use ha_core::time::{BootClock, Clock, Instant};

use super::{Lease, LeaseError, LeaseStore, checked};
use crate::key::{Key, Revision};
use crate::store::{ClusterStore, Expected, StoreError, Write};

/// Below which keys of the store the records are.
const PREFIX: &str = "leases/";
/// How often a record is read anew when others change it at the same moment.
const ATTEMPTS: usize = 4;

/// How much longer than a lease's time to live others wait: a twentieth of it, and 50 ms.
///
/// The twentieth is for clocks that run at different rates; real ones differ by a thousandth of
/// that. The 50 ms are for what a holder does between its look at the clock and the effect.
const fn margin(ttl: Duration) -> Duration {
    Duration::from_millis(50).saturating_add(Duration::from_nanos(nanos(ttl) / 20))
}

#[expect(clippy::cast_possible_truncation, reason = "a time to live is at most a day")]
const fn nanos(ttl: Duration) -> u64 {
    ttl.as_nanos() as u64
}

/// A [`LeaseStore`] on any [`ClusterStore`], as Kubernetes keeps its leases.
///
/// The lease `NAME` is a record under `leases/NAME`. No clock is compared with another: whoever
/// wants a lease that is held watches its record, and takes it once *its own* clock says that the
/// record has not changed for its time to live, a twentieth and 50 ms. The holder counts from
/// before it sent its request. So at most one holds it as long as the nodes' clocks differ in
/// their *rate* by less than a twentieth; their calendars do not matter.
///
/// A node that looks at a lease for the first time must watch it for all that time, however old
/// the record is. Records are never deleted, because their tokens must go on growing.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ha_core::time::ManualClock;
/// use ha_membership::lease::{LeaseStore, StoreLeases};
/// use ha_membership::store::MemoryStore;
///
/// let store = Arc::new(MemoryStore::new());
/// let clock = Arc::new(ManualClock::default());
/// let at_n1 = StoreLeases::with_clock(Arc::clone(&store), Arc::clone(&clock));
/// let at_n2 = StoreLeases::with_clock(store, Arc::clone(&clock));
/// let (db, n1, n2) = ("db".parse()?, "n1".parse()?, "n2".parse()?);
/// let ttl = Duration::from_secs(5);
///
/// let first = at_n1.acquire(&db, &n1, ttl).await?;
/// assert!(at_n2.acquire(&db, &n2, ttl).await.is_err()); // held, and watched from now on
/// clock.advance(ttl + at_n2.margin(ttl)); // n1 is gone
/// let second = at_n2.acquire(&db, &n2, ttl).await?;
/// assert!(second.granted_token() > first.granted_token());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct StoreLeases<S, C = BootClock> {
    store: S,
    clock: C,
    seen: Mutex<BTreeMap<Key, Seen>>,
}

/// Which revision of a record this node has seen last, and when it saw it first.
#[derive(Debug, Clone, Copy)]
struct Seen {
    revision: Revision,
    since: Instant,
    /// The grant that this node wrote with it.
    granted: Option<FencingToken>,
}

impl<S: ClusterStore> StoreLeases<S> {
    /// Leases in `store`, on the kernel's boot-time clock.
    #[must_use]
    pub const fn new(store: S) -> Self {
        Self::with_clock(store, BootClock::new())
    }
}

impl<S: ClusterStore, C: Clock> StoreLeases<S, C> {
    /// Leases in `store`, on another clock.
    #[must_use]
    pub const fn with_clock(store: S, clock: C) -> Self {
        Self { store, clock, seen: Mutex::new(BTreeMap::new()) }
    }

    /// How much longer than a time to live others wait: a twentieth of it, and 50 ms.
    #[must_use]
    pub const fn margin(&self, ttl: Duration) -> Duration {
        margin(ttl)
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<Key, Seen>> {
        // No call leaves the map half changed, so one that panicked has broken nothing.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a revision is there, and says since when this node knows.
    fn observe(&self, name: &Key, revision: Revision) -> Instant {
        let now = self.clock.now();
        let mut seen = self.seen();
        let new = Seen { revision, since: now, granted: None };
        let known = seen.entry(name.clone()).or_insert(new);
        if known.revision != revision {
            *known = new;
        }
        known.since
    }

    /// The record of a lease, and its revision.
    async fn read(&self, name: &Key) -> Result<Option<(Record, Revision)>, LeaseError> {
        let got = self.store.get(&key(name)?).await;
        let Some(entry) = got.map_err(|error| unavailable(name, error))? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&entry.value).ok();
        match text.and_then(|text| text.parse().ok()) {
            Some(record) => Ok(Some((record, entry.revision))),
            None => Err(LeaseError::Unavailable {
                name: name.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, "its record is no lease"),
            }),
        }
    }

    /// Writes a record if the condition holds; whether it did.
    async fn write(
        &self,
        name: &Key,
        expected: Expected,
        record: &Record,
    ) -> Result<bool, LeaseError> {
        let value = Some(record.to_string().into_bytes().into());
        match self.store.write(Write { key: key(name)?, expected, value }).await {
            Ok(revision) => {
                let (since, granted) = (self.clock.now(), record.held.then_some(record.token));
                self.seen().insert(name.clone(), Seen { revision, since, granted });
                Ok(true)
            }
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(unavailable(name, error)),
        }
    }

    /// For how much longer others hold a lease, as far as this node can tell.
    fn remaining(&self, name: &Key, record: &Record, revision: Revision) -> Duration {
        let free_at = self.observe(name, revision) + record.ttl + margin(record.ttl);
        free_at.since(self.clock.now())
    }
}

#[async_trait]
impl<S: ClusterStore, C: Clock> LeaseStore for StoreLeases<S, C> {
    async fn acquire(
        &self,
        name: &Key,
        holder: &NodeName,
        ttl: Duration,
    ) -> Result<Lease, LeaseError> {
        let ttl = checked(name, ttl)?;
        let mut by = holder.clone();
        for _ in 0..ATTEMPTS {
            let (expected, token) = match self.read(name).await? {
                None => (Expected::Absent, FencingToken::FIRST),
                Some((record, revision)) => {
                    let remaining = self.remaining(name, &record, revision);
                    if record.held && !remaining.is_zero() {
                        let by = record.holder;
                        return Err(LeaseError::Held { name: name.clone(), by, remaining });
                    }
                    by = record.holder;
                    (Expected::Revision(revision), record.token.next())
                }
            };
            let sent = self.clock.now();
            let record = Record { held: true, holder: holder.clone(), token, ttl };
            if self.write(name, expected, &record).await? {
                return Ok(Lease::new(name.clone(), holder.clone(), token, sent + ttl));
            }
            // Somebody else was quicker.
        }
        Err(LeaseError::Held { name: name.clone(), by, remaining: ttl })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LeaseError> {
        let (name, holder, token) = (lease.name(), lease.holder(), lease.granted_token());
        let ttl = checked(name, ttl)?;
        // What this node wrote last is most probably still there: no need to read it.
        let seen = self.seen().get(name).copied();
        let seen = seen.filter(|seen| seen.granted == Some(token));
        let mut known = seen.map(|seen| seen.revision);
        for _ in 0..ATTEMPTS {
            let revision = if let Some(revision) = known.take() {
                revision
            } else {
                match self.read(name).await? {
                    Some((record, revision)) if record.is_of(lease) => revision,
                    Some(_) | None => break,
                }
            };
            let sent = self.clock.now();
            let left = lease.remaining(sent);
            if left.is_zero() {
                break;
            }
            // Should this node never learn that it was prolonged, it counts on the old end.
            let record = Record { held: true, holder: holder.clone(), token, ttl: ttl.max(left) };
            if self.write(name, Expected::Revision(revision), &record).await? {
                return Ok(Lease::new(name.clone(), holder.clone(), token, sent + ttl));
            }
        }
        Err(LeaseError::Lost { name: name.clone(), holder: holder.clone() })
    }

    async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
        let name = lease.name();
        for _ in 0..ATTEMPTS {
            let Some((record, revision)) = self.read(name).await? else {
                return Ok(());
            };
            if !record.is_of(&lease) {
                return Ok(());
            }
            let record = Record { held: false, ..record };
            if self.write(name, Expected::Revision(revision), &record).await? {
                return Ok(());
            }
        }
        let source = io::Error::new(io::ErrorKind::WouldBlock, "its record is changed by others");
        Err(LeaseError::Unavailable { name: name.clone(), source })
    }

    async fn holder(&self, name: &Key) -> Result<Option<(NodeName, FencingToken)>, LeaseError> {
        let Some((record, revision)) = self.read(name).await? else {
            return Ok(None);
        };
        let held = record.held && !self.remaining(name, &record, revision).is_zero();
        Ok(held.then_some((record.holder, record.token)))
    }
}

fn key(name: &Key) -> Result<Key, LeaseError> {
    Key::new(&format!("{PREFIX}{name}"))
        .map_err(|source| LeaseError::Name { name: name.clone(), source })
}

fn unavailable(name: &Key, error: StoreError) -> LeaseError {
    let source = match error {
        StoreError::Unavailable { source } => source,
        error @ (StoreError::Compacted { .. }
        | StoreError::Conflict { .. }
        | StoreError::Full { .. }
        | StoreError::TooLarge { .. }) => io::Error::other(error),
    };
    LeaseError::Unavailable { name: name.clone(), source }
}

/// What the store holds of a lease, as text: `1 held TOKEN NANOSECONDS HOLDER`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    held: bool,
    holder: NodeName,
    token: FencingToken,
    ttl: Duration,
}

impl Record {
    /// Whether it is that of this grant, and was not given back.
    fn is_of(&self, lease: &Lease) -> bool {
        self.held && self.token == lease.granted_token() && self.holder == *lease.holder()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.held { "held" } else { "free" };
        write!(f, "1 {state} {} {} {}", self.token, nanos(self.ttl), self.holder)
    }
}

/// The text is no record of this version.
#[derive(Debug, PartialEq, Eq)]
struct NoRecord;

impl FromStr for Record {
    type Err = NoRecord;

    fn from_str(text: &str) -> Result<Self, NoRecord> {
        let words: Vec<&str> = text.split(' ').collect();
        let ["1", state, token, ttl, holder] = words[..] else {
            return Err(NoRecord);
        };
        let held = match state {
            "held" => true,
            "free" => false,
            _ => return Err(NoRecord),
        };
        let token = token.parse().map_err(|_| NoRecord)?;
        let ttl = Duration::from_nanos(ttl.parse().map_err(|_| NoRecord)?);
        let holder = holder.parse().map_err(|_| NoRecord)?;
        Ok(Self { held, holder, token, ttl })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_come_back(held: bool, token: u64, ttl: u64, holder in "[a-z0-9][a-z0-9.:-]{0,20}") {
            let (token, ttl) = (FencingToken::new(token), Duration::from_nanos(ttl));
            let record = Record { held, holder: holder.parse().unwrap(), token, ttl };
            prop_assert_eq!(record.to_string().parse(), Ok(record));
        }

        #[test]
        fn any_text_is_a_record_or_an_error(text: String) {
            if let Ok(record) = text.parse::<Record>() {
                prop_assert_eq!(record.to_string().parse(), Ok(record));
            }
        }
    }
}
