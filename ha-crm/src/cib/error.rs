//! Why a text cannot be read at all.

use super::note::Spot;
use super::scan::MAX_CIB;

/// The text is not a CIB.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CibError {
    /// It is not JSON, or JSON with other names or values.
    #[error("cannot read the cluster's JSON: {why}; mend it there")]
    NotJson {
        /// What the parser says.
        why: String,
        /// Where.
        spot: Spot,
    },
    /// It is not TOML, or TOML with other names or values.
    #[error("cannot read the cluster's TOML: {spot}: {why}; mend it there")]
    NotToml {
        /// What the parser says.
        why: String,
        /// Where.
        spot: Spot,
    },
    /// Something in it cannot be written.
    #[error("cannot write the CIB: {why}; take it out")]
    NotWritten {
        /// What.
        why: String,
    },
    /// It is not XML, or XML with a DTD.
    #[error("cannot read the CIB: {spot}: it is not XML ({why}); mend it there")]
    NotXml {
        /// What the parser says.
        why: String,
        /// Where.
        spot: Spot,
    },
    /// It is too large.
    #[error("cannot read the CIB: it has {size} bytes, more than {MAX_CIB}; is it the right file?")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// It is beyond one of the bounds that keep reading quick and small.
    #[error("cannot read the CIB: {spot}: {what}; is it the right file?")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// Where the bound was met.
        spot: Spot,
    },
    /// The outermost element is another one.
    #[error("cannot read the CIB: {spot}: it is <{found}>, not <cib>; is it the right file?")]
    WrongRoot {
        /// The outermost element, cut to 80 characters.
        found: String,
        /// Where it begins.
        spot: Spot,
    },
}
