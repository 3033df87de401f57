//! What is said about a cluster's description, and of which place in it.

use std::fmt;
use std::sync::Arc;

/// A line and a column of the text, both from 1; the column counts bytes. Both are 0 in what was
/// not read from XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub struct Spot {
    /// The line.
    pub line: u32,
    /// The column, in bytes.
    pub column: u32,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A place in the text: where its element begins, and its path.
///
/// The path is an `XPath` below `configuration` (or below `cib` for the status), such as
/// `resources/primitive[@id='db']/operations/op[@id='x']/@interval`. Ids are cut to 80 characters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Place {
    /// Where the element begins.
    pub spot: Spot,
    /// Which element or attribute.
    pub path: Arc<str>,
}

impl Place {
    /// One of the element's attributes.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Self {
        Self { spot: self.spot, path: format!("{}/@{name}", self.path).into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.spot == Spot::default() {
            return f.pad(&self.path);
        }
        write!(f, "{}, {}", self.spot, self.path)
    }
}

/// Something that is wrong or was not honoured; reading went on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// Where.
    pub place: Place,
    /// What.
    pub what: Remark,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What is wrong or was not honoured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// The value is none of those that are allowed; it counts as not given.
    BadValue {
        /// The value, cut to 80 characters.
        value: String,
        /// What is allowed.
        allowed: &'static [&'static str],
    },
    /// The `id-ref` leads nowhere: the element is as if it were not there.
    Dangling {
        /// The id that no such element has, or whose element only refers further.
        id: String,
    },
    /// Another element of this kind has the same id; both are kept.
    DuplicateId {
        /// The id.
        id: String,
        /// Where it was first.
        first: Spot,
    },
    /// `transition-magic` names another action than `transition-key`; the key counts.
    KeysDiffer,
    /// An attribute or an inner element must be there; without its id an element is left out.
    Lacking {
        /// Which.
        name: &'static str,
    },
    /// There are more notes than are kept.
    More {
        /// How many.
        count: usize,
    },
    /// It is valid, but nothing is done with it.
    NotHonoured,
    /// It is nested too deep and left out.
    TooDeep,
    /// Nothing is known of such an attribute here.
    UnknownAttribute,
    /// Nothing is known of such an element here; it is left out with all that is in it.
    UnknownElement,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadValue { value, allowed } => write!(
                f,
                "cannot read {value:?}: it counts as not given; allowed is {}",
                allowed.join(", ")
            ),
            Self::Dangling { id } => write!(
                f,
                "cannot follow id-ref {id:?}: no such element has this id itself; mend the id"
            ),
            Self::DuplicateId { id, first } => {
                write!(f, "the id {id:?} was taken before ({first}); give it another one")
            }
            Self::KeysDiffer => {
                f.write_str("transition-magic and transition-key differ: the key counts")
            }
            Self::Lacking { name } => write!(f, "{name} is missing; add it"),
            Self::More { count } => write!(f, "{count} more notes; mend those that are listed"),
            Self::NotHonoured => f.write_str("it has no effect here"),
            Self::TooDeep => f.write_str("it is nested too deep and left out; make it flatter"),
            Self::UnknownAttribute => {
                f.write_str("no such attribute is known here: it has no effect; is it misspelt?")
            }
            Self::UnknownElement => {
                f.write_str("no such element is known here: it has no effect; is it misspelt?")
            }
        }
    }
}
