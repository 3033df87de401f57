//! Rules: each element a table of its attributes, with its conditions in a list.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Scalar, parse};
use crate::cib::rule::{LocationRule, MAX_DEPTH, RuleElement};

/// Where the elements in an element stand.
const CONDITIONS: &str = "conditions";

/// The elements of a rule, and the attributes of each.
const KNOWN: [(&str, &[&str]); 7] = [
    ("rule", &["id", "boolean-op", "score", "score-attribute", "role", CONDITIONS]),
    ("expression", &["id", "attribute", "operation", "value", "type", "value-source"]),
    ("date_expression", &["id", "operation", "start", "end", "date-spec", "duration", CONDITIONS]),
    (
        "date_spec",
        &[
            "id",
            "seconds",
            "minutes",
            "hours",
            "monthdays",
            "weekdays",
            "yeardays",
            "months",
            "weeks",
            "years",
            "weekyears",
            "moon",
        ],
    ),
    ("duration", &["id", "seconds", "minutes", "hours", "days", "weeks", "months", "years"]),
    ("op_expression", &["id", "name", "interval"]),
    ("rsc_expression", &["id", "class", "provider", "type"]),
];

const ELEMENTS: &[&str] = &[
    "rule",
    "expression",
    "date-expression",
    "date-spec",
    "duration",
    "op-expression",
    "rsc-expression",
];

type Known = (&'static str, &'static [&'static str]);

fn known<E: Error>(name: &str) -> Result<Known, E> {
    let found = KNOWN.iter().find(|(known, _)| known.replace('_', "-") == name);
    found.copied().ok_or_else(|| E::unknown_field(name, ELEMENTS))
}

impl Serialize for RuleElement {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, value)?;
        }
        let is_date = &*self.name == "date_expression";
        if let ([child], true) = (self.children.as_slice(), is_date)
            && matches!(&*child.name, "date_spec" | "duration")
        {
            map.serialize_entry(&child.name.replace('_', "-"), child)?;
        } else if !self.children.is_empty() {
            let children: Vec<Child<'_>> = self.children.iter().map(|child| Child(child)).collect();
            map.serialize_entry(CONDITIONS, &children)?;
        }
        map.end()
    }
}

/// An element with its name.
struct Child<'e>(&'e RuleElement);

impl Serialize for Child<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(&self.0.name.replace('_', "-"), self.0)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for RuleElement {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Body { element: known("rule")?, depth: 0 }.deserialize(from)
    }
}

/// Reads an element whose name is known.
struct Body {
    element: Known,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Body {
    type Value = RuleElement;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<RuleElement, D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(D::Error::custom("it is nested too deep; make it flatter"));
        }
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Body {
    type Value = RuleElement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table: {}", self.element.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RuleElement, A::Error> {
        let (name, allowed) = self.element;
        let mut read = RuleElement { name: name.into(), ..RuleElement::default() };
        while let Some(key) = map.next_key::<String>()? {
            if !allowed.contains(&key.as_str()) {
                return Err(A::Error::unknown_field(&key, allowed));
            }
            let depth = self.depth + 1;
            match (name, key.as_str()) {
                (_, CONDITIONS) => read.children.extend(map.next_value_seed(Children { depth })?),
                ("date_expression", "date-spec" | "duration") => {
                    let body = Body { element: known(&key)?, depth };
                    read.children.push(Arc::new(map.next_value_seed(body)?));
                }
                _ => {
                    let value = map.next_value_seed(Scalar)?;
                    read.attributes.push((key.into(), value.into()));
                }
            }
        }
        Ok(read)
    }
}

/// Reads a list of elements with their names.
struct Children {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Children {
    type Value = Vec<Arc<RuleElement>>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Children {
    type Value = Vec<Arc<RuleElement>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of conditions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut children = Vec::new();
        while let Some(child) = list.next_element_seed(One { depth: self.depth })? {
            children.push(Arc::new(child));
        }
        Ok(children)
    }
}

/// Reads one element with its name.
struct One {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for One {
    type Value = RuleElement;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<RuleElement, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One {
    type Value = RuleElement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a table with one of {}", ELEMENTS.join(", "))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RuleElement, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(A::Error::invalid_length(0, &self));
        };
        let body = Body { element: known(&name)?, depth: self.depth };
        let read = map.next_value_seed(body)?;
        match map.next_key::<String>()? {
            None => Ok(read),
            Some(_) => Err(A::Error::invalid_length(2, &self)),
        }
    }
}

impl Serialize for LocationRule {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.element().serialize(to)
    }
}

impl<'de> Deserialize<'de> for LocationRule {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let rule = Arc::new(RuleElement::deserialize(from)?);
        Ok(Self {
            score: rule.attribute("score").map(parse).transpose()?,
            score_attribute: rule.attribute("score-attribute").map(Into::into),
            role: rule.attribute("role").map(parse).transpose()?,
            rule,
        })
    }
}
