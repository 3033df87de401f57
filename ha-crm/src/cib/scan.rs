//! A first look at the text: where its lines begin, and whether it is within the bounds.

use super::error::CibError;
use super::note::Spot;

/// The largest text that is read, in bytes: 256 MiB. The largest known have 20 MB.
pub const MAX_CIB: usize = 256 * 1024 * 1024;
/// How many `=` there may be: each attribute has one.
const MAX_EQUALS: usize = 16_000_000;
/// How many `=` one tag may have, so that looking for doubles in it stays cheap.
const MAX_EQUALS_IN_TAG: usize = 4096;
/// How often `xmlns` may occur; a CIB has no use for it.
const MAX_NAMESPACES: usize = 16;

/// Where lines begin.
#[derive(Debug)]
pub(super) struct Lines {
    /// The offset of each line but the first.
    starts: Vec<u32>,
    /// Whether nobody has seen the text, so that its lines say nothing.
    is_hidden: bool,
}

impl Lines {
    /// The same, but all spots are nowhere.
    pub(super) fn hidden(self) -> Self {
        Self { is_hidden: true, ..self }
    }

    pub(super) fn spot(&self, offset: usize) -> Spot {
        if self.is_hidden {
            return Spot::default();
        }
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        let before = self.starts.partition_point(|start| *start <= offset);
        let start = before.checked_sub(1).and_then(|last| self.starts.get(last));
        Spot {
            line: u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1),
            column: offset.saturating_sub(start.copied().unwrap_or(0)).saturating_add(1),
        }
    }
}

/// Goes once over the text.
pub(super) fn scan(text: &str) -> Result<Lines, CibError> {
    if text.len() > MAX_CIB {
        return Err(CibError::TooLarge { size: text.len() });
    }
    let mut lines = Lines { starts: Vec::with_capacity(text.len() / 200), is_hidden: false };
    let (mut equals, mut in_tag, mut namespaces) = (0_usize, 0_usize, 0_usize);
    let bytes = text.as_bytes();
    for (offset, byte) in bytes.iter().copied().enumerate() {
        let mut too_much = None;
        match byte {
            b'\n' => lines.starts.push(u32::try_from(offset + 1).unwrap_or(u32::MAX)),
            b'<' => in_tag = 0,
            b'=' => {
                equals += 1;
                in_tag += 1;
                if in_tag > MAX_EQUALS_IN_TAG || equals > MAX_EQUALS {
                    too_much = Some("too many attributes");
                }
            }
            b'x' if bytes.get(offset..offset + 5) == Some(b"xmlns".as_slice()) => {
                namespaces += 1;
                if namespaces > MAX_NAMESPACES {
                    too_much = Some("too many namespaces");
                }
            }
            _ => {}
        }
        if let Some(what) = too_much {
            return Err(CibError::TooMuch { what, spot: lines.spot(offset) });
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_count_from_one() {
        let lines = scan("<a>\n  <b/>\n</a>").expect("within the bounds");
        let at = |offset| {
            let spot = lines.spot(offset);
            (spot.line, spot.column)
        };
        assert_eq!((at(0), at(3), at(4), at(6), at(11)), ((1, 1), (1, 4), (2, 1), (2, 3), (3, 1)));
    }

    #[test]
    fn attributes_of_one_tag_are_bounded() {
        assert!(scan(&format!("<a {}", "b='' ".repeat(MAX_EQUALS_IN_TAG))).is_ok());
        assert!(scan(&format!("<a {}", "b='' ".repeat(MAX_EQUALS_IN_TAG + 1))).is_err());
        assert!(scan(&"<a xmlns=''/>".repeat(MAX_NAMESPACES + 1)).is_err());
    }
}
