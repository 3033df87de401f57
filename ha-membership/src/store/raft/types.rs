//! What goes through the log, and what the members say to each other.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use ha_core::id::NodeName;
use openraft::error::SnapshotMismatch;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, Entry as LogEntry};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::key::{Key, Revision};
use crate::store::{Expected, StoreError, Write};

openraft::declare_raft_types!(
    /// The types that the engine works with.
    pub(super) Types:
        D = Batch,
        R = Vec<Outcome>,
        NodeId = u64,
        Node = EmptyNode,
        Entry = LogEntry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(super) type Raft = openraft::Raft<Types>;
pub(super) type LogId = openraft::LogId<u64>;
pub(super) type Vote = openraft::Vote<u64>;
pub(super) type Metrics = openraft::RaftMetrics<u64, EmptyNode>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type Entry = LogEntry<Types>;

/// The number of a node for the engine: FNV-1a, 64 bits.
pub(super) fn number(name: &NodeName) -> u64 {
    name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Bytes that are written in one piece, not as a list of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Arc<[u8]>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Writes that were asked for at about the same time: one entry of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Batch {
    /// How many bytes the store may hold, by the leader's settings: all members must decide alike.
    pub(super) limit: u64,
    pub(super) writes: Vec<Proposal>,
}

/// A write that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proposal {
    key: Key,
    expected: ExpectedForm,
    value: Option<Blob>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum ExpectedForm {
    Any,
    Absent,
    Revision(Revision),
}

impl Proposal {
    /// About how many bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.key.as_str().len() + self.value.as_ref().map_or(0, |value| value.0.len())
    }
}

impl From<Write> for Proposal {
    fn from(write: Write) -> Self {
        let expected = match write.expected {
            Expected::Any => ExpectedForm::Any,
            Expected::Absent => ExpectedForm::Absent,
            Expected::Revision(revision) => ExpectedForm::Revision(revision),
        };
        Self { key: write.key, expected, value: write.value.map(Blob) }
    }
}

impl From<Proposal> for Write {
    fn from(proposal: Proposal) -> Self {
        let expected = match proposal.expected {
            ExpectedForm::Any => Expected::Any,
            ExpectedForm::Absent => Expected::Absent,
            ExpectedForm::Revision(revision) => Expected::Revision(revision),
        };
        Self { key: proposal.key, expected, value: proposal.value.map(|Blob(value)| value) }
    }
}

/// What became of a write that went through the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Written(Revision),
    Conflict(Option<Revision>),
    Full(u64),
    TooLarge(u64),
}

impl Outcome {
    pub(super) fn new(result: &Result<Revision, StoreError>) -> Self {
        let count = |bytes: &usize| u64::try_from(*bytes).unwrap_or(u64::MAX);
        match result {
            Ok(revision) => Self::Written(*revision),
            Err(StoreError::Full { limit, .. }) => Self::Full(count(limit)),
            Err(StoreError::TooLarge { len, .. }) => Self::TooLarge(count(len)),
            Err(StoreError::Conflict { found, .. }) => Self::Conflict(*found),
            // A state in memory is always there, and a write looks at no change.
            Err(StoreError::Compacted { .. } | StoreError::Unavailable { .. }) => {
                Self::Conflict(None)
            }
        }
    }

    pub(super) fn into_result(self, key: Key) -> Result<Revision, StoreError> {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        match self {
            Self::Written(revision) => Ok(revision),
            Self::Conflict(found) => Err(StoreError::Conflict { key, found }),
            Self::Full(limit) => Err(StoreError::Full { key, limit: size(limit) }),
            Self::TooLarge(len) => Err(StoreError::TooLarge { key, len: size(len) }),
        }
    }
}

/// What a member says of itself while the cluster forms, or a member comes back without its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Status {
    /// Who the members are, by its settings.
    pub(super) members: Vec<NodeName>,
    /// Whether it holds votes, entries or a snapshot.
    pub(super) has_history: bool,
    /// Whether it votes.
    pub(super) is_member: bool,
    /// The highest term that it knows.
    pub(super) term: u64,
    /// If it is the established leader of that term: its last entry.
    pub(super) leads_at: Option<u64>,
}

/// The version of the requests and replies.
const VERSION: u8 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<Types>),
    Write(Proposal),
    ReadIndex,
    Status,
    /// All members are empty: become one, if these are your members, too.
    Form(Vec<NodeName>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(Result<InstallSnapshotResponse<u64>, SnapshotMismatch>),
    Written(Outcome),
    ReadIndex(Option<u64>),
    Status(Status),
    Formed,
    /// Nothing was done: this node does not lead.
    NotLeader,
    /// Nothing was done.
    Refused(String),
    /// It may have been done.
    Failed(String),
}

/// What came is no request, reply or record of this version.
#[derive(Debug, thiserror::Error)]
#[error("cannot read a message or record: it is of another version, or damaged")]
pub(super) struct Undecodable;

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Into memory, of types without maps of unknown length or foreign errors: nothing can fail.
    postcard::to_extend(value, vec![VERSION]).unwrap_or_default()
}

pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Undecodable> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
            Ok((value, [])) => Ok(value),
            Ok(_) | Err(_) => Err(Undecodable),
        },
        Some(_) | None => Err(Undecodable),
    }
}

impl From<Undecodable> for postcard::Error {
    fn from(error: Undecodable) -> Self {
        Self::custom(error)
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, EntryPayload};
    use proptest::prelude::*;

    use super::*;

    fn proposal() -> impl Strategy<Value = Proposal> {
        let expected = prop_oneof![
            Just(Expected::Any),
            Just(Expected::Absent),
            any::<u64>().prop_map(|raw| Expected::Revision(Revision::new(raw))),
        ];
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..300));
        ("[a-z/]{1,40}", expected, value).prop_map(|(key, expected, value)| {
            let (key, value) = (key.parse().unwrap(), value.map(Into::into));
            Proposal::from(Write { key, expected, value })
        })
    }

    proptest! {
        #[test]
        fn entries_and_requests_come_back(
            writes in prop::collection::vec(proposal(), 0..5), term: u64, index: u64, limit: u64,
        ) {
            let log_id = LogId::new(CommittedLeaderId::new(term, 0), index);
            let payload = EntryPayload::Normal(Batch { limit, writes: writes.clone() });
            let entry = Entry { log_id, payload };
            let bytes = encode(&entry);
            let back: Entry = decode(&bytes).unwrap();
            prop_assert_eq!(back.log_id, log_id);
            let EntryPayload::Normal(batch) = back.payload else { panic!("{:?}", back.payload) };
            prop_assert_eq!(batch.writes, writes.clone());
            for proposal in writes {
                let bytes = encode(&Request::Write(proposal.clone()));
                let Ok(Request::Write(back)) = decode(&bytes) else { panic!("no write") };
                prop_assert_eq!(&back, &proposal);
                prop_assert_eq!(Proposal::from(Write::from(back)), proposal);
                for len in 0..bytes.len() {
                    prop_assert!(decode::<Request>(&bytes[..len]).is_err(), "cut to {}", len);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(mut bytes: Vec<u8>) {
            let _any = (decode::<Request>(&bytes).is_ok(), decode::<Reply>(&bytes).is_ok());
            bytes.insert(0, VERSION);
            let _any = (decode::<Request>(&bytes).is_ok(), decode::<Reply>(&bytes).is_ok());
            let _any = (decode::<Entry>(&bytes).is_ok(), decode::<Batch>(&bytes).is_ok());
        }
    }

    #[test]
    fn another_version_is_refused() {
        let mut bytes = encode(&Request::Status);
        bytes[0] += 1;
        assert!(decode::<Request>(&bytes).is_err());
    }
}
