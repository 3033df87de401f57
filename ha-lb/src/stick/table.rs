//! A table of who had which endpoint.
//!
//! # Source
//!
//! HAProxy's `stick-table` with `size` and `expire`, and `stick on`.

use std::collections::BTreeMap;
#[expect(clippy::disallowed_types, reason = "nothing depends on its order")]
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ha_core::id::EndpointName;
use ha_core::time::Instant;

use crate::algorithm::hash::hash64;

/// Tables beside each other, so that threads seldom wait for each other.
const SHARDS: usize = 16;

/// The longest key that is kept whole, in bytes; of a longer one its length and hash.
const MAX_KEY: usize = 64;

/// Who had which endpoint, bounded in number and time.
///
/// Each entry takes some 200 bytes. When the table is full, the entry that was not used for the longest
/// time makes room. Not on the way of picks that do not use it; those that do take a short lock
/// on a sixteenth of the table.
#[derive(Debug)]
pub struct StickTable {
    shards: [Mutex<Shard>; SHARDS],
    /// Nobody outside can aim at one shard.
    hasher: RandomState,
    per_shard: usize,
    expire: Duration,
}

#[derive(Debug, Default)]
struct Shard {
    #[expect(clippy::disallowed_types, reason = "nothing depends on its order")]
    entries: HashMap<Box<[u8]>, Entry>,
    /// When each was used last, the longest ago first.
    used: BTreeMap<(Instant, u64), Box<[u8]>>,
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    name: EndpointName,
    used: (Instant, u64),
}

impl StickTable {
    /// Keeps about `size` entries at most, at least 16; each for `expire` after it was used last.
    #[must_use]
    pub fn new(size: usize, expire: Duration) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        let hasher = RandomState::new();
        Self { shards, hasher, per_shard: size.div_ceil(SHARDS).max(1), expire }
    }

    /// The endpoint that this key had; it is used again by that.
    #[must_use]
    pub fn get(&self, key: &[u8], now: Instant) -> Option<EndpointName> {
        let key = shortened(key);
        let mut shard = self.shard(&key);
        shard.expire(now, self.expire);
        let name = shard.entries.get(&*key)?.name.clone();
        shard.put(key, &name, now);
        Some(name)
    }

    /// Remembers the endpoint that this key has now.
    pub fn set(&self, key: &[u8], name: &EndpointName, now: Instant) {
        let key = shortened(key);
        let mut shard = self.shard(&key);
        shard.expire(now, self.expire);
        shard.put(key, name, now);
        while shard.entries.len() > self.per_shard {
            shard.drop_oldest();
        }
    }

    /// Forgets a key; returns the endpoint that it had.
    pub fn remove(&self, key: &[u8]) -> Option<EndpointName> {
        let key = shortened(key);
        let mut shard = self.shard(&key);
        let entry = shard.entries.remove(&*key)?;
        shard.used.remove(&entry.used);
        Some(entry.name)
    }

    /// Forgets all keys that have this endpoint; returns how many there were.
    pub fn remove_endpoint(&self, name: &EndpointName) -> usize {
        let mut removed = 0;
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let Shard { entries, used, .. } = &mut *shard;
            let before = entries.len();
            entries.retain(|_, entry| {
                let stays = entry.name != *name;
                if !stays {
                    used.remove(&entry.used);
                }
                stays
            });
            removed += before - entries.len();
        }
        removed
    }

    /// How many entries there are, also those whose time is over and that nobody has asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).entries.len()
        };
        self.shards.iter().map(len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let at = crate::random::below(self.hasher.hash_one(key), SHARDS);
        // There are as many as `below` has numbers.
        let [first, ..] = &self.shards;
        self.shards.get(at).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key, or what stands for a long one.
fn shortened(key: &[u8]) -> Box<[u8]> {
    if key.len() <= MAX_KEY {
        return key.into();
    }
    let (front, rest) = key.split_at_checked(MAX_KEY).unwrap_or((key, &[]));
    let (len, hash) = (u64::try_from(key.len()).unwrap_or(u64::MAX), hash64(rest));
    [front, &len.to_be_bytes(), &hash.to_be_bytes()].concat().into()
}

impl Shard {
    fn put(&mut self, key: Box<[u8]>, name: &EndpointName, now: Instant) {
        self.uses += 1;
        let used = (now, self.uses);
        let entry = Entry { name: name.clone(), used };
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.used.remove(&before.used);
        }
        self.used.insert(used, key);
    }

    fn expire(&mut self, now: Instant, after: Duration) {
        // A few at a time are enough: each use adds one at most.
        for _ in 0..4 {
            match self.used.first_key_value() {
                Some(((at, _), _)) if now.since(*at) >= after => self.drop_oldest(),
                Some(_) | None => return,
            }
        }
        let old = |used: &(Instant, u64)| now.since(used.0) >= after;
        self.entries.retain(|_, entry| !old(&entry.used));
        self.used.retain(|used, _| !old(used));
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.used.pop_first() {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(number: u8) -> EndpointName {
        format!("s{number}").parse().expect("a name")
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn an_entry_expires_after_its_last_use() {
        let table = StickTable::new(1_000, Duration::from_secs(10));
        table.set(b"a", &name(1), at(0));
        assert_eq!(table.get(b"a", at(9)), Some(name(1)));
        assert_eq!(table.get(b"a", at(18)), Some(name(1)));
        assert_eq!(table.get(b"a", at(28)), None);
        assert!(table.is_empty());
    }

    #[test]
    fn long_keys_are_told_apart() {
        let table = StickTable::new(1_000, Duration::from_secs(10));
        let (one, other) = ([7; 5_000], [[7; 2_500], [8; 2_500]].concat());
        table.set(&one, &name(1), at(0));
        table.set(&other, &name(2), at(0));
        assert_eq!(table.get(&one, at(0)), Some(name(1)));
        assert_eq!(table.remove(&other), Some(name(2)));
        assert_eq!(table.remove_endpoint(&name(1)), 1);
        assert!(table.is_empty());
    }

    proptest! {
        #[test]
        fn it_never_grows_beyond_its_size_and_keeps_what_was_used_last(
            size in 1_usize..64, keys: Vec<(u8, u8)>,
        ) {
            let table = StickTable::new(size, Duration::from_secs(1_000));
            for (second, (key, number)) in (0..).zip(&keys) {
                table.set(&[*key], &name(*number), at(second));
                prop_assert!(table.len() <= size.div_ceil(SHARDS).max(1) * SHARDS);
                prop_assert_eq!(table.get(&[*key], at(second)), Some(name(*number)));
            }
            let shards = table.shards.iter().map(|s| s.lock().expect("no panic"));
            for shard in shards {
                prop_assert_eq!(shard.entries.len(), shard.used.len());
            }
        }
    }
}
