//! Authenticated encryption of datagrams, with replay protection and key rotation; without I/O.

use std::collections::BTreeMap;
use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};

use super::SharedKey;

/// The first bytes of a sealed datagram: a mark and the version.
const MAGIC: [u8; 2] = [0x4d, 1];
const SESSION_LEN: usize = 16;
/// Mark, version, key id, session, counter.
const HEADER_LEN: usize = 2 + 1 + SESSION_LEN + 8;
const TAG_LEN: usize = 16;
/// Datagrams that come late by up to this many are still taken.
const WINDOW: u64 = 1024;
const WORDS: usize = 16;
/// The most sessions whose counters are kept: 64 members, each restarted often.
const MAX_SESSIONS: usize = 1024;
/// The most keys that are accepted at a time.
const MAX_KEYS: usize = 4;

/// One life of a sender: 16 random bytes that it draws at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; SESSION_LEN]);

impl SessionId {
    /// A session from its bytes, which must never be used twice under one key; for tests.
    #[must_use]
    pub const fn new(bytes: [u8; SESSION_LEN]) -> Self {
        Self(bytes)
    }

    /// A session from the kernel's random numbers.
    ///
    /// # Errors
    ///
    /// [`SealError::Random`] when the kernel has none.
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = [0; SESSION_LEN];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::Random)?;
        Ok(Self(bytes))
    }
}

/// Seals and opens datagrams with keys that all members share.
///
/// ChaCha20-Poly1305 (RFC 8439) under a key that HKDF (RFC 5869) derives from the shared one and
/// the sender's [`SessionId`], so that the counters of two processes, or of two lives of one,
/// never meet under one key. Each datagram counts one up; a receiver takes each number once, and
/// late ones within a window of 1,024.
///
/// What it does not do: whoever has the key can speak for any member; and a receiver that has
/// just started cannot tell a recorded session from a live one. The mesh's own incarnations and
/// echoed times make such old heartbeats harmless.
///
/// ```
/// use ha_membership::transport::{Sealed, SessionId, SharedKey};
///
/// let key = SharedKey::new([7; 32]);
/// let mut a = Sealed::new([(1, key.clone())], SessionId::new([1; 16]))?;
/// let mut b = Sealed::new([(1, key)], SessionId::new([2; 16]))?;
/// let datagram = a.seal(b"hello")?;
/// assert_eq!(b.open(&datagram).as_deref(), Ok(&b"hello"[..]));
/// assert!(b.open(&datagram).is_err(), "a replay");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sealed {
    keys: Vec<(u8, SharedKey)>,
    session: SessionId,
    sealing: LessSafeKey,
    counter: u64,
    sessions: BTreeMap<(u8, SessionId), Receiving>,
    /// Grows with every datagram taken: which session was used last.
    clock: u64,
    stats: SealedStats,
}

struct Receiving {
    key: LessSafeKey,
    window: Window,
    used: u64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SealedStats {
    /// Datagrams that were opened.
    pub opened: u64,
    /// Made with another key, or changed on the way.
    pub forged: u64,
    /// Too short, or not ours at all.
    pub malformed: u64,
    /// Seen before, or too old to tell.
    pub replayed: u64,
    /// Under a key id that is not accepted.
    pub unknown_key: u64,
    /// Of another version.
    pub version: u64,
}

/// A datagram was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The seal does not hold.
    #[error("cannot open a datagram: it was made with another key or changed on the way")]
    Forged,
    /// Too short or something else.
    #[error("cannot open a datagram: it is cut short or not of this protocol")]
    Malformed,
    /// A number that was seen.
    #[error("cannot take a datagram: it came before, or is too old to tell")]
    Replayed,
    /// A key that is not there.
    #[error("cannot open a datagram: key {0} is not among the accepted ones")]
    UnknownKey(u8),
    /// Another version.
    #[error("cannot open a datagram of version {0}: this program speaks version 1")]
    Version(u8),
}

/// Datagrams cannot be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// All numbers of this session are used up.
    #[error("cannot seal a datagram: the session has used all its numbers; start a new one")]
    Exhausted,
    /// No key, too many, or one id twice.
    #[error("cannot use these keys: give one to four, each id once; the first one seals")]
    Keys,
    /// No random numbers.
    #[error("cannot start a session: the kernel gives no random numbers")]
    Random,
}

impl Sealed {
    /// Seals with the first key and accepts all of them (key, with its id).
    ///
    /// To rotate: add the new key as second everywhere, then make it the first everywhere, then
    /// drop the old one.
    ///
    /// # Errors
    ///
    /// [`SealError::Keys`].
    pub fn new(
        keys: impl IntoIterator<Item = (u8, SharedKey)>,
        session: SessionId,
    ) -> Result<Self, SealError> {
        let keys: Vec<_> = keys.into_iter().take(MAX_KEYS + 1).collect();
        let twice = keys
            .iter()
            .enumerate()
            .any(|(at, (id, _))| keys.iter().take(at).any(|(other, _)| other == id));
        let first = keys.first().filter(|_| keys.len() <= MAX_KEYS && !twice);
        let sealing = first.and_then(|(_, key)| derive(key, session)).ok_or(SealError::Keys)?;
        let (sessions, stats) = (BTreeMap::new(), SealedStats::default());
        Ok(Self { keys, session, sealing, counter: 0, sessions, clock: 0, stats })
    }

    /// Seals a datagram.
    ///
    /// # Errors
    ///
    /// [`SealError::Exhausted`] after 2^64 of them.
    pub fn seal(&mut self, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        self.counter = self.counter.checked_add(1).ok_or(SealError::Exhausted)?;
        let id = self.keys.first().map(|(id, _)| *id).ok_or(SealError::Keys)?;
        let mut out = Vec::with_capacity(HEADER_LEN + plain.len() + TAG_LEN);
        out.extend_from_slice(&MAGIC);
        out.push(id);
        out.extend_from_slice(&self.session.0);
        out.extend_from_slice(&self.counter.to_be_bytes());
        let mut body = plain.to_vec();
        let sealed = self.sealing.seal_in_place_append_tag(
            nonce(self.counter),
            Aad::from(out.as_slice()),
            &mut body,
        );
        // Fails only for plain texts of 256 GiB.
        sealed.map_err(|_| SealError::Exhausted)?;
        out.extend_from_slice(&body);
        Ok(out)
    }

    /// Opens a datagram, once.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; each is counted.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
        let opened = self.try_open(datagram);
        let stats = &mut self.stats;
        let count = match &opened {
            Ok(_) => &mut stats.opened,
            Err(OpenError::Forged) => &mut stats.forged,
            Err(OpenError::Malformed) => &mut stats.malformed,
            Err(OpenError::Replayed) => &mut stats.replayed,
            Err(OpenError::UnknownKey(_)) => &mut stats.unknown_key,
            Err(OpenError::Version(_)) => &mut stats.version,
        };
        *count += 1;
        opened
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> SealedStats {
        self.stats
    }

    fn try_open(&mut self, datagram: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (header, body) = datagram.split_at_checked(HEADER_LEN).ok_or(OpenError::Malformed)?;
        let ([mark, version, id], rest) = header.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (session, rest) =
            rest.split_first_chunk::<SESSION_LEN>().ok_or(OpenError::Malformed)?;
        let (counter, _) = rest.split_first_chunk::<8>().ok_or(OpenError::Malformed)?;
        if *mark != MAGIC[0] || body.len() < TAG_LEN {
            return Err(OpenError::Malformed);
        }
        if *version != MAGIC[1] {
            return Err(OpenError::Version(*version));
        }
        let (session, counter) = (SessionId(*session), u64::from_be_bytes(*counter));
        // Our own datagrams, sent back to us.
        if session == self.session {
            return Err(OpenError::Replayed);
        }
        let at = (*id, session);
        if self.sessions.get(&at).is_some_and(|known| !known.window.is_new(counter)) {
            return Err(OpenError::Replayed);
        }
        let mut plain = body.to_vec();
        if let Some(known) = self.sessions.get(&at) {
            unseal(&known.key, counter, header, &mut plain)?;
        } else {
            // A session is kept only once a datagram of it was genuine.
            let key = self.keys.iter().find(|(known, _)| known == id);
            let key = key.ok_or(OpenError::UnknownKey(*id))?;
            let key = derive(&key.1, session).ok_or(OpenError::Forged)?;
            unseal(&key, counter, header, &mut plain)?;
            self.make_room();
            self.sessions.insert(at, Receiving { key, window: Window::default(), used: 0 });
        }
        self.clock += 1;
        if let Some(known) = self.sessions.get_mut(&at) {
            known.window.note(counter);
            known.used = self.clock;
        }
        Ok(plain)
    }

    /// Forgets the session that was silent for longest.
    fn make_room(&mut self) {
        if self.sessions.len() < MAX_SESSIONS {
            return;
        }
        let oldest = self.sessions.iter().min_by_key(|(_, known)| known.used);
        if let Some(at) = oldest.map(|(at, _)| *at) {
            self.sessions.remove(&at);
        }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("keys", &self.keys.iter().map(|(id, _)| id).collect::<Vec<_>>())
            .field("sessions", &self.sessions.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

fn derive(key: &SharedKey, session: SessionId) -> Option<LessSafeKey> {
    let secret = Salt::new(HKDF_SHA256, &session.0).extract(key.bytes());
    let material = secret.expand(&[b"ha mesh v1"], &CHACHA20_POLY1305).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(material)))
}

/// The counter alone: the key is of one session.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    if let Some(last) = bytes.last_chunk_mut() {
        *last = counter.to_be_bytes();
    }
    Nonce::assume_unique_for_key(bytes)
}

fn unseal(
    key: &LessSafeKey,
    counter: u64,
    header: &[u8],
    body: &mut Vec<u8>,
) -> Result<(), OpenError> {
    let opened = key.open_in_place(nonce(counter), Aad::from(header), body);
    let len = opened.map_err(|_| OpenError::Forged)?.len();
    body.truncate(len);
    Ok(())
}

/// Which of the last numbers were seen (RFC 6479).
#[derive(Default)]
struct Window {
    highest: u64,
    seen: [u64; WORDS],
}

impl Window {
    const fn is_new(&self, number: u64) -> bool {
        if number == 0 || number.saturating_add(WINDOW) <= self.highest {
            return false;
        }
        number > self.highest || !self.has(number)
    }

    const fn has(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.seen[word] & bit != 0
    }

    const fn place(number: u64) -> (usize, u64) {
        ((number / 64 % 16) as usize, 1 << (number % 64))
    }

    /// Takes a number that is new.
    fn note(&mut self, number: u64) {
        if number > self.highest {
            let skipped = number - self.highest;
            for gone in 1..=skipped.min(WINDOW) {
                let (word, bit) = Self::place(self.highest.wrapping_add(gone));
                self.seen[word] &= !bit;
            }
            if skipped >= WINDOW {
                self.seen = [0; WORDS];
            }
            self.highest = number;
        }
        let (word, bit) = Self::place(number);
        self.seen[word] |= bit;
    }
}
