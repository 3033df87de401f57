//! Where a pool's endpoints come from: a list, a channel, a file, DNS, or your own source.
//!
//! ```text
//!  StaticList, WatchList, ChannelList ─┐            full lists
//!  WatchedFile (feature `file`) ───────┼─▶ Discovery ────────▶ Follower ─▶ Pool::update
//!  Dns (feature `dns`) ────────────────┘        │                 │
//!                                               └── errors ───────┴─▶ Status, Observer, log
//! ```
//!
//! A source tells of the whole list each time; the pool works out what changed. A source that
//! fails, or that answers with nothing, takes no endpoint away: the last good list stays. What is
//! wrong is told.

#[cfg(feature = "tokio")]
pub mod channel;
#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "file")]
pub mod file;
#[cfg(feature = "tokio")]
pub mod follow;

use std::fmt;
use std::io;

use async_trait::async_trait;
use ha_core::config::ConfigError;

use crate::endpoint::Endpoint;

/// A source of endpoints.
///
/// ```
/// use async_trait::async_trait;
/// use ha_lb::discovery::{Discovery, DiscoveryError, Found};
///
/// /// Asks a registry of yours.
/// #[derive(Debug)]
/// struct Registry;
///
/// #[async_trait]
/// impl Discovery for Registry {
///     fn source(&self) -> String {
///         "registry".to_owned()
///     }
///
///     async fn next(&mut self) -> Result<Found, DiscoveryError> {
///         // … wait until it has something new …
///         Err(DiscoveryError::Failed { what: "the registry does not answer".to_owned() })
///     }
/// }
/// ```
#[async_trait]
pub trait Discovery: fmt::Debug + Send {
    /// What the endpoints come from, for people: `file /etc/backends`.
    fn source(&self) -> String;

    /// Waits for the next full list; the first call gives the list as it is.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError::Ended`] when there will never be another list. After any other error the
    /// next call goes on looking; a source that fails for long should wait longer each time.
    ///
    /// # Cancel safety
    ///
    /// An implementation must be cancel safe: no list is lost when the future is dropped.
    async fn next(&mut self) -> Result<Found, DiscoveryError>;
}

#[async_trait]
impl<D: Discovery + ?Sized> Discovery for Box<D> {
    fn source(&self) -> String {
        (**self).source()
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        (**self).next().await
    }
}

/// A full list of endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// What a person should know of it, such as records that were left out.
    pub notes: Vec<String>,
}

impl Found {
    /// A list that nothing is to be said about.
    #[must_use]
    pub const fn new(endpoints: Vec<Endpoint>) -> Self {
        Self { endpoints, notes: Vec::new() }
    }

    /// Adds what a person should know.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// A source has no list for us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// What the source says is not a list of endpoints.
    #[error("cannot read the endpoints")]
    Content(#[source] ConfigError),
    /// The source has an answer, but there is no endpoint in it.
    #[error("cannot use the answer: {what}; the last good one stays")]
    Empty {
        /// What was answered.
        what: String,
    },
    /// There will be no further list.
    #[error("the source has ended: its last list stays")]
    Ended,
    /// The source does not work; for sources of your own.
    #[error("cannot find endpoints: {what}")]
    Failed {
        /// What does not work, and what to do.
        what: String,
    },
    /// The question could not be answered.
    #[error("cannot look up {name}: {why}; the last good answer stays")]
    Lookup {
        /// The name that was asked for.
        name: String,
        /// Why there is no answer.
        why: String,
    },
    /// The file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// A list that never changes.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_lb::discovery::{Discovery, DiscoveryError, StaticList};
/// use ha_lb::endpoint::parse_list;
///
/// let mut list = StaticList::new(parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?);
/// assert_eq!(list.next().await?.endpoints.len(), 2);
/// assert!(matches!(list.next().await, Err(DiscoveryError::Ended)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct StaticList(Option<Vec<Endpoint>>);

impl StaticList {
    /// The list.
    #[must_use]
    pub const fn new(endpoints: Vec<Endpoint>) -> Self {
        Self(Some(endpoints))
    }
}

#[async_trait]
impl Discovery for StaticList {
    fn source(&self) -> String {
        "static list".to_owned()
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        self.0.take().map(Found::new).ok_or(DiscoveryError::Ended)
    }
}
