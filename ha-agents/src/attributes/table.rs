//! Attributes whose changes are held back a while, as a machine.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::{AttributeChange, AttributeError, AttributeKey, Dampening, MAX_VALUE};

/// The longest that a change is held back.
const MAX_DAMPENING: Duration = Duration::from_hours(24);

/// The attributes of a cluster or node, with what was published of them.
///
/// A change counts for readers at once, and is published when its dampening is over, reckoned from
/// the *first* change that was held back: a value that never rests is published, too. A value
/// that has returned to what was published is no news.
///
/// ```
/// use std::time::Duration;
/// use ha_agents::attributes::{AttributeChange, AttributeKey, AttributeTable, Dampening, Scope};
/// use ha_core::{machine::Machine, time::Instant};
///
/// let key = AttributeKey::new(Scope::Transient("n1".parse()?), "pingd")?;
/// let five = Dampening::Set(Duration::from_secs(5));
/// let (mut table, mut out) = (AttributeTable::new(), Vec::new());
/// let change = AttributeChange::set(key.clone(), "1000").dampened(five);
/// table.handle(Instant::from_secs(1), change, &mut out);
/// assert_eq!((table.get(&key), out.len()), (Some("1000"), 0));
/// table.tick(Instant::from_secs(6), &mut out);
/// assert_eq!(out[0].value.as_deref(), Some("1000"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct AttributeTable {
    entries: BTreeMap<AttributeKey, Entry>,
    now: Instant,
}

/// Something that everybody may know now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Which attribute.
    pub key: AttributeKey,
    /// Its value; `None`: it is gone.
    pub value: Option<String>,
}

#[derive(Debug, Default)]
struct Entry {
    value: Option<String>,
    published: Option<String>,
    dampening: Duration,
    due: Option<Instant>,
}

impl AttributeTable {
    /// The largest number of attributes.
    pub const MAX_ATTRIBUTES: usize = 10_000;

    /// An empty table.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), now: Instant::ZERO }
    }

    /// Whether the change may be handled; one that may not is passed over by
    /// [`handle`](Machine::handle).
    ///
    /// # Errors
    ///
    /// [`AttributeError::Full`], [`AttributeError::TooLarge`].
    pub fn check(&self, change: &AttributeChange) -> Result<(), AttributeError> {
        let name = || change.key.name().to_owned();
        let size = change.value.as_ref().map_or(0, String::len);
        if size > MAX_VALUE {
            return Err(AttributeError::TooLarge { name: name(), size });
        }
        let is_new = change.value.is_some() && !self.entries.contains_key(&change.key);
        if is_new && self.entries.len() >= Self::MAX_ATTRIBUTES {
            return Err(AttributeError::Full { name: name(), limit: Self::MAX_ATTRIBUTES });
        }
        Ok(())
    }

    /// What was set last.
    #[must_use]
    pub fn get(&self, key: &AttributeKey) -> Option<&str> {
        self.entries.get(key)?.value.as_deref()
    }

    /// What was published last.
    #[must_use]
    pub fn published(&self, key: &AttributeKey) -> Option<&str> {
        self.entries.get(key)?.published.as_deref()
    }

    /// All attributes with what was set last.
    pub fn iter(&self) -> impl Iterator<Item = (&AttributeKey, &str)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key, entry.value.as_deref()?)))
    }

    fn change(&mut self, now: Instant, change: AttributeChange) {
        let AttributeChange { key, value, dampening } = change;
        let is_new = !self.entries.contains_key(&key);
        if is_new && value.is_none() {
            return;
        }
        let entry = self.entries.entry(key).or_default();
        entry.dampening = match dampening {
            Dampening::Set(dampening) => dampening.min(MAX_DAMPENING),
            Dampening::IfNew(dampening) if is_new => dampening.min(MAX_DAMPENING),
            Dampening::Keep | Dampening::IfNew(_) => entry.dampening,
        };
        entry.value = value;
        let by_then = now + entry.dampening;
        entry.due = (entry.value != entry.published)
            .then(|| entry.due.map_or(by_then, |due| due.min(by_then)));
    }

    fn publish(&mut self, now: Instant, out: &mut Vec<Published>) {
        for (key, entry) in &mut self.entries {
            if entry.due.is_some_and(|due| due <= now) {
                entry.due = None;
                entry.published.clone_from(&entry.value);
                out.push(Published { key: key.clone(), value: entry.value.clone() });
            }
        }
        // What is gone, and known to be gone, needs no room.
        self.entries.retain(|_, entry| {
            entry.value.is_some() || entry.published.is_some() || entry.due.is_some()
        });
    }
}

impl Machine for AttributeTable {
    type Input = AttributeChange;
    type Output = Published;
    const MAX_OUTPUTS: usize = Self::MAX_ATTRIBUTES;

    fn handle(&mut self, now: Instant, change: AttributeChange, out: &mut Vec<Published>) {
        self.tick(now, out);
        if self.check(&change).is_ok() {
            self.change(self.now, change);
            self.publish(self.now, out);
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Published>) {
        self.now = self.now.max(now);
        self.publish(self.now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.due).min()
    }
}

#[cfg(test)]
mod tests {
    use ha_core::laws;
    use proptest::prelude::*;

    use super::*;
    use crate::attributes::Scope;

    fn key(name: &str) -> AttributeKey {
        AttributeKey::new(Scope::Transient("n1".parse().unwrap()), name).unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn a_value_that_never_rests_is_published_after_its_dampening() {
        let (mut table, mut out) = (AttributeTable::new(), Vec::new());
        let dampening = Dampening::IfNew(Duration::from_secs(5));
        for second in 1..=5 {
            let change = AttributeChange::set(key("ping"), second.to_string());
            table.handle(at(second), change.dampened(dampening), &mut out);
            assert_eq!((out.len(), table.published(&key("ping"))), (0, None));
        }
        table.tick(at(6), &mut out);
        assert_eq!(out[0].value.as_deref(), Some("5"));
        assert_eq!(table.deadline(), None);
    }

    #[test]
    fn a_value_that_has_returned_is_no_news() {
        let (mut table, mut out) = (AttributeTable::new(), Vec::new());
        table.handle(at(1), AttributeChange::set(key("ping"), "1"), &mut out);
        assert_eq!(out.len(), 1);
        out.clear();
        let late = Dampening::Set(Duration::from_secs(5));
        table.handle(at(2), AttributeChange::set(key("ping"), "0").dampened(late), &mut out);
        assert!(table.deadline().is_some());
        table.handle(at(3), AttributeChange::set(key("ping"), "1"), &mut out);
        table.tick(at(60), &mut out);
        assert_eq!(out, []);
    }

    #[test]
    fn what_is_deleted_leaves_no_trace_and_gives_room() {
        let (mut table, mut out) = (AttributeTable::new(), Vec::new());
        for number in 0..AttributeTable::MAX_ATTRIBUTES {
            table.handle(at(1), AttributeChange::set(key(&number.to_string()), ""), &mut out);
        }
        let more = AttributeChange::set(key("more"), "");
        assert!(matches!(table.check(&more), Err(AttributeError::Full { .. })));
        out.clear();
        table.handle(at(2), AttributeChange::delete(key("7")), &mut out);
        assert_eq!(out, [Published { key: key("7"), value: None }]);
        table.check(&more).unwrap();
        let large = AttributeChange::set(key("more"), "x".repeat(MAX_VALUE + 1));
        assert!(matches!(table.check(&large), Err(AttributeError::TooLarge { .. })));
    }

    fn change() -> impl Strategy<Value = AttributeChange> {
        let dampening = prop_oneof![
            Just(Dampening::Keep),
            (0..3000u64).prop_map(|ms| Dampening::IfNew(Duration::from_millis(ms))),
            (0..3000u64).prop_map(|ms| Dampening::Set(Duration::from_millis(ms))),
        ];
        (0..3u8, prop::option::of("[ab]"), dampening).prop_map(|(name, value, dampening)| {
            AttributeChange { key: key(&name.to_string()), value, dampening }
        })
    }

    proptest! {
        #[test]
        fn the_table_keeps_the_laws(
            steps in prop::collection::vec((0..2000u64, prop::option::of(change())), 0..60)
        ) {
            let schedule: Vec<_> =
                steps.into_iter().map(|(ms, step)| (Duration::from_millis(ms), step)).collect();
            laws::check(AttributeTable::new, &schedule).unwrap();
        }
    }
}
