//! Which part of a request decides where it goes.
//!
//! # Source
//!
//! HAProxy's `balance source`, `uri` (`len`, `depth`, `whole`), `url_param`, `hdr(NAME)`, and
//! `hash` over any sample; a cookie's value is nginx's `hash $cookie_NAME`.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use ha_core::config::ConfigError;

/// What a request is placed by.
///
/// A proxy takes the bytes out of each request and gives them to the pick
/// ([`PickContext::with_hash_key`]); so does a program of its own.
///
/// [`PickContext::with_hash_key`]: crate::balancer::PickContext::with_hash_key
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Key {
    /// The address of the client.
    #[default]
    Source,
    /// Any bytes that the program gives.
    Bytes,
    /// The target of the request.
    Uri(UriKey),
    /// The value of a query parameter (HAProxy's `url_param`).
    Query(Arc<str>),
    /// The value of a header (HAProxy's `hdr`); names are compared without case.
    Header(Arc<str>),
    /// The value of a cookie.
    Cookie(Arc<str>),
}

impl FromStr for Key {
    type Err = ConfigError;

    /// Reads `source`, `uri[,len=N][,depth=N][,whole=true|false]`, `query,name=PARAMETER`,
    /// `header,name=HEADER` or `cookie,name=COOKIE`.
    ///
    /// ```
    /// use ha_lb::algorithm::hash::Key;
    ///
    /// assert_eq!("header,name=x-user".parse(), Ok(Key::Header("x-user".into())));
    /// let error = "header".parse::<Key>().unwrap_err().to_string();
    /// assert!(error.starts_with("key.name: nothing is not allowed: a name"), "{error}");
    /// ```
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        crate::algorithm::parse::key_alone(text)
    }
}

/// Which part of a request's target is the key; default: all before the `?`.
///
/// ```
/// use ha_lb::algorithm::hash::UriKey;
///
/// let target = b"/images/2026/cat.png?size=2";
/// assert_eq!(UriKey::default().of(target), b"/images/2026/cat.png");
/// assert_eq!(UriKey::default().with_depth(1).of(target), b"/images");
/// assert_eq!(UriKey::default().with_len(4).of(target), b"/ima");
/// assert_eq!(UriKey::default().with_whole(true).of(target), target);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UriKey {
    len: Option<NonZeroU16>,
    depth: Option<NonZeroU16>,
    whole: bool,
}

impl UriKey {
    /// Sets how many bytes count; 0, the default, is all (HAProxy's `len`).
    #[must_use]
    pub const fn with_len(mut self, len: u16) -> Self {
        self.len = NonZeroU16::new(len);
        self
    }

    /// Sets how many directories count: the key ends before the slash after the last of them; 0, the
    /// default, is all (HAProxy's `depth`).
    #[must_use]
    pub const fn with_depth(mut self, depth: u16) -> Self {
        self.depth = NonZeroU16::new(depth);
        self
    }

    /// Sets whether the query counts too; default: it does not (HAProxy's `whole`).
    #[must_use]
    pub const fn with_whole(mut self, whole: bool) -> Self {
        self.whole = whole;
        self
    }

    /// The key in a request's target.
    #[must_use]
    pub fn of(self, target: &[u8]) -> &[u8] {
        let len = self.len.map_or(target.len(), |len| usize::from(len.get()).min(target.len()));
        let mut slashes = 0;
        let end = target.iter().take(len).position(|byte| {
            slashes += u16::from(*byte == b'/');
            let deep = self.depth.is_some_and(|depth| slashes > depth.get());
            (*byte == b'/' && deep) || (*byte == b'?' && !self.whole)
        });
        target.get(..end.unwrap_or(len)).unwrap_or_default()
    }
}

impl fmt::Display for UriKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(len) = self.len {
            write!(f, ",len={len}")?;
        }
        if let Some(depth) = self.depth {
            write!(f, ",depth={depth}")?;
        }
        if self.whole { f.write_str(",whole=true") } else { Ok(()) }
    }
}

/// The value of a query parameter in a request's target; `None` if it is not there.
///
/// ```
/// use ha_lb::algorithm::hash::query_parameter;
///
/// assert_eq!(query_parameter(b"/p?z=1&k=17", "k"), Some(&b"17"[..]));
/// assert_eq!(query_parameter(b"/p?key=17", "k"), None);
/// ```
#[must_use]
pub fn query_parameter<'a>(target: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let start = target.iter().position(|byte| *byte == b'?')?;
    let query = target.get(start + 1..)?;
    query.split(|byte| *byte == b'&').find_map(|pair| value_of(pair, name))
}

/// The value of a cookie in a `Cookie` header (RFC 6265, section 4.2); `None` if it is not there.
///
/// ```
/// use ha_lb::algorithm::hash::cookie;
///
/// assert_eq!(cookie(b"theme=dark; session=a17", "session"), Some(&b"a17"[..]));
/// ```
#[must_use]
pub fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| value_of(pair.trim_ascii(), name))
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The words of an address together, as HAProxy hashes it: by exclusive or.
pub(super) fn words(client: IpAddr) -> u32 {
    match client {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            [96, 64, 32, 0].iter().fold(0, |words, shift| words ^ low(bits >> shift))
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is asked for")]
const fn low(bits: u128) -> u32 {
    bits as u32
}
