//! Sets of name and value: a table, or a list of sets with their ids, scores and rules.

use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Named, pairs};
use crate::cib::attributes::{AttributeSet, Pair};
use crate::cib::form;
use crate::cib::rule::RuleElement;
use crate::model::Score;

/// A set as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::cib) struct RawSet {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Arc<str>>,
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    score: Option<Score>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Arc<RuleElement>>,
    /// Pairs with the ids that they get if nobody gives them one.
    #[serde(default, with = "form::pairs", skip_serializing_if = "Vec::is_empty")]
    values: Vec<Named>,
    /// All others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pairs: Vec<RawPair>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawPair {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Arc<str>>,
    name: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Arc<str>>,
}

/// The id that a pair gets if nobody gives it one.
pub(in crate::cib) fn pair_id(set: &str, name: &str) -> String {
    format!("{set}-{name}")
}

/// Its pairs as names and values, if nothing is lost so.
fn plain(set: &AttributeSet) -> Option<Vec<Named>> {
    let mut names = std::collections::BTreeSet::new();
    set.pairs
        .iter()
        .map(|pair| {
            let is_usual = match (&set.id, &pair.id) {
                (Some(set), Some(id)) => **id == *pair_id(set, &pair.name),
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            let is_new = names.insert(Arc::clone(&pair.name));
            let value = pair.value.clone().filter(|_| is_usual && is_new)?;
            Some((Arc::clone(&pair.name), value))
        })
        .collect()
}

impl From<AttributeSet> for RawSet {
    fn from(set: AttributeSet) -> Self {
        let values = plain(&set);
        let raw = |pair: Pair| RawPair { id: pair.id, name: pair.name, value: pair.value };
        let pairs = if values.is_some() { Vec::new() } else { set.pairs };
        Self {
            id: set.id,
            score: set.score,
            rules: set.rules,
            values: values.unwrap_or_default(),
            pairs: pairs.into_iter().map(raw).collect(),
        }
    }
}

impl From<RawSet> for AttributeSet {
    fn from(raw: RawSet) -> Self {
        let RawSet { id, score, rules, values, pairs } = raw;
        let usual = |(name, value): Named| Pair {
            id: id.as_ref().map(|set| pair_id(set, &name).into()),
            name,
            value: Some(value),
            ..Pair::default()
        };
        let pair = |RawPair { id, name, value }| Pair { id, name, value, ..Pair::default() };
        let pairs = values.into_iter().map(usual).chain(pairs.into_iter().map(pair)).collect();
        Self { id, score, rules, pairs, ..Self::default() }
    }
}

pub(in crate::cib) fn serialize<S: Serializer>(
    sets: &[Arc<AttributeSet>],
    to: S,
) -> Result<S::Ok, S::Error> {
    if let [set] = sets
        && set.id.is_none()
        && set.score.is_none()
        && set.rules.is_empty()
        && let Some(values) = plain(set)
    {
        return pairs::serialize(&values, to);
    }
    to.collect_seq(sets)
}

pub(in crate::cib) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<Arc<AttributeSet>>, D::Error> {
    from.deserialize_any(Sets)
}

struct Sets;

impl<'de> Visitor<'de> for Sets {
    type Value = Vec<Arc<AttributeSet>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of names and values, or a list of sets")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let values = pairs::deserialize(MapAccessDeserializer::new(map))?;
        let pair = |(name, value)| Pair { name, value: Some(value), ..Pair::default() };
        let pairs = values.into_iter().map(pair).collect();
        Ok(vec![Arc::new(AttributeSet { pairs, ..AttributeSet::default() })])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}
