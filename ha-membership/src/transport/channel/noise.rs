//! Handshake and records: who speaks, and in which sealed pieces.
//!
//! ```text
//!   caller                              called
//!   mark ───────────────────────────▶
//!        ◀─────────────────────────── mark
//!   e, psk {from, to} ──────────────▶            Noise_NNpsk0_25519_ChaChaPoly_SHA256
//!        ◀─────────────── e, ee {name}
//!   records: length (2 bytes), sealed text ◀──▶
//! ```
//!
//! The first message could be a recorded one, so nothing is done before a record was opened: its
//! key depends on numbers that both sides have just drawn.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use ha_core::id::NodeName;
use snow::{HandshakeState, StatelessTransportState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::wire::{Assembly, HEADER_LEN, Malformed, Message};
use crate::transport::SharedKey;

/// What each side sends first: three letters, and the version of all that follows.
pub(super) const MARK: [u8; 4] = *b"HAC\x01";
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
/// The most bytes of a Noise message.
const MAX_RECORD: usize = 65_535;
const TAG_LEN: usize = 16;
/// The most plain text of one record.
const MAX_TEXT: usize = MAX_RECORD - TAG_LEN;
/// A handshake message has a key, two names and a tag: more is none.
const MAX_HANDSHAKE: usize = 1024;
/// How many bytes are asked of the kernel at a time.
const READ_STEP: usize = 8 * 1024;

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The connection broke, or the other side closed it.
    #[error("connection closed: {0}")]
    Io(io::Error),
    /// The other side is no channel.
    #[error("no channel")]
    Stranger,
    /// It speaks another version.
    #[error("version {0}")]
    Version(u8),
    /// It has another key, or what came was changed or recorded.
    #[error("another key")]
    Key,
    /// It is, or wants to speak to, somebody else.
    #[error("unexpected name {0:?}")]
    Name(Option<NodeName>),
}

impl From<io::Error> for Refused {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

impl From<snow::Error> for Refused {
    fn from(_: snow::Error) -> Self {
        Self::Key
    }
}

/// The keys of a connection whose handshake is done.
#[derive(Debug, Clone)]
pub(super) struct Cipher(Arc<StatelessTransportState>);

fn builder(key: &SharedKey) -> Result<snow::Builder<'_>, snow::Error> {
    snow::Builder::new(PATTERN.parse()?).psk(0, key.bytes())?.prologue(&MARK)
}

/// The caller's side of the handshake.
pub(super) async fn call(
    stream: &mut TcpStream,
    key: &SharedKey,
    me: &NodeName,
    to: &NodeName,
) -> Result<Cipher, Refused> {
    stream.write_all(&MARK).await?;
    read_mark(stream).await?;
    let mut noise = builder(key)?.build_initiator()?;
    send(stream, &mut noise, &names(&[me, to])).await?;
    let answer = receive(stream).await?;
    let mut text = vec![0; MAX_HANDSHAKE];
    let len = noise.read_message(&answer, &mut text)?;
    match parse_names(text.get(..len).unwrap_or_default()).as_deref() {
        Some([name]) if name == to => cipher(noise),
        other => Err(Refused::Name(other.and_then(|names| names.first().cloned()))),
    }
}

/// The called side of the handshake: with whom, if it is one of those that `known` accepts.
pub(super) async fn answer(
    stream: &mut TcpStream,
    keys: &[SharedKey],
    me: &NodeName,
    known: impl Fn(&NodeName) -> bool + Send,
) -> Result<(Cipher, NodeName), Refused> {
    let theirs = read_mark(stream).await;
    if let Ok(()) | Err(Refused::Version(_)) = theirs {
        stream.write_all(&MARK).await?;
    }
    theirs?;
    let first = receive(stream).await?;
    for key in keys {
        let mut noise = builder(key)?.build_responder()?;
        let mut text = vec![0; MAX_HANDSHAKE];
        let Ok(len) = noise.read_message(&first, &mut text) else {
            continue; // perhaps the next key
        };
        let names_in = parse_names(text.get(..len).unwrap_or_default());
        return match names_in.as_deref() {
            Some([from, to]) if to == me && known(from) => {
                send(stream, &mut noise, &names(&[me])).await?;
                Ok((cipher(noise)?, from.clone()))
            }
            other => Err(Refused::Name(other.and_then(|names| names.first().cloned()))),
        };
    }
    Err(Refused::Key)
}

fn cipher(noise: HandshakeState) -> Result<Cipher, Refused> {
    Ok(Cipher(Arc::new(noise.into_stateless_transport_mode()?)))
}

async fn read_mark(stream: &mut TcpStream) -> Result<(), Refused> {
    let mut mark = [0; MARK.len()];
    stream.read_exact(&mut mark).await?;
    let ([letters @ .., version], [expected @ .., ours]) = (mark, MARK);
    match letters == expected {
        false => Err(Refused::Stranger),
        true if version != ours => Err(Refused::Version(version)),
        true => Ok(()),
    }
}

async fn send(
    stream: &mut TcpStream,
    noise: &mut HandshakeState,
    text: &[u8],
) -> Result<(), Refused> {
    let mut sealed = vec![0; MAX_HANDSHAKE];
    let len = noise.write_message(text, &mut sealed)?;
    let mut frame = u16::try_from(len).unwrap_or_default().to_be_bytes().to_vec();
    frame.extend_from_slice(sealed.get(..len).unwrap_or_default());
    Ok(stream.write_all(&frame).await?)
}

async fn receive(stream: &mut TcpStream) -> Result<Vec<u8>, Refused> {
    let len = usize::from(stream.read_u16().await?);
    if len > MAX_HANDSHAKE {
        return Err(Refused::Stranger);
    }
    let mut message = vec![0; len];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Names as they stand in a handshake: each after its length.
fn names(names: &[&NodeName]) -> Vec<u8> {
    let mut text = Vec::new();
    for name in names {
        // A name has at most 253 bytes.
        text.push(u8::try_from(name.as_str().len()).unwrap_or_default());
        text.extend_from_slice(name.as_str().as_bytes());
    }
    text
}

fn parse_names(mut text: &[u8]) -> Option<Vec<NodeName>> {
    let mut names = Vec::new();
    while let Some((len, rest)) = text.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        names.push(std::str::from_utf8(name).ok()?.parse().ok()?);
        text = rest;
    }
    Some(names)
}

/// Seals and writes messages.
#[derive(Debug)]
pub(super) struct Sender<W> {
    cipher: Cipher,
    count: u64,
    to: W,
    records: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    pub(super) const fn new(cipher: Cipher, to: W) -> Self {
        Self { cipher, count: 0, to, records: Vec::new() }
    }

    /// Seals a message into the buffer that [`flush`](Self::flush) writes.
    pub(super) fn push(&mut self, message: &Message) -> io::Result<()> {
        let header = message.header();
        let mut rest = message.body.as_slice();
        let (first, after) = rest.split_at(rest.len().min(MAX_TEXT - HEADER_LEN));
        rest = after;
        self.seal(&[header.as_slice(), first].concat())?;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(MAX_TEXT));
            rest = after;
            self.seal(piece)?;
        }
        Ok(())
    }

    fn seal(&mut self, text: &[u8]) -> io::Result<()> {
        let len = text.len() + TAG_LEN;
        self.records.extend(u16::try_from(len).unwrap_or_default().to_be_bytes());
        let start = self.records.len();
        self.records.resize(start + len, 0);
        let record = self.records.get_mut(start..).unwrap_or_default();
        self.cipher.0.write_message(self.count, text, record).map_err(io::Error::other)?;
        self.count += 1;
        Ok(())
    }

    /// How many bytes wait to be written.
    pub(super) const fn waiting(&self) -> usize {
        self.records.len()
    }

    /// Writes all that was sealed. Not cancel safe: a record may be half written.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.records).await?;
        self.records.clear();
        self.records.shrink_to(MAX_RECORD);
        Ok(())
    }
}

/// Why a connection cannot be read any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It was closed, or lost.
    #[error("connection closed: {0}")]
    Io(io::Error),
    /// What came was not sealed with the key, or out of order, or no message.
    #[error("malformed message")]
    Malformed,
}

impl From<Malformed> for Broken {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Reads and opens messages.
#[derive(Debug)]
pub(super) struct Receiver<R> {
    cipher: Cipher,
    count: u64,
    from: R,
    bytes: BytesMut,
    text: Vec<u8>,
    assembly: Assembly,
}

impl<R: AsyncRead + Unpin> Receiver<R> {
    pub(super) fn new(cipher: Cipher, from: R) -> Self {
        let (bytes, text) = (BytesMut::new(), Vec::new());
        Self { cipher, count: 0, from, bytes, text, assembly: Assembly::default() }
    }

    /// The next message. Cancel safe: what was read is kept.
    pub(super) async fn next(&mut self) -> Result<Message, Broken> {
        loop {
            while self.open()? {
                if let Some(message) = self.assembly.add(&self.text)? {
                    return Ok(message);
                }
            }
            self.bytes.reserve(READ_STEP);
            let len = self.from.read_buf(&mut self.bytes).await.map_err(Broken::Io)?;
            if len == 0 {
                return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// How many records were opened.
    pub(super) const fn opened(&self) -> u64 {
        self.count
    }

    /// Opens the next record into `text`, if it is there wholly.
    fn open(&mut self) -> Result<bool, Broken> {
        let Some((len, rest)) = self.bytes.split_first_chunk() else {
            return Ok(false);
        };
        let len = usize::from(u16::from_be_bytes(*len));
        let Some(record) = rest.get(..len) else {
            return Ok(false);
        };
        let text_len = len.checked_sub(TAG_LEN).ok_or(Broken::Malformed)?;
        self.text.resize(text_len, 0);
        let opened = self.cipher.0.read_message(self.count, record, &mut self.text);
        opened.map_err(|_| Broken::Malformed)?;
        self.count += 1;
        self.bytes.advance(2 + len);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_come_back(a in "[a-z][a-z0-9.]{0,252}", b in "[a-z]{1,9}") {
            let (a, b): (NodeName, NodeName) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(parse_names(&names(&[&a, &b])), Some(vec![a, b]));
        }

        #[test]
        fn any_bytes_are_names_or_none(bytes: Vec<u8>) {
            if let Some(found) = parse_names(&bytes) {
                prop_assert_eq!(names(&found.iter().collect::<Vec<_>>()), bytes);
            }
        }
    }
}
