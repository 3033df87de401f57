//! Authentication of control packets (RFC 5880, section 6.7).
//!
//! The digests are keyed as the RFC says, the key at the end of the packet, and not HMAC; they
//! keep a neighbour on the link from forging and, with the meticulous methods, from replaying.
//!
//! ```
//! use ha_vip::bfd::{Intervals, SessionConfig, auth::{Auth, Key, Method}};
//!
//! // Key 1 is being replaced by key 2: packets are signed with 2, and taken with either.
//! let auth = Auth::new(Method::MeticulousKeyedSha1, Key::new(2, *b"tomorrow's secret"))
//!     .also_accept(Key::new(1, *b"today's secret"));
//! let config = SessionConfig::builder().auth(auth).build()?;
//!
//! let too_long = Auth::new(Method::SimplePassword, Key::new(1, *b"seventeen letters"));
//! let error = SessionConfig::builder().auth(too_long).build().unwrap_err();
//! assert_eq!(error.to_string(), "auth.key[1]: a secret of 17 bytes is not allowed: 1 to 16 bytes");
//! # Ok::<(), ha_core::config::ConfigError>(())
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::ops::RangeInclusive;

use ha_core::config::Problems;
use md5::{Digest, Md5};
use sha1::Sha1;

use super::wire::{ControlPacket, Reject, Section, encode};

/// How packets are authenticated (RFC 5880, section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "all that RFC 5880 has")]
pub enum Method {
    /// The password stands in the packet: against mistakes, not against attackers.
    SimplePassword,
    /// MD5; a packet can be replayed until the next change of the session.
    KeyedMd5,
    /// MD5 with a new sequence number for each packet.
    MeticulousKeyedMd5,
    /// SHA1; a packet can be replayed until the next change of the session.
    KeyedSha1,
    /// SHA1 with a new sequence number for each packet: the strongest that BFD has.
    MeticulousKeyedSha1,
}

impl Method {
    /// All methods, by their number on the wire.
    pub const ALL: [Self; 5] = [
        Self::SimplePassword,
        Self::KeyedMd5,
        Self::MeticulousKeyedMd5,
        Self::KeyedSha1,
        Self::MeticulousKeyedSha1,
    ];

    /// The method's name, as in bird's configuration with hyphens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SimplePassword => "simple",
            Self::KeyedMd5 => "keyed-md5",
            Self::MeticulousKeyedMd5 => "meticulous-keyed-md5",
            Self::KeyedSha1 => "keyed-sha1",
            Self::MeticulousKeyedSha1 => "meticulous-keyed-sha1",
        }
    }

    pub(super) fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.to_wire() == number)
    }

    pub(super) const fn to_wire(self) -> u8 {
        match self {
            Self::SimplePassword => 1,
            Self::KeyedMd5 => 2,
            Self::MeticulousKeyedMd5 => 3,
            Self::KeyedSha1 => 4,
            Self::MeticulousKeyedSha1 => 5,
        }
    }

    pub(super) const fn digest_len(self) -> Option<usize> {
        match self {
            Self::SimplePassword => None,
            Self::KeyedMd5 | Self::MeticulousKeyedMd5 => Some(16),
            Self::KeyedSha1 | Self::MeticulousKeyedSha1 => Some(20),
        }
    }

    pub(super) const fn proof_lens(self) -> RangeInclusive<usize> {
        match self.digest_len() {
            None => 1..=16,
            Some(len) => len..=len,
        }
    }

    /// The largest secret: what fits into the field of the password or digest.
    const fn max_secret(self) -> usize {
        *self.proof_lens().end()
    }

    const fn is_meticulous(self) -> bool {
        matches!(self, Self::MeticulousKeyedMd5 | Self::MeticulousKeyedSha1)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, MethodError> {
        let named = Self::ALL.into_iter().find(|method| method.as_str() == text);
        named.ok_or_else(|| MethodError { text: text.to_owned() })
    }
}

/// A text that is no name of a method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read {text:?} as an authentication method: write simple, keyed-md5, \
     meticulous-keyed-md5, keyed-sha1 or meticulous-keyed-sha1"
)]
pub struct MethodError {
    text: String,
}

/// A secret and its number; shown without the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: u8,
    secret: Vec<u8>,
}

impl Key {
    /// A key: its number, 0 to 255, the same on both ends, and its secret, 1 to 16 bytes for a
    /// password and for MD5, 1 to 20 for SHA1.
    pub fn new(id: u8, secret: impl Into<Vec<u8>>) -> Self {
        Self { id, secret: secret.into() }
    }

    /// The key's number.
    #[must_use]
    pub const fn id(&self) -> u8 {
        self.id
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The authentication of a session: one method, one key to send with, several to accept.
///
/// To change the key without a gap: first accept the new one on both ends, then send with it on
/// both, then no longer accept the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    method: Method,
    /// The first is the one to send with.
    keys: Vec<Key>,
}

impl Auth {
    /// Sends with `key`, and accepts it.
    #[must_use]
    pub fn new(method: Method, key: Key) -> Self {
        Self { method, keys: vec![key] }
    }

    /// Accepts `key`, too; at most 256 keys, each number once.
    #[must_use]
    pub fn also_accept(mut self, key: Key) -> Self {
        self.keys.push(key);
        self
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The keys that are accepted; the first one is used for sending.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let max = self.method.max_secret();
        for (index, key) in self.keys.iter().enumerate() {
            let path = format!("auth.key[{}]", key.id);
            if !(1..=max).contains(&key.secret.len()) {
                let value = format!("a secret of {} bytes", key.secret.len());
                problems.add(path.clone(), value, format!("1 to {max} bytes"));
            }
            if self.keys.iter().take(index).any(|earlier| earlier.id == key.id) {
                problems.add(path, "a second key of this number", "each number once");
            }
        }
    }
}

/// The sequence numbers of one session (RFC 5880, section 6.8.1).
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    /// `bfd.XmitAuthSeq`.
    next: u32,
    /// `bfd.RcvAuthSeq`; `None` is `bfd.AuthSeqKnown` = 0.
    received: Option<u32>,
    /// What was signed last, without its section.
    last: Option<ControlPacket>,
}

impl Sequence {
    /// Starts at a random number.
    pub(super) const fn new(random: u32) -> Self {
        Self { next: random, received: None, last: None }
    }

    /// Any sequence number is right next: the peer was silent for so long that it may have been
    /// started again.
    pub(super) const fn forget(&mut self) {
        self.received = None;
    }

    /// Writes `packet` with its authentication.
    pub(super) fn sign(&mut self, auth: &Auth, mut packet: ControlPacket) -> Vec<u8> {
        let Some(key) = auth.keys.first() else {
            return encode(&packet);
        };
        // RFC 5880 §6.7.3: meticulous methods count each packet, the others each change.
        if auth.method.is_meticulous() || self.last.as_ref().is_some_and(|last| *last != packet) {
            self.next = self.next.wrapping_add(1);
        }
        self.last = Some(packet.clone());
        let proof = match auth.method.digest_len() {
            None => key.secret.clone(),
            Some(len) => padded(&key.secret, len),
        };
        let sequence = self.next;
        packet.authentication =
            Some(Section { method: auth.method, key_id: key.id, sequence, proof });
        let mut message = encode(&packet);
        if let Some(len) = auth.method.digest_len() {
            let digest = digest(auth.method, &message);
            let at = message.len().saturating_sub(len);
            if let Some(field) = message.get_mut(at..) {
                field.copy_from_slice(&digest);
            }
        }
        message
    }

    /// Checks a decoded packet against the bytes that it was decoded from (RFC 5880, sections
    /// 6.7.2 to 6.7.4); the window moves only with a packet that is right.
    pub(super) fn verify(
        &mut self,
        auth: Option<&Auth>,
        packet: &ControlPacket,
        message: &[u8],
    ) -> Result<(), Reject> {
        let (auth, section) = match (auth, &packet.authentication) {
            (None, None) => return Ok(()),
            (Some(auth), Some(section)) if auth.method == section.method => (auth, section),
            (Some(_), _) | (None, Some(_)) => return Err(Reject::AuthMethod),
        };
        let key = auth.keys.iter().find(|key| key.id == section.key_id).ok_or(Reject::AuthKey)?;
        let Some(len) = auth.method.digest_len() else {
            return same(&key.secret, &section.proof).then_some(()).ok_or(Reject::AuthProof);
        };
        let window = u32::from(packet.detect_mult.get()).saturating_mul(3);
        let in_window = self.received.is_none_or(|received| {
            let ahead = section.sequence.wrapping_sub(received);
            ahead <= window && (ahead > 0 || !auth.method.is_meticulous())
        });
        if !in_window {
            return Err(Reject::AuthSequence);
        }
        let mut signed = signed_part(message).ok_or(Reject::AuthLength)?.to_vec();
        let field = DIGEST_AT..DIGEST_AT.saturating_add(len);
        let field = signed.get_mut(field).ok_or(Reject::AuthLength)?;
        field.copy_from_slice(&padded(&key.secret, len));
        if !same(&digest(auth.method, &signed), &section.proof) {
            return Err(Reject::AuthProof);
        }
        self.received = Some(section.sequence);
        Ok(())
    }
}

/// Where the digest begins: after the header, type, length, key, a reserved byte, the sequence.
const DIGEST_AT: usize = super::wire::HEADER_LEN + 8;

/// As many bytes as the packet says it has.
fn signed_part(message: &[u8]) -> Option<&[u8]> {
    message.get(..usize::from(*message.get(3)?))
}

fn padded(secret: &[u8], len: usize) -> Vec<u8> {
    let mut padded = secret.to_vec();
    padded.resize(len, 0);
    padded
}

fn digest(method: Method, message: &[u8]) -> Vec<u8> {
    match method {
        Method::SimplePassword => Vec::new(),
        Method::KeyedMd5 | Method::MeticulousKeyedMd5 => Md5::digest(message).to_vec(),
        Method::KeyedSha1 | Method::MeticulousKeyedSha1 => Sha1::digest(message).to_vec(),
    }
}

/// Compares without telling by its time where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;
