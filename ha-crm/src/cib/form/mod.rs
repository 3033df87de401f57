//! A CIB in TOML or JSON: how its values are written there.
//!
//! Structures have their serde names where they are defined; here is what serde cannot derive.

pub(super) mod constraints;
mod document;
pub(super) mod operations;
mod rule;
pub(super) mod sets;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserializer, Serializer};

use super::value::CibValue;

/// A name and its value.
type Named = (Arc<str>, Arc<str>);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(super) const fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
pub(super) const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A value of the CIB as the number, boolean or text that it looks like.
fn serialize<T: CibValue, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    let text = value.write();
    if let Ok(number) = text.parse::<i64>() {
        return to.serialize_i64(number);
    }
    match text.as_str() {
        "true" => to.serialize_bool(true),
        "false" => to.serialize_bool(false),
        _ => to.serialize_str(&text),
    }
}

fn parse<T: CibValue, E: Error>(text: &str) -> Result<T, E> {
    T::read(text).ok_or_else(|| {
        let cut: String = text.chars().take(80).collect();
        E::custom(format_args!("cannot read {cut:?}: allowed is {}", T::ALLOWED.join(", ")))
    })
}

/// Text, a number or a boolean, all taken as text.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<String, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number or a boolean")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<String, E> {
        // 3.10 would become 3.1, which may be another version.
        Err(E::custom(format_args!("cannot keep {value} as it is written; put it in quotes")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }
}

/// Values that are always there.
pub(super) mod value {
    use super::{CibValue, DeserializeSeed, Deserializer, Scalar, Serializer};

    pub(in crate::cib) fn serialize<T: CibValue, S: Serializer>(
        value: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        super::serialize(value, to)
    }

    pub(in crate::cib) fn deserialize<'de, T: CibValue, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        super::parse(&Scalar.deserialize(from)?)
    }
}

/// Values that need not be there.
pub(super) mod option {
    use super::{CibValue, Deserializer, Maybe, PhantomData, Serializer};

    #[expect(clippy::ref_option, reason = "the signature is serde's")]
    pub(in crate::cib) fn serialize<T: CibValue, S: Serializer>(
        value: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, to),
            None => to.serialize_none(),
        }
    }

    pub(in crate::cib) fn deserialize<'de, T: CibValue, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        from.deserialize_option(Maybe(PhantomData))
    }
}

struct Maybe<T>(PhantomData<T>);

impl<'de, T: CibValue> Visitor<'de> for Maybe<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::ALLOWED.join(", "))
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        parse(&Scalar.deserialize(from)?).map(Some)
    }
}

/// Names and values as a table.
pub(super) mod pairs {
    use super::{Deserializer, Named, SerializeMap, Serializer, Table};

    pub(in crate::cib) fn serialize<S: Serializer>(
        pairs: &[Named],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut table = to.serialize_map(Some(pairs.len()))?;
        for (name, value) in pairs {
            table.serialize_entry(name, value)?;
        }
        table.end()
    }

    pub(in crate::cib) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Named>, D::Error> {
        from.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Vec<Named>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of names and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            pairs.push((name.into(), map.next_value_seed(Scalar)?.into()));
        }
        Ok(pairs)
    }
}
