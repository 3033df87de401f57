//! Tracks a BFD session.

use async_trait::async_trait;

use super::{TrackError, Tracker, Verdict};
use crate::bfd::SessionHandle;
use crate::bfd::wire::State;

/// Tracks whether a BFD session is up (keepalived's `track_bfd`): a session that has not come up
/// yet is down.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_vip::bfd::{Endpoints, Service, SessionConfig};
/// use ha_vip::track::{BfdTracker, Tracker};
///
/// let mut service = Service::new()?;
/// let uplink = Endpoints::new("192.0.2.1".parse()?, "192.0.2.254".parse()?);
/// let session = service.add(uplink, SessionConfig::builder().build()?)?;
/// let tracker = BfdTracker::new("uplink", session);
/// assert_eq!(tracker.name(), "uplink");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BfdTracker {
    name: String,
    session: SessionHandle,
    told: Verdict,
    known: State,
}

impl BfdTracker {
    /// Tracks the session, whose service must run.
    pub fn new(name: impl Into<String>, session: SessionHandle) -> Self {
        Self { name: name.into(), known: session.state(), session, told: Verdict::Unknown }
    }
}

#[async_trait]
impl Tracker for BfdTracker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn changed(&mut self) -> Result<Verdict, TrackError> {
        loop {
            let verdict = if self.known == State::Up { Verdict::Up } else { Verdict::Down };
            if verdict != self.told {
                self.told = verdict;
                return Ok(verdict);
            }
            let changed = self.session.changed(self.known).await;
            self.known = changed.map_err(|_| TrackError::Ended { name: self.name.clone() })?;
        }
    }
}
