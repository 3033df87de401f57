//! A source that tells of a subset of what another one finds.

use async_trait::async_trait;
use tokio::sync::watch;

use super::Subset;
use crate::discovery::{Discovery, DiscoveryError, Found};
use crate::endpoint::Endpoint;

/// The subset of what a source finds; it is taken anew when the settings change, such as when this
/// program is told that there are more clients now.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_lb::discovery::{Discovery, StaticList};
/// use ha_lb::endpoint::parse_list;
/// use ha_lb::subset::{Aperture, SubsetList};
///
/// let all = StaticList::new(parse_list("a=192.0.2.1:80,b=192.0.2.2:80,c=192.0.2.3:80")?);
/// let (fleet, settings) = tokio::sync::watch::channel(Aperture::new(0, 3)?.with_least(1));
/// let mut list = SubsetList::new(all, settings);
/// assert_eq!(list.next().await?.endpoints.len(), 1);
/// fleet.send(Aperture::new(0, 1)?)?; // the others have left
/// assert_eq!(list.next().await?.endpoints.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct SubsetList<D, S> {
    discovery: D,
    settings: watch::Receiver<S>,
    settings_ended: bool,
    discovery_ended: bool,
    /// The whole list, as it was found last.
    all: Option<Vec<Endpoint>>,
}

impl<D, S> SubsetList<D, S> {
    /// The subset that `settings` say, of what `discovery` finds.
    #[must_use]
    pub const fn new(discovery: D, settings: watch::Receiver<S>) -> Self {
        let (settings_ended, discovery_ended) = (false, false);
        Self { discovery, settings, settings_ended, discovery_ended, all: None }
    }
}

impl<D, S: Subset + 'static> SubsetList<D, S> {
    /// Always the same subset of what `discovery` finds.
    #[must_use]
    pub fn fixed(discovery: D, subset: S) -> Self {
        // The sender goes at once: the settings stay.
        Self::new(discovery, watch::channel(subset).1)
    }
}

#[async_trait]
impl<D: Discovery, S: Subset> Discovery for SubsetList<D, S> {
    fn source(&self) -> String {
        format!("a subset of {}", self.discovery.source())
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        loop {
            let mut found = tokio::select! { biased;
                found = self.discovery.next(), if !self.discovery_ended => match found {
                    Err(DiscoveryError::Ended) => {
                        self.discovery_ended = true;
                        continue;
                    }
                    found => found?,
                },
                changed = self.settings.changed(), if !self.settings_ended => {
                    self.settings_ended = changed.is_err();
                    match (&self.all, changed) {
                        (Some(all), Ok(())) => Found::new(all.clone()),
                        _ => continue,
                    }
                }
                else => return Err(DiscoveryError::Ended),
            };
            // No await from here on: a list that was taken is given.
            self.all = Some(found.endpoints.clone());
            found.endpoints = self.settings.borrow_and_update().apply(found.endpoints);
            return Ok(found);
        }
    }
}
