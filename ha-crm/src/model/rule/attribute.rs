//! Conditions on the attributes of nodes.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::cut;
use super::facts::{Facts, Lookup};
use super::value::ValueType;

/// How an attribute and a value are compared (Pacemaker's `operation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Comparison {
    /// The attribute is there, whatever its value.
    Defined,
    /// They are equal, or both missing.
    Eq,
    /// The attribute is greater.
    Gt,
    /// The attribute is greater or equal.
    Gte,
    /// The attribute is less.
    Lt,
    /// The attribute is less or equal.
    Lte,
    /// They are not equal, or just one is missing.
    Ne,
    /// The attribute is not there.
    #[serde(alias = "not_defined")]
    NotDefined,
}

impl Comparison {
    pub(super) const ALL: [Self; 8] = [
        Self::Defined,
        Self::Eq,
        Self::Gt,
        Self::Gte,
        Self::Lt,
        Self::Lte,
        Self::Ne,
        Self::NotDefined,
    ];

    /// Whether it needs a value to compare with.
    pub(super) const fn needs_value(self) -> bool {
        !matches!(self, Self::Defined | Self::NotDefined)
    }
}

impl fmt::Display for Comparison {
    /// Writes Pacemaker's names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Defined => "defined",
            Self::Eq => "eq",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::Ne => "ne",
            Self::NotDefined => "not_defined",
        })
    }
}

/// Where the value to compare with comes from (Pacemaker's `value-source`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ValueSource {
    /// It stands in the rule.
    #[default]
    Literal,
    /// The rule names a meta-attribute of the resource.
    Meta,
    /// The rule names a parameter of the resource.
    Param,
}

impl ValueSource {
    pub(super) const ALL: [Self; 3] = [Self::Literal, Self::Meta, Self::Param];
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Literal => "literal",
            Self::Meta => "meta",
            Self::Param => "param",
        })
    }
}

/// A condition on an attribute of a node: Pacemaker's `expression`.
///
/// If the attribute or the value is missing, only `ne` holds of the comparisons; if both are,
/// only `eq` does. An empty value that stands in the rule counts as missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", try_from = "RawExpression")]
#[non_exhaustive]
pub struct AttributeExpression {
    /// The attribute's name; `%1` to `%9` stand for what a pattern matched.
    pub attribute: String,
    /// How it is compared.
    pub operation: Comparison,
    /// What it is compared with: a value, or where `value_source` says so a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// As what they are compared. Default: text for `eq` and `ne`; for the others numbers, with
    /// fractions if there is a decimal point in one of the values, else whole.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub value_type: Option<ValueType>,
    /// Where the value comes from. Default: it is as it stands here.
    #[serde(skip_serializing_if = "is_literal")]
    pub value_source: ValueSource,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawExpression {
    attribute: String,
    operation: Comparison,
    value: Option<String>,
    #[serde(rename = "type")]
    value_type: Option<ValueType>,
    #[serde(default)]
    value_source: ValueSource,
}

impl TryFrom<RawExpression> for AttributeExpression {
    type Error = String;

    fn try_from(raw: RawExpression) -> Result<Self, Self::Error> {
        let RawExpression { attribute, operation, value, value_type, value_source } = raw;
        if operation.needs_value() && value.is_none() {
            return Err(format!(
                "cannot compare {attribute:?}: {operation} needs a value; give one, or use \
                 defined or not-defined"
            ));
        }
        Ok(Self { attribute, operation, value, value_type, value_source })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
const fn is_literal(source: &ValueSource) -> bool {
    matches!(source, ValueSource::Literal)
}

impl AttributeExpression {
    /// A comparison of an attribute with a value, as what their operation compares by default.
    pub fn new(
        attribute: impl Into<String>,
        operation: Comparison,
        value: impl Into<String>,
    ) -> Self {
        Self {
            attribute: attribute.into(),
            operation,
            value: Some(value.into()),
            value_type: None,
            value_source: ValueSource::Literal,
        }
    }

    /// The attribute is there.
    pub fn defined(attribute: impl Into<String>) -> Self {
        Self { value: None, ..Self::new(attribute, Comparison::Defined, "") }
    }

    /// The attribute is not there.
    pub fn not_defined(attribute: impl Into<String>) -> Self {
        Self { value: None, ..Self::new(attribute, Comparison::NotDefined, "") }
    }

    /// Sets as what they are compared.
    #[must_use]
    pub const fn value_type(mut self, value_type: ValueType) -> Self {
        self.value_type = Some(value_type);
        self
    }

    /// Sets where the value comes from.
    #[must_use]
    pub const fn value_source(mut self, value_source: ValueSource) -> Self {
        self.value_source = value_source;
        self
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let Some(node) = facts.node else { return false };
        let actual = node.value(&facts.expand(&self.attribute));
        match self.operation {
            Comparison::Defined => actual.is_some(),
            Comparison::NotDefined => actual.is_none(),
            Comparison::Eq
            | Comparison::Gt
            | Comparison::Gte
            | Comparison::Lt
            | Comparison::Lte
            | Comparison::Ne => self.compare(actual, self.expected(facts)),
        }
    }

    /// The value to compare with, from where it is.
    fn expected<'v>(&'v self, facts: &Facts<'v>) -> Option<&'v str> {
        let value = self.value.as_deref()?;
        let named = |lookup: Option<&'v dyn Lookup>| lookup?.value(value);
        match self.value_source {
            ValueSource::Literal => Some(value).filter(|value| !value.is_empty()),
            ValueSource::Meta => named(facts.meta),
            ValueSource::Param => named(facts.parameters),
        }
    }

    fn compare(&self, actual: Option<&str>, expected: Option<&str>) -> bool {
        let (Some(actual), Some(expected)) = (actual, expected) else {
            return match self.operation {
                Comparison::Eq => actual == expected,
                Comparison::Ne => actual != expected,
                Comparison::Defined
                | Comparison::Gt
                | Comparison::Gte
                | Comparison::Lt
                | Comparison::Lte
                | Comparison::NotDefined => false,
            };
        };
        let default = match self.operation {
            Comparison::Eq | Comparison::Ne | Comparison::Defined | Comparison::NotDefined => {
                ValueType::String
            }
            Comparison::Gt | Comparison::Gte | Comparison::Lt | Comparison::Lte => {
                let fraction = actual.contains('.') || expected.contains('.');
                if fraction { ValueType::Number } else { ValueType::Integer }
            }
        };
        let order = self.value_type.unwrap_or(default).compare(actual, expected);
        match self.operation {
            Comparison::Defined | Comparison::NotDefined => false,
            Comparison::Eq => order == Ordering::Equal,
            Comparison::Gt => order == Ordering::Greater,
            Comparison::Gte => order != Ordering::Less,
            Comparison::Lt => order == Ordering::Less,
            Comparison::Lte => order != Ordering::Greater,
            Comparison::Ne => order != Ordering::Equal,
        }
    }

    /// The condition and what it was judged by.
    pub(super) fn why(&self, facts: &Facts<'_>) -> String {
        let Some(node) = facts.node else { return format!("{self} (no node is known)") };
        let actual = match node.value(&facts.expand(&self.attribute)) {
            Some(value) => format!("it is {}", cut(value)),
            None => "it is not set".to_owned(),
        };
        if self.value_source == ValueSource::Literal {
            return format!("{self} ({actual})");
        }
        match self.expected(facts) {
            Some(value) => format!("{self}, which is {} ({actual})", cut(value)),
            None => format!("{self}, which is not set ({actual})"),
        }
    }
}

impl fmt::Display for AttributeExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attribute {} {}", cut(&self.attribute), self.operation)?;
        match (self.value_source, &self.value) {
            (_, None) => Ok(()),
            (ValueSource::Literal, Some(value)) => write!(f, " {}", cut(value)),
            (ValueSource::Meta, Some(value)) => write!(f, " meta-attribute {}", cut(value)),
            (ValueSource::Param, Some(value)) => write!(f, " parameter {}", cut(value)),
        }
    }
}
