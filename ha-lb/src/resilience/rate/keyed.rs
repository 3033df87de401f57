//! A rate limit for each key, such as a client's address, in memory of a fixed size.
//!
//! ```text
//!  key ─hash─▶ set ─▶ ┌ whose │ whose │ … │ whose ┐  8 buckets: two cache lines
//!                     └  tat  │  tat  │ … │  tat  ┘
//!                        └─ a new key takes over the bucket that is closest to full
//! ```
//!
//! A bucket that has filled up again is as good as new, so a key that has not come for a while
//! costs nothing: its bucket is taken over, and it starts with a full one when it comes back. Only
//! where more than eight keys of a set are busy does a new one take a bucket that is not full: it
//! inherits what is left. All keys of a set together therefore never get more than eight buckets
//! give, however many addresses somebody makes up. The governor crate and Envoy's descriptors
//! grow with the number of keys.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use ha_core::config::ConfigError;
use ha_core::time::Instant;

use super::super::atomics::{AtomicU64, Ordering, fence};
use super::{Limited, Quota};

/// Buckets in a set.
#[cfg(not(all(test, loom)))]
const WAYS: usize = 8;
#[cfg(all(test, loom))]
const WAYS: usize = 2;

/// The most buckets: 2 GiB of them.
const MOST: usize = 1 << 27;

/// A rate limit with a bucket for each key.
///
/// Keys are hashed with secret random keys, so nobody can choose addresses that meet in one set.
/// Nothing here takes a lock. Threads that bring the same new key in at the same moment may find
/// different buckets for it; the key then gets as many permits more as there are such threads.
///
/// ```
/// use std::net::IpAddr;
/// use std::time::Duration;
/// use ha_core::time::Instant;
/// use ha_lb::resilience::rate::Quota;
/// use ha_lb::resilience::rate::keyed::{KeyedRateLimiter, network_of};
///
/// let quota = Quota::new(1, Duration::from_secs(1))?;
/// let limiter = KeyedRateLimiter::new(quota, 10_000)?; // 160 kB
/// let now = Instant::from_secs(10);
/// let client: IpAddr = "2001:db8:1:2::1".parse()?;
/// let neighbour: IpAddr = "2001:db8:1:2::2".parse()?;
/// assert!(limiter.try_acquire(&network_of(client), now).is_ok());
/// assert!(limiter.try_acquire(&network_of(neighbour), now).is_err()); // of the same /64
/// assert!(limiter.try_acquire("another", now).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KeyedRateLimiter {
    quota: Quota,
    hasher: RandomState,
    sets: Box<[Set]>,
    displaced: AtomicU64,
}

/// The buckets among which a key finds its own.
#[derive(Debug)]
#[repr(align(64))]
struct Set {
    /// The hash of the key that a bucket belongs to; 0: nobody's yet.
    owners: [AtomicU64; WAYS],
    /// The theoretical arrival times.
    arrivals: [AtomicU64; WAYS],
}

impl Set {
    fn new() -> Self {
        let zeros = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { owners: zeros(), arrivals: zeros() }
    }

    /// The first bucket that belongs to `hash`.
    fn find(&self, hash: u64) -> Option<&AtomicU64> {
        let mut buckets = self.owners.iter().zip(&self.arrivals);
        buckets
            .find_map(|(owner, arrival)| (owner.load(Ordering::Acquire) == hash).then_some(arrival))
    }

    /// Makes the bucket that is closest to full that of `hash`; `None` if another was faster.
    fn take_over(&self, hash: u64) -> Option<&AtomicU64> {
        let buckets = self.owners.iter().zip(&self.arrivals);
        let seen = buckets.map(|(owner, arrival)| {
            (arrival.load(Ordering::Relaxed), owner.load(Ordering::Relaxed), owner)
        });
        // Nobody's before that of a key which was brought in a moment ago and has taken nothing.
        let (_, before, owner) = seen.min_by_key(|(arrival, whose, _)| (*arrival, *whose != 0))?;
        owner.compare_exchange(before, hash, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        // Whoever brought the same key in at the same time sees this, or is seen.
        fence(Ordering::SeqCst);
        self.find(hash)
    }
}

/// What a [`KeyedRateLimiter`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyedStats {
    /// How many buckets there are.
    pub buckets: usize,
    /// How often a new key took a bucket over that was not full. If this grows, keys share
    /// buckets: the limiter is too small for its clients.
    pub displaced: u64,
}

impl KeyedRateLimiter {
    /// A limiter with `buckets` buckets of 16 bytes, rounded up to eight; 1 to 2^27.
    ///
    /// Choose four times as many as keys are active within the time in which a burst comes back:
    /// of ten thousand keys a few then share a bucket.
    ///
    /// # Errors
    ///
    /// When `buckets` is out of range.
    pub fn new(quota: Quota, buckets: usize) -> Result<Self, ConfigError> {
        if !(1..=MOST).contains(&buckets) {
            return Err(ConfigError::new("buckets", buckets, format!("1 to {MOST}")));
        }
        let sets = (0..buckets.div_ceil(WAYS)).map(|_| Set::new()).collect();
        Ok(Self { quota, hasher: RandomState::new(), sets, displaced: AtomicU64::new(0) })
    }

    /// Takes one permit of `key`, if it has one.
    ///
    /// # Errors
    ///
    /// [`Limited::Wait`] says when to come back; nothing was taken.
    pub fn try_acquire<K: Hash + ?Sized>(&self, key: &K, now: Instant) -> Result<(), Limited> {
        self.try_acquire_many(key, now, 1)
    }

    /// Takes `permits` of `key` together, or none; 0 are always there.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire); [`Limited::Never`] when they are more than a burst.
    pub fn try_acquire_many<K: Hash + ?Sized>(
        &self,
        key: &K,
        now: Instant,
        permits: u32,
    ) -> Result<(), Limited> {
        let hash = self.hasher.hash_one(key).max(1);
        let Some(set) = self.set(hash) else { return Ok(()) }; // not reached: there are sets
        let arrival = loop {
            if let Some(arrival) = set.find(hash) {
                break arrival;
            }
            if let Some(arrival) = set.take_over(hash) {
                if arrival.load(Ordering::Relaxed) > now.as_nanos() {
                    self.displaced.fetch_add(1, Ordering::Relaxed);
                }
                break arrival;
            }
        };
        self.quota.take(arrival, now, permits)
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> KeyedStats {
        KeyedStats {
            buckets: self.sets.len() * WAYS,
            displaced: self.displaced.load(Ordering::Relaxed),
        }
    }

    /// The quota of each key.
    #[must_use]
    pub const fn quota(&self) -> Quota {
        self.quota
    }

    fn set(&self, hash: u64) -> Option<&Set> {
        let sets = u128::try_from(self.sets.len()).ok()?;
        // The upper bits choose: the same as `hash % sets` in fairness, without a division.
        self.sets.get(usize::try_from((u128::from(hash) * sets) >> 64).ok()?)
    }
}

/// What to count a client by: its address, or the /64 network of an IPv6 one.
///
/// Whoever has IPv6 has at least a /64 network and may use any address of it (RFC 6177); limits on
/// single addresses do not bind. An IPv4 address written as IPv6 is the IPv4 address.
///
/// ```
/// use ha_lb::resilience::rate::keyed::network_of;
///
/// assert_eq!(network_of("2001:db8::1:2:3:4".parse()?), "2001:db8::".parse::<std::net::IpAddr>()?);
/// assert_eq!(network_of("::ffff:192.0.2.7".parse()?), "192.0.2.7".parse::<std::net::IpAddr>()?);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[must_use]
pub fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::RateLimiter;
    use super::*;

    fn quota(burst: u32) -> Quota {
        let quota = Quota::new(10, Duration::from_secs(1)).expect("in range");
        quota.with_burst(burst).expect("in range")
    }

    proptest! {
        #[test]
        fn with_room_for_all_each_key_has_a_limiter_of_its_own(
            burst in 1u32..5,
            steps in prop::collection::vec((0u64..200, 0u8..40, 0u32..7), 0..400),
        ) {
            let limiter = KeyedRateLimiter::new(quota(burst), 1 << 14).expect("in range");
            let mut model = BTreeMap::new();
            let mut now = Instant::from_secs(1);
            for (wait, key, permits) in steps {
                now += Duration::from_millis(wait);
                let single = model.entry(key).or_insert_with(|| RateLimiter::new(quota(burst)));
                let expected = single.try_acquire_many(now, permits);
                prop_assert_eq!(limiter.try_acquire_many(&key, now, permits), expected);
            }
            prop_assert_eq!(limiter.stats().displaced, 0);
        }

        #[test]
        fn any_number_of_keys_gets_no_more_than_the_buckets_give(
            burst in 1u32..5, steps in prop::collection::vec((0u64..20, any::<u16>()), 0..2_000),
        ) {
            let limiter = KeyedRateLimiter::new(quota(burst), 16).expect("in range");
            let (mut now, mut admitted) = (0, 0);
            for (wait, key) in steps {
                now += wait;
                let taken = limiter.try_acquire(&key, Instant::from_millis(now + 1_000_000));
                admitted += u64::from(taken.is_ok());
            }
            prop_assert!(admitted <= 16 * (u64::from(burst) + now / 100));
        }
    }

    #[test]
    fn memory_is_what_was_asked_for() {
        assert_eq!(size_of::<Set>(), WAYS * 16);
        assert_eq!(KeyedRateLimiter::new(quota(1), 1000).expect("in range").stats().buckets, 1000);
        assert!(KeyedRateLimiter::new(quota(1), 0).is_err());
        assert!(KeyedRateLimiter::new(quota(1), MOST + 1).is_err());
    }

    #[test]
    fn few_of_many_keys_share_a_bucket_where_there_are_four_for_each() {
        let limiter = KeyedRateLimiter::new(quota(1), 40_000).expect("in range");
        let now = Instant::from_secs(9);
        let refused = (0..10_000).filter(|key| limiter.try_acquire(key, now).is_err()).count();
        assert!(refused < 50, "{refused} of 10000");
        assert_eq!(limiter.stats().displaced, u64::try_from(refused).expect("few"));
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let limiter = KeyedRateLimiter::new(quota(100), 64).expect("in range");
        let now = Instant::from_secs(5);
        assert!(limiter.try_acquire("key", now).is_ok());
        let admitted: usize = std::thread::scope(|scope| {
            let take = || (0..100).filter(|_| limiter.try_acquire("key", now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(admitted, 99);
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn loom_a_new_key_is_brought_in_once() {
        loom::model(|| {
            let quota = Quota::new(1, Duration::from_secs(1)).unwrap();
            let limiter = loom::sync::Arc::new(KeyedRateLimiter::new(quota, 2).unwrap());
            let other = loom::sync::Arc::clone(&limiter);
            let thread = loom::thread::spawn(move || other.try_acquire("key", Instant::ZERO));
            let mine = limiter.try_acquire("key", Instant::ZERO).is_ok();
            let theirs = thread.join().unwrap().is_ok();
            assert_eq!(u8::from(mine) + u8::from(theirs), 1);
        });
    }

    #[test]
    fn loom_two_new_keys_get_a_bucket_each_or_share_one() {
        loom::model(|| {
            let quota = Quota::new(1, Duration::from_secs(1)).unwrap();
            let limiter = loom::sync::Arc::new(KeyedRateLimiter::new(quota, 2).unwrap());
            let other = loom::sync::Arc::clone(&limiter);
            let thread = loom::thread::spawn(move || other.try_acquire("a", Instant::ZERO));
            let mine = limiter.try_acquire("b", Instant::ZERO).is_ok();
            let theirs = thread.join().unwrap().is_ok();
            assert!(mine || theirs);
        });
    }
}
