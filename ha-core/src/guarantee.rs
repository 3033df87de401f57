//! The two guarantees, and the types that keep them apart.
//!
//! *At most one* needs quorum and fencing and, in doubt, stops. *At least one* needs neither and,
//! in doubt, serves. A thing that was made for one must not be run under the other:
//!
//! ```
//! use ha_core::guarantee::{AtLeastOne, AtMostOne, Claim};
//!
//! fn serve_by_vrrp(address: impl Into<Claim<&'static str, AtLeastOne>>) -> String {
//!     format!("{} is served by at least one router", address.into())
//! }
//!
//! serve_by_vrrp("192.0.2.10/24"); // a plain value takes the guarantee of its user
//! ```
//!
//! ```compile_fail
//! # use ha_core::guarantee::{AtLeastOne, AtMostOne, Claim};
//! # fn serve_by_vrrp(address: impl Into<Claim<&'static str, AtLeastOne>>) {}
//! // The address of a database's only primary must not be claimed by two routers at once.
//! serve_by_vrrp(Claim::<_, AtMostOne>::new("192.0.2.10/24"));
//! ```

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// How many places may, or must, hold a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "the two guarantees are the field's, and no third")]
pub enum Guarantee {
    /// Active in at most one place; perhaps nowhere after a dirty failure. Needs quorum and
    /// fencing. For file systems, disks, databases (Pacemaker, Heartbeat).
    AtMostOne,
    /// Served in at least one place; perhaps in two during a split. Needs neither quorum nor
    /// fencing, and reacts in milliseconds. For routers, firewalls, proxies (keepalived, ucarp).
    AtLeastOne,
}

impl Guarantee {
    /// What to do with a thing whose state is in doubt: `true` means stop it.
    #[must_use]
    pub const fn stops_in_doubt(self) -> bool {
        matches!(self, Self::AtMostOne)
    }

    /// Accepts `what` only if `self`, its guarantee, is the one that `needed` asks for.
    ///
    /// This is the check for configuration, where types cannot help.
    ///
    /// # Errors
    ///
    /// [`GuaranteeError`] names the thing, both guarantees and the remedy.
    ///
    /// ```
    /// use ha_core::guarantee::Guarantee;
    ///
    /// let error = Guarantee::AtMostOne.require(Guarantee::AtLeastOne, "address 192.0.2.10/24");
    /// assert!(error.is_err_and(|error| error.to_string().contains("ha-crm")));
    /// ```
    pub fn require(self, needed: Self, what: &str) -> Result<(), GuaranteeError> {
        if self == needed {
            return Ok(());
        }
        Err(GuaranteeError { what: what.to_owned(), has: self, needed })
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AtMostOne => "at-most-one",
            Self::AtLeastOne => "at-least-one",
        })
    }
}

/// A thing was given to a user that keeps the other guarantee.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot run {what} here: it is {has}, this keeps {needed}; {}", remedy(*.has))]
#[non_exhaustive]
pub struct GuaranteeError {
    /// The thing.
    pub what: String,
    /// The guarantee that the thing asks for.
    pub has: Guarantee,
    /// The guarantee that its would-be user keeps.
    pub needed: Guarantee,
}

const fn remedy(has: Guarantee) -> &'static str {
    match has {
        Guarantee::AtMostOne => "give it to a cluster with quorum and fencing (ha-crm)",
        Guarantee::AtLeastOne => "give it to a virtual router (ha-vip), or declare it at-most-one",
    }
}

/// The type-level name of [`Guarantee::AtMostOne`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AtMostOne;

/// The type-level name of [`Guarantee::AtLeastOne`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AtLeastOne;

/// One of [`AtMostOne`] and [`AtLeastOne`].
pub trait GuaranteeKind: sealed::Sealed + fmt::Debug + Copy + Send + Sync + 'static {
    /// The same, as a value.
    const GUARANTEE: Guarantee;
}

impl GuaranteeKind for AtMostOne {
    const GUARANTEE: Guarantee = Guarantee::AtMostOne;
}

impl GuaranteeKind for AtLeastOne {
    const GUARANTEE: Guarantee = Guarantee::AtLeastOne;
}

mod sealed {
    #[expect(unnameable_types, reason = "that is what seals a trait")]
    pub trait Sealed {}
    impl Sealed for super::AtMostOne {}
    impl Sealed for super::AtLeastOne {}
}

/// A thing, and the guarantee under which it may be used.
///
/// A plain `T` turns into a claim of either kind; a claim never turns into one of the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim<T, G: GuaranteeKind> {
    thing: T,
    kind: PhantomData<G>,
}

impl<T, G: GuaranteeKind> Claim<T, G> {
    /// Claims `thing` under the guarantee `G`.
    pub const fn new(thing: T) -> Self {
        Self { thing, kind: PhantomData }
    }

    /// Gives the thing back; what becomes of it now is the caller's duty.
    pub fn into_inner(self) -> T {
        self.thing
    }

    /// Borrows the thing.
    pub const fn get(&self) -> &T {
        &self.thing
    }

    /// The guarantee as a value.
    #[must_use]
    pub const fn guarantee(&self) -> Guarantee {
        G::GUARANTEE
    }
}

impl<T, G: GuaranteeKind> From<T> for Claim<T, G> {
    fn from(thing: T) -> Self {
        Self::new(thing)
    }
}

impl<T: fmt::Display, G: GuaranteeKind> fmt::Display for Claim<T, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.thing.fmt(f)
    }
}
