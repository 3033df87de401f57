//! Tag, length, value: as much of BER (X.690) as LDAP and the dates of a certificate need.

/// Reads elements one after the other; lengths are definite and tags have one byte.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next element's tag and content; `None` at the end, or if it is cut or malformed.
    pub(super) fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Up to four bytes of length; 0x80 is the indefinite form.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (number(bytes), rest)
            }
            0x80 | 0x85.. => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next element if it has this tag.
    pub(super) fn expect(&mut self, expected: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.element()?;
        (tag == expected).then_some(content)
    }
}

/// Bytes as a number, the first is the highest; what goes beyond four bytes is cut off.
pub(super) fn number(bytes: &[u8]) -> usize {
    let value = bytes.iter().fold(0_u32, |value, byte| (value << 8) | u32::from(*byte));
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// An element of up to 64 KiB, written: what a check sends is far shorter.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let [high, low] = length.to_be_bytes();
    let mut written = match length {
        0..=0x7f => vec![tag, low],
        0x80.. => vec![tag, 0x82, high, low],
    };
    written.extend(content.iter().take(usize::from(length)));
    written
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_to_an_end(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            let mut total = 0;
            while let Some((_, content)) = reader.element() {
                total += 2 + content.len();
            }
            prop_assert!(total <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read(tag: u8, content in prop::collection::vec(any::<u8>(), 0..400)) {
            let bytes = element(tag, &content);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.element(), Some((tag, content.as_slice())));
            prop_assert_eq!(reader.element(), None);
        }
    }
}
