//! Sets of name and value, merged: which sets hold, and which of two values wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cib::{AttributeSet, CibValue};
use crate::model::rule::{Facts, Lookup};

/// Merged pairs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table(BTreeMap<Arc<str>, Arc<str>>);

impl Table {
    /// The value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// The value of a name, if it can be read as a type.
    pub(crate) fn read<T: CibValue>(&self, name: &str) -> Option<T> {
        self.get(name).and_then(T::read)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Sets a value, whatever was there.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Arc<str>>) {
        self.0.insert(name.into(), value.into());
    }

    /// Takes what is not yet known from another table.
    pub(crate) fn inherit(&mut self, from: &Self) {
        for (name, value) in &from.0 {
            if !self.0.contains_key(name) {
                self.0.insert(Arc::clone(name), Arc::clone(value));
            }
        }
    }

    /// Takes what is not yet known from sets, those with the highest score first.
    pub(crate) fn add(&mut self, sets: &[Arc<AttributeSet>], facts: &Facts<'_>) {
        self.add_renamed(sets, facts, |name| name);
    }

    /// The same, under names of today.
    pub(crate) fn add_renamed(
        &mut self,
        sets: &[Arc<AttributeSet>],
        facts: &Facts<'_>,
        rename: impl Fn(&str) -> &str,
    ) {
        let mut sorted: Vec<&Arc<AttributeSet>> = sets.iter().collect();
        sorted.sort_by_key(|set| std::cmp::Reverse(set.score.map_or(0, crate::model::Score::get)));
        for set in sorted {
            if !holds(set, facts) {
                continue;
            }
            for pair in &set.pairs {
                let Some(value) = &pair.value else { continue };
                let name = rename(&pair.name);
                if &**value == "#default" || self.0.contains_key(name) {
                    continue;
                }
                let name = if name == &*pair.name { Arc::clone(&pair.name) } else { name.into() };
                self.0.insert(name, Arc::clone(value));
            }
        }
    }

    /// All pairs, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter()
    }
}

impl Lookup for Table {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name)
    }
}

/// Whether a set applies: without a rule it does, with several one of them must hold.
fn holds(set: &AttributeSet, facts: &Facts<'_>) -> bool {
    set.rules.is_empty() || set.rules.iter().any(|rule| rule.rule().0.holds(facts))
}
