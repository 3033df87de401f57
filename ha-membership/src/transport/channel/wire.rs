//! Messages, and how they are put together from the texts of records.

use super::Topic;

/// The most bytes of a request or an answer: 4 MiB, four of the largest values of a store.
///
/// What is larger is sent in parts, so that one message cannot fill the memory of its receiver.
pub const MAX_MESSAGE_LEN: usize = 4 << 20;
/// Kind, number, topic, length.
pub(super) const HEADER_LEN: usize = 1 + 8 + 1 + 4;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Answer,
    /// Nobody serves the topic of the request.
    NotServed,
}

/// A request, or its answer with the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) topic: Topic,
    pub(super) body: Vec<u8>,
}

/// What came is no message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Message {
    /// What stands before the body in the first record.
    pub(super) fn header(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Request => 1,
            Kind::Answer => 2,
            Kind::NotServed => 3,
        };
        let mut header = vec![kind];
        header.extend(self.number.to_be_bytes());
        header.push(self.topic.get());
        header.extend(u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_be_bytes());
        header
    }
}

/// Messages in the making.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    message: Option<Message>,
    missing: usize,
}

impl Assembly {
    /// Takes the text of the next record, and gives the message that it completes.
    pub(super) fn add(&mut self, text: &[u8]) -> Result<Option<Message>, Malformed> {
        if let Some(message) = &mut self.message {
            if text.is_empty() || text.len() > self.missing {
                return Err(Malformed);
            }
            message.body.extend_from_slice(text);
            self.missing -= text.len();
        } else {
            let (message, missing) = begin(text)?;
            self.message = Some(message);
            self.missing = missing;
        }
        Ok(if self.missing == 0 { self.message.take() } else { None })
    }
}

/// The message that a first record begins, and how many bytes it lacks.
fn begin(text: &[u8]) -> Result<(Message, usize), Malformed> {
    let (kind, rest) = text.split_first().ok_or(Malformed)?;
    let (number, rest) = rest.split_first_chunk().ok_or(Malformed)?;
    let (topic, rest) = rest.split_first().ok_or(Malformed)?;
    let (len, body) = rest.split_first_chunk().ok_or(Malformed)?;
    let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Malformed)?;
    let kind = match kind {
        1 => Kind::Request,
        2 => Kind::Answer,
        3 => Kind::NotServed,
        _ => return Err(Malformed),
    };
    let missing = len.checked_sub(body.len()).ok_or(Malformed)?;
    if len > MAX_MESSAGE_LEN {
        return Err(Malformed);
    }
    let (number, topic) = (u64::from_be_bytes(*number), Topic::new(*topic));
    // Room is made as bytes come, not as a length promises.
    Ok((Message { kind, number, topic, body: body.to_vec() }, missing))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_come_back_from_pieces_of_any_size(
            number: u64, topic: u8, body: Vec<u8>, first in 0usize..50, size in 1usize..50,
        ) {
            let message =
                Message { kind: Kind::Answer, number, topic: Topic::new(topic), body };
            let (start, rest) = message.body.split_at(first.min(message.body.len()));
            let mut assembly = Assembly::default();
            let mut got = assembly.add(&[message.header().as_slice(), start].concat());
            for piece in rest.chunks(size) {
                prop_assert_eq!(got, Ok(None));
                got = assembly.add(piece);
            }
            prop_assert_eq!(got, Ok(Some(message)));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(texts: Vec<Vec<u8>>) {
            let mut assembly = Assembly::default();
            for text in texts {
                if let Ok(Some(message)) = assembly.add(&text) {
                    prop_assert!(message.body.len() <= MAX_MESSAGE_LEN);
                }
            }
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_kept() {
        let mut text = vec![1; HEADER_LEN];
        text[HEADER_LEN - 4..].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(Assembly::default().add(&text), Err(Malformed));
    }
}
