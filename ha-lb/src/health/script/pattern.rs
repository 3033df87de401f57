//! What is looked for in what an endpoint says.

use std::fmt;

/// Bytes with gaps: each part must follow the one before, with anything in between.
///
/// ```
/// use ha_lb::health::script::Pattern;
///
/// let greeting = Pattern::wild("220 *ESMTP");
/// assert_eq!(greeting.find(b"220 mail.example ESMTP ready"), Some(22));
/// assert_eq!(greeting.find(b"554 mail.example ESMTP"), None);
/// assert_eq!(Pattern::exact([0xff, 0x00]).find(&[1, 0xff, 0]), Some(3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    parts: Vec<Vec<u8>>,
}

impl Pattern {
    /// These bytes.
    pub fn exact(bytes: impl Into<Vec<u8>>) -> Self {
        Self { parts: vec![bytes.into()] }
    }

    /// Text in which each `*` stands for anything, nothing as well.
    pub fn wild(text: impl AsRef<[u8]>) -> Self {
        let parts = text.as_ref().split(|byte| *byte == b'*');
        Self { parts: parts.filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect() }
    }

    /// Where the first match ends; `None` if there is none.
    #[must_use]
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let mut end = 0;
        for part in &self.parts {
            let rest = bytes.get(end..)?;
            // The earliest place leaves most room for the parts that follow.
            let place = rest.windows(part.len().max(1)).position(|window| window == part)?;
            end += place + part.len();
        }
        Some(end)
    }

    /// How many bytes it has, without the gaps.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Vec::len).sum()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self.parts.iter().map(|part| part.escape_ascii().to_string()).collect();
        write!(f, "\"{}\"", parts.join("*"))
    }
}
