//! Leases: the right to act, for a while, with a token that storage can check.

mod memory;
mod store;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::effect::Effect;
use ha_core::id::{FencingToken, NodeName};
use ha_core::time::Instant;

pub use self::memory::MemoryLeases;
pub use self::store::StoreLeases;
use crate::key::{Key, KeyError};

/// The shortest time to live that a store takes: below it, scheduling delays eat the lease.
pub const MIN_TTL: Duration = Duration::from_millis(10);
/// The longest time to live that a store takes: a holder that died blocks for so long.
pub const MAX_TTL: Duration = Duration::from_hours(24);

/// Grants each lease to at most one holder at a time.
///
/// The holder's clock and the store's may run at different rates: a store waits some margin longer
/// than the holder counts, and says how much. Every grant has a higher
/// [token](ha_core::id::FencingToken) than all before it of the same name, so that a holder
/// that slept through the end of its lease can be refused by what it writes to.
#[async_trait]
pub trait LeaseStore: fmt::Debug + Send + Sync {
    /// Takes a lease that nobody holds, for `ttl` from the moment of the call.
    ///
    /// A holder does not get its own lease a second time: two processes of one name would both
    /// believe in it. It waits for the end, or keeps the [`Lease`].
    ///
    /// # Errors
    ///
    /// [`LeaseError::Held`], [`LeaseError::Ttl`], or [`LeaseError::Unavailable`]: then the lease
    /// may have been granted, and ends by itself.
    ///
    /// # Cancel safety
    ///
    /// When dropped the lease may have been granted; it ends by itself.
    async fn acquire(
        &self,
        name: &Key,
        holder: &NodeName,
        ttl: Duration,
    ) -> Result<Lease, LeaseError>;

    /// Prolongs a lease to `ttl` from the moment of the call; the token stays the same.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Lost`] when it ended: stop at once. [`LeaseError::Unavailable`]: the old end
    /// still holds; try again until then.
    ///
    /// # Cancel safety
    ///
    /// When dropped the lease may have been prolonged; count on the old end.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LeaseError>;

    /// Gives a lease back; others can have it at once. Giving back what has ended is well.
    ///
    /// Stop what the lease allowed *before*.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Unavailable`]: it then ends by itself.
    ///
    /// # Cancel safety
    ///
    /// When dropped the lease may have been given back.
    async fn release(&self, lease: Lease) -> Result<(), LeaseError>;

    /// Who holds a lease, as far as the store knows now.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Unavailable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    async fn holder(&self, name: &Key) -> Result<Option<(NodeName, FencingToken)>, LeaseError>;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        #[async_trait]
        impl<L: LeaseStore + ?Sized> LeaseStore for $pointer {
            async fn acquire(
                &self,
                name: &Key,
                holder: &NodeName,
                ttl: Duration,
            ) -> Result<Lease, LeaseError> {
                (**self).acquire(name, holder, ttl).await
            }
            async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<Lease, LeaseError> {
                (**self).renew(lease, ttl).await
            }
            async fn release(&self, lease: Lease) -> Result<(), LeaseError> {
                (**self).release(lease).await
            }
            async fn holder(
                &self,
                name: &Key,
            ) -> Result<Option<(NodeName, FencingToken)>, LeaseError> {
                (**self).holder(name).await
            }
        }
    )*};
}

forward!(&L, Box<L>, Arc<L>);

/// A lease that was granted, which may have ended since.
///
/// The token, without which nothing can be done, is given out only against the time: so whoever
/// was paused finds out before it acts.
///
/// ```
/// use std::time::Duration;
/// use ha_core::id::FencingToken;
/// use ha_core::time::Instant;
/// use ha_membership::lease::Lease;
///
/// let until = Instant::from_secs(10);
/// let lease = Lease::new("db".parse()?, "n1".parse()?, FencingToken::FIRST, until);
/// assert_eq!(lease.token(Instant::from_secs(9))?, FencingToken::FIRST);
/// assert!(lease.token(Instant::from_secs(10)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a lease that is not kept cannot be renewed or given back"]
pub struct Lease {
    name: Key,
    holder: NodeName,
    token: FencingToken,
    until: Instant,
}

impl Lease {
    /// What a [`LeaseStore`] makes when it has granted a lease.
    ///
    /// `until` is on the holder's clock: the moment *before* the request was sent, plus the time
    /// to live.
    pub const fn new(name: Key, holder: NodeName, token: FencingToken, until: Instant) -> Self {
        Self { name, holder, token, until }
    }

    /// The token, if the lease has not ended at `now`; ask before *each* effect.
    ///
    /// # Errors
    ///
    /// [`LeaseError::Lost`] at and after its end.
    pub fn token(&self, now: Instant) -> Result<FencingToken, LeaseError> {
        if now < self.until {
            return Ok(self.token);
        }
        Err(LeaseError::Lost { name: self.name.clone(), holder: self.holder.clone() })
    }

    /// How much is left at `now`; zero when it has ended.
    #[must_use]
    pub const fn remaining(&self, now: Instant) -> Duration {
        self.until.since(now)
    }

    /// When it ends, on the holder's clock.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// What it is a lease of.
    #[must_use]
    pub const fn name(&self) -> &Key {
        &self.name
    }

    /// Who holds it.
    #[must_use]
    pub const fn holder(&self) -> &NodeName {
        &self.holder
    }

    /// The token whether or not the lease has ended: for the store, to tell grants apart.
    #[must_use]
    pub const fn granted_token(&self) -> FencingToken {
        self.token
    }
}

/// A lease could not be taken, kept or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody holds it.
    #[error("cannot take lease {name}: {by} holds it; wait {remaining:?} or let {by} give it back")]
    Held {
        /// The lease.
        name: Key,
        /// The holder.
        by: NodeName,
        /// For how much longer, unless it is renewed.
        remaining: Duration,
    },
    /// It has ended; somebody else may hold it.
    #[error(
        "cannot use lease {name}: that of {holder} has ended; stop what it allowed, take it anew"
    )]
    Lost {
        /// The lease.
        name: Key,
        /// Who held it.
        holder: NodeName,
    },
    /// The name is too long for the store.
    #[error("cannot use lease {name}: the store has no room for its name; choose a shorter one")]
    Name {
        /// The lease.
        name: Key,
        /// What the store says.
        #[source]
        source: KeyError,
    },
    /// The time to live is not one.
    #[error("cannot grant lease {name} for {ttl:?}: choose {MIN_TTL:?} to {MAX_TTL:?}")]
    Ttl {
        /// The lease.
        name: Key,
        /// What was asked for.
        ttl: Duration,
    },
    /// The store gave no answer.
    #[error(
        "cannot tell whether lease {name} was changed: the store gave no answer; try again before its end"
    )]
    Unavailable {
        /// The lease.
        name: Key,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl LeaseError {
    /// Whether the action may have happened all the same.
    #[must_use]
    pub const fn effect(&self) -> Effect {
        match self {
            Self::Held { .. } | Self::Lost { .. } | Self::Name { .. } | Self::Ttl { .. } => {
                Effect::None
            }
            Self::Unavailable { .. } => Effect::Unknown,
        }
    }
}

fn checked(name: &Key, ttl: Duration) -> Result<Duration, LeaseError> {
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(ttl);
    }
    Err(LeaseError::Ttl { name: name.clone(), ttl })
}
