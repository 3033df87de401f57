//! Holds a lease, and says in time when what it allows must end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::{Alarm, pause};
use ha_core::time::{BootClock, Clock, Instant};
use ha_membership::lease::{Lease, LeaseError, LeaseStore};

/// What must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Word {
    /// End what the lease allows, in order, and soon.
    End,
    /// End it by force, now.
    Kill,
}

/// Renews a lease every third of its time to live.
///
/// If that fails, a third of the time to live before the end it says [`Word::End`], and a tenth
/// before it [`Word::Kill`]: of a lease of 5 s, 1.67 s and 0.5 s before. So what the lease allows
/// has 23 % of the time to live to end in order, and a process that is scheduled up to a tenth of it
/// late has still ended in time. When the store says that the lease is lost it is `Kill` at once.
#[derive(Debug)]
pub struct Keeper {
    leases: Arc<dyn LeaseStore>,
    lease: Lease,
    ttl: Duration,
    renew_at: Instant,
    stage: Stage,
    alarm: Alarm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Kept,
    Ending,
    Over,
}

impl Keeper {
    /// Keeps a lease that was taken for `ttl`.
    ///
    /// # Errors
    ///
    /// When there is no timer to be had.
    pub fn new(leases: Arc<dyn LeaseStore>, lease: Lease, ttl: Duration) -> io::Result<Self> {
        let renew_at = lease.until() - ttl / 3 * 2;
        Ok(Self { leases, lease, ttl, renew_at, stage: Stage::Kept, alarm: Alarm::new()? })
    }

    /// The lease as it was last renewed.
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether there is enough left of the lease to begin something.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.stage == Stage::Kept && BootClock::new().now() < self.end_at()
    }

    /// Renews the lease again and again, until something must be done.
    ///
    /// # Errors
    ///
    /// When the timer fails: then what the lease allows must end at once.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the lease is renewed by the next call.
    pub async fn word(&mut self) -> io::Result<Word> {
        loop {
            let kill_at = self.lease.until() - self.ttl / 10;
            match self.stage {
                Stage::Over => std::future::pending().await,
                Stage::Ending => {
                    self.alarm.until(Some(kill_at)).await?;
                    self.stage = Stage::Over;
                    return Ok(Word::Kill);
                }
                Stage::Kept => {}
            }
            self.alarm.until(Some(self.renew_at.min(self.end_at()))).await?;
            let now = BootClock::new().now();
            if now >= self.end_at() {
                self.stage = if now < kill_at { Stage::Ending } else { Stage::Over };
                return Ok(if now < kill_at { Word::End } else { Word::Kill });
            }
            let renewed = tokio::select! { biased;
                renewed = self.leases.renew(&self.lease, self.ttl) => renewed,
                late = self.alarm.until(Some(self.end_at())) => { late?; continue }
            };
            match renewed {
                Ok(lease) => {
                    self.renew_at = lease.until() - self.ttl / 3 * 2;
                    self.lease = lease;
                }
                Err(error @ LeaseError::Lost { .. }) => {
                    tracing::warn!(%error, "lease lost");
                    self.stage = Stage::Over;
                    return Ok(Word::Kill);
                }
                Err(error) => {
                    tracing::warn!(%error, "lease not renewed, trying again");
                    self.renew_at = BootClock::new().now() + self.ttl / 20;
                }
            }
        }
    }

    /// Gives the lease back, after what it allowed has ended; tries for as long as it lasts.
    ///
    /// # Errors
    ///
    /// As [`LeaseStore::release`]: it then ends by itself.
    ///
    /// # Cancel safety
    ///
    /// When dropped the lease may have been given back.
    pub async fn give_back(self) -> Result<(), LeaseError> {
        let left = self.lease.remaining(BootClock::new().now());
        tokio::select! { biased;
            released = self.leases.release(self.lease) => released,
            _timer = pause(left) => Ok(()),
        }
    }

    fn end_at(&self) -> Instant {
        self.lease.until() - self.ttl / 3
    }
}
