//! What goes over the stream to a guardian: a version, a kind, a length, and the will.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{self, Read};

use super::Will;

const VERSION: u8 = 1;
const WILL: u8 = 0;
const GOODBYE: u8 = 1;
/// A thousand routers with the longest messages.
const MOST: usize = 4 * 1024 * 1024;

/// What a guardian is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Will(Will),
    Goodbye,
}

pub(super) fn encode_will(will: &Will) -> io::Result<Vec<u8>> {
    let body = postcard::to_stdvec(will).map_err(io::Error::other)?;
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if body.len() > MOST {
        let why = "cannot hand over the will: it is larger than 4 MiB; name fewer addresses";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut frame = vec![VERSION, WILL];
    frame.extend(len.to_be_bytes());
    frame.extend(body);
    Ok(frame)
}

pub(super) const fn encode_goodbye() -> [u8; 6] {
    [VERSION, GOODBYE, 0, 0, 0, 0]
}

/// Reads the next message; `None` at the end of the stream, also in the middle of a message: its
/// writer was killed, and what it said before holds.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Option<Message>> {
    let mut head = [0; 6];
    if !fill(stream, &mut head)? {
        return Ok(None);
    }
    let [version, kind, len @ ..] = head;
    let len = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if version != VERSION || kind > GOODBYE || len > MOST {
        return Err(invalid("start the guardian with the same program"));
    }
    if kind == GOODBYE {
        return Ok(Some(Message::Goodbye));
    }
    let mut body = vec![0; len];
    if !fill(stream, &mut body)? {
        return Ok(None);
    }
    let will = postcard::from_bytes(&body).map_err(|error| invalid(&error.to_string()))?;
    Ok(Some(Message::Will(will)))
}

fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match stream.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error),
    }
}

fn invalid(why: &str) -> io::Error {
    let text = format!("cannot read what the program wants a guardian to do: {why}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
