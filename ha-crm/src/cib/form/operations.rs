//! The operations of a resource: a list of them, or lists with ids.

use std::fmt;
use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cib::operation::Operations;

/// Lists of operations that have ids, or are several.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists<T> {
    lists: T,
}

pub(in crate::cib) fn serialize<S: Serializer>(
    lists: &[Arc<Operations>],
    to: S,
) -> Result<S::Ok, S::Error> {
    match lists {
        [list] if list.id.is_none() && !list.operations.is_empty() => {
            to.collect_seq(&list.operations)
        }
        lists => Lists { lists }.serialize(to),
    }
}

pub(in crate::cib) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<Arc<Operations>>, D::Error> {
    from.deserialize_any(Form)
}

struct Form;

impl<'de> Visitor<'de> for Form {
    type Value = Vec<Arc<Operations>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of operations, or a table with `lists` of them")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let Lists { lists } = Lists::deserialize(MapAccessDeserializer::new(map))?;
        Ok(lists)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        let operations = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        Ok(vec![Arc::new(Operations { operations, ..Operations::default() })])
    }
}
