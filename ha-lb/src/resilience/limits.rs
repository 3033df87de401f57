//! Upper limits on what may be in use at once: connections, waiting requests, requests, retries.
//!
//! # Source
//!
//! Envoy's circuit breaking (`circuit_breakers.thresholds`) with its defaults. It is no circuit
//! breaker in Nygard's sense: it knows nothing of failures, and bounds what a server that has
//! become slow can tie up.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::atomics::{AtomicU32, AtomicU64, Ordering};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Connections to the servers (`max_connections`, 1024).
    Connections,
    /// Requests that wait for a connection (`max_pending_requests`, 1024).
    PendingRequests,
    /// Requests that are under way (`max_requests`, 1024).
    Requests,
    /// Retries that are under way (`max_retries`, 3).
    Retries,
}

impl Resource {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Connections, Self::PendingRequests, Self::Requests, Self::Retries];
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connections => "connections",
            Self::PendingRequests => "pending requests",
            Self::Requests => "requests",
            Self::Retries => "retries",
        })
    }
}

/// How many of each resource may be in use, and are; share it by reference or `Arc`.
///
/// ```
/// use ha_lb::resilience::limits::{Limits, Resource};
///
/// let limits = Limits::default().with(Resource::Requests, 1);
/// let request = limits.try_acquire(Resource::Requests)?;
/// let error = limits.try_acquire(Resource::Requests).unwrap_err();
/// assert_eq!(error.to_string(), "cannot have more requests: the limit of 1 is reached");
/// drop(request);
/// assert!(limits.try_acquire(Resource::Requests).is_ok());
/// # Ok::<(), ha_lb::resilience::limits::Exceeded>(())
/// ```
#[derive(Debug)]
pub struct Limits {
    connections: Gauge,
    pending: Gauge,
    requests: Gauge,
    retries: Gauge,
}

#[derive(Debug)]
struct Gauge {
    limit: u32,
    in_use: AtomicU32,
    refused: AtomicU64,
}

impl Gauge {
    fn new(limit: u32) -> Self {
        Self { limit, in_use: AtomicU32::new(0), refused: AtomicU64::new(0) }
    }

    fn take(&self) -> bool {
        let taken = self.in_use.fetch_update(Ordering::Acquire, Ordering::Relaxed, |in_use| {
            (in_use < self.limit).then(|| in_use + 1)
        });
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken.is_ok()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Gauge::new(1024),
            pending: Gauge::new(1024),
            requests: Gauge::new(1024),
            retries: Gauge::new(3),
        }
    }
}

impl Limits {
    /// Sets how many of `resource` may be in use; any number, 0 for none.
    #[must_use]
    pub fn with(mut self, resource: Resource, limit: u32) -> Self {
        let gauge = match resource {
            Resource::Connections => &mut self.connections,
            Resource::PendingRequests => &mut self.pending,
            Resource::Requests => &mut self.requests,
            Resource::Retries => &mut self.retries,
        };
        gauge.limit = limit;
        self
    }

    /// Takes one of `resource` for as long as the guard is kept.
    ///
    /// # Errors
    ///
    /// [`Exceeded`] when as many as may be are in use.
    pub fn try_acquire(&self, resource: Resource) -> Result<Held<&Self>, Exceeded> {
        self.take(resource).map(|()| Held { limits: self, resource })
    }

    /// As [`try_acquire`](Self::try_acquire), with a guard that has no lifetime.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_owned(
        self: &Arc<Self>,
        resource: Resource,
    ) -> Result<Held<Arc<Self>>, Exceeded> {
        self.take(resource).map(|()| Held { limits: Arc::clone(self), resource })
    }

    /// How many of `resource` may be in use.
    #[must_use]
    pub const fn limit(&self, resource: Resource) -> u32 {
        self.gauge(resource).limit
    }

    /// How many of `resource` are in use.
    #[must_use]
    pub fn in_use(&self, resource: Resource) -> u32 {
        self.gauge(resource).in_use.load(Ordering::Relaxed)
    }

    /// How often one of `resource` was refused (Envoy's `overflow` counters).
    #[must_use]
    pub fn refused(&self, resource: Resource) -> u64 {
        self.gauge(resource).refused.load(Ordering::Relaxed)
    }

    const fn gauge(&self, resource: Resource) -> &Gauge {
        match resource {
            Resource::Connections => &self.connections,
            Resource::PendingRequests => &self.pending,
            Resource::Requests => &self.requests,
            Resource::Retries => &self.retries,
        }
    }

    fn take(&self, resource: Resource) -> Result<(), Exceeded> {
        let gauge = self.gauge(resource);
        if gauge.take() { Ok(()) } else { Err(Exceeded { resource, limit: gauge.limit }) }
    }
}

impl fmt::Display for Limits {
    /// Writes what is in use of what, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, resource) in Resource::ALL.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let (in_use, limit) = (self.in_use(resource), self.limit(resource));
            write!(f, "{separator}{in_use} of {limit} {resource}")?;
        }
        Ok(())
    }
}

/// One of a resource, in use while this is kept.
#[derive(Debug)]
#[must_use = "it is in use only while this is kept"]
pub struct Held<L: Deref<Target = Limits>> {
    limits: L,
    resource: Resource,
}

impl<L: Deref<Target = Limits>> Drop for Held<L> {
    fn drop(&mut self) {
        self.limits.gauge(self.resource).in_use.fetch_sub(1, Ordering::Release);
    }
}

/// As many of a resource as may be are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot have more {resource}: the limit of {limit} is reached")]
#[non_exhaustive]
pub struct Exceeded {
    /// The resource.
    pub resource: Resource,
    /// How many may be in use.
    pub limit: u32,
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_more_are_in_use_than_may_be(
            limit in 0u32..4, steps in prop::collection::vec((0usize..4, any::<bool>()), 0..200),
        ) {
            let limits = Resource::ALL.into_iter().fold(Limits::default(), |limits, resource| {
                limits.with(resource, limit)
            });
            let mut held: [Vec<_>; 4] = Default::default();
            for (which, take) in steps {
                let resource = Resource::ALL[which];
                if take {
                    let full = held[which].len() >= usize::try_from(limit).expect("small");
                    let taken = limits.try_acquire(resource);
                    prop_assert_eq!(taken.is_err(), full);
                    held[which].extend(taken);
                } else {
                    held[which].pop();
                }
                prop_assert_eq!(Ok(limits.in_use(resource)), u32::try_from(held[which].len()));
            }
        }
    }

    #[test]
    fn the_defaults_are_envoys_and_refusals_are_counted() {
        let limits = Arc::new(Limits::default());
        assert_eq!(Resource::ALL.map(|resource| limits.limit(resource)), [1024, 1024, 1024, 3]);
        let held: Vec<_> =
            (0..5).filter_map(|_| limits.try_acquire_owned(Resource::Retries).ok()).collect();
        assert_eq!((held.len(), limits.refused(Resource::Retries)), (3, 2));
        let line = "0 of 1024 connections, 0 of 1024 pending requests, 0 of 1024 requests, \
                    3 of 3 retries";
        assert_eq!(limits.to_string(), line);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_the_last_one_is_taken_once() {
        loom::model(|| {
            let limits = loom::sync::Arc::new(Limits::default().with(Resource::Requests, 1));
            let other = loom::sync::Arc::clone(&limits);
            let take = |limits: &Limits| {
                let held = limits.try_acquire(Resource::Requests);
                assert!(limits.in_use(Resource::Requests) <= 1);
                drop(held);
            };
            let thread = loom::thread::spawn(move || take(&other));
            take(&limits);
            thread.join().unwrap();
            assert_eq!(limits.in_use(Resource::Requests), 0);
        });
    }
}
