//! What the lines are.

use ha_membership::store::{Entry, Expected, StoreChange, StoreError, Value, Write};
use ha_membership::{Key, Revision};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::manager::Request;

/// A line to the node.
#[derive(Debug)]
pub(super) enum Ask {
    Manager(Request),
    Store(StoreAsk),
}

impl Ask {
    pub(super) fn decode(line: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Kind {
            request: Option<IgnoredAny>,
            store: Option<IgnoredAny>,
        }
        match serde_json::from_slice(line)? {
            Kind { request: Some(_), .. } => serde_json::from_slice(line).map(Self::Manager),
            Kind { store: Some(_), .. } => serde_json::from_slice(line).map(Self::Store),
            Kind { request: None, store: None } => {
                Err(serde_json::Error::custom("it has neither a `request` nor a `store`"))
            }
        }
    }
}

/// What is asked of the store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "store", rename_all = "kebab-case")]
pub(super) enum StoreAsk {
    Get { key: Key },
    List { prefix: String },
    NextChange { prefix: String, after: Revision },
    Write { key: Key, expected: Condition, value: Option<Bytes> },
}

/// What the store answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "store", rename_all = "kebab-case")]
pub(super) enum StoreAnswer {
    Change { key: Key, value: Option<Bytes>, revision: Revision },
    Entry { entry: Option<Stored> },
    Failed { fault: Fault },
    List { entries: Vec<Listed>, revision: Revision },
    Nothing,
    Written { revision: Revision },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Condition {
    Any,
    Absent,
    Revision(Revision),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    value: Bytes,
    revision: Revision,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Listed {
    key: Key,
    value: Bytes,
    revision: Revision,
}

/// A store's error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(super) enum Fault {
    Compacted { after: Revision, oldest: Revision },
    Conflict { key: Key, found: Option<Revision> },
    Full { key: Key, limit: usize },
    TooLarge { key: Key, len: usize },
    Unavailable { reason: String },
}

/// A value: as text where people can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(super) struct Bytes(pub(super) Value);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Written {
    Text(String),
    Hex(String),
}

impl From<Bytes> for Written {
    fn from(bytes: Bytes) -> Self {
        // Other control characters become six letters each in JSON.
        let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        match std::str::from_utf8(&bytes.0) {
            Ok(text) if !text.contains(odd) => Self::Text(text.to_owned()),
            _ => {
                const DIGITS: [char; 16] = [
                    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
                ];
                let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or('0');
                Self::Hex(bytes.0.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect())
            }
        }
    }
}

impl TryFrom<Written> for Bytes {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written::Text(text) => Ok(Self(text.into_bytes().into())),
            Written::Hex(text) => {
                let wrong = "hex is an even number of digits 0-9 and a-f";
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
                let byte = |pair: &[u8]| match pair {
                    [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
                    _ => None,
                };
                let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
                bytes.map(|bytes| Self(bytes.into())).ok_or(wrong)
            }
        }
    }
}

impl From<Write> for StoreAsk {
    fn from(Write { key, expected, value }: Write) -> Self {
        let expected = match expected {
            Expected::Any => Condition::Any,
            Expected::Absent => Condition::Absent,
            Expected::Revision(revision) => Condition::Revision(revision),
        };
        Self::Write { key, expected, value: value.map(Bytes) }
    }
}

impl From<Condition> for Expected {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Any => Self::Any,
            Condition::Absent => Self::Absent,
            Condition::Revision(revision) => Self::Revision(revision),
        }
    }
}

impl From<Entry> for Stored {
    fn from(Entry { value, revision }: Entry) -> Self {
        Self { value: Bytes(value), revision }
    }
}

impl From<Stored> for Entry {
    fn from(Stored { value: Bytes(value), revision }: Stored) -> Self {
        Self { value, revision }
    }
}

impl From<(Key, Entry)> for Listed {
    fn from((key, Entry { value, revision }): (Key, Entry)) -> Self {
        Self { key, value: Bytes(value), revision }
    }
}

impl From<Listed> for (Key, Entry) {
    fn from(Listed { key, value: Bytes(value), revision }: Listed) -> Self {
        (key, Entry { value, revision })
    }
}

impl From<StoreChange> for StoreAnswer {
    fn from(StoreChange { key, value, revision }: StoreChange) -> Self {
        Self::Change { key, value: value.map(Bytes), revision }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { after, oldest } => Self::Compacted { after, oldest },
            StoreError::Conflict { key, found } => Self::Conflict { key, found },
            StoreError::Full { key, limit } => Self::Full { key, limit },
            StoreError::TooLarge { key, len } => Self::TooLarge { key, len },
            StoreError::Unavailable { source } => Self::Unavailable { reason: source.to_string() },
            // A kind that this crate does not know yet: the caller must look before it goes on.
            error => Self::Unavailable { reason: error.to_string() },
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Compacted { after, oldest } => Self::Compacted { after, oldest },
            Fault::Conflict { key, found } => Self::Conflict { key, found },
            Fault::Full { key, limit } => Self::Full { key, limit },
            Fault::TooLarge { key, len } => Self::TooLarge { key, len },
            Fault::Unavailable { reason } => {
                Self::Unavailable { source: std::io::Error::other(reason) }
            }
        }
    }
}
