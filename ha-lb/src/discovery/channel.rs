//! Lists that another part of the program sends.

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::{Discovery, DiscoveryError, Found};
use crate::endpoint::Endpoint;

/// Lists from a [`watch`] channel: only the newest counts.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_lb::discovery::Discovery;
/// use ha_lb::discovery::channel::WatchList;
/// use ha_lb::endpoint::parse_list;
///
/// let (sender, receiver) = tokio::sync::watch::channel(parse_list("a=192.0.2.1:80")?);
/// let mut list = WatchList::new(receiver);
/// assert_eq!(list.next().await?.endpoints.len(), 1);
/// sender.send(parse_list("a=192.0.2.1:80,b=192.0.2.2:80")?)?;
/// assert_eq!(list.next().await?.endpoints.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct WatchList(watch::Receiver<Vec<Endpoint>>);

impl WatchList {
    /// The list that the channel has now, and those that follow.
    #[must_use]
    pub fn new(mut receiver: watch::Receiver<Vec<Endpoint>>) -> Self {
        receiver.mark_changed();
        Self(receiver)
    }
}

#[async_trait]
impl Discovery for WatchList {
    fn source(&self) -> String {
        "channel".to_owned()
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        self.0.changed().await.map_err(|_| DiscoveryError::Ended)?;
        Ok(Found::new(self.0.borrow_and_update().clone()))
    }
}

/// Lists from an [`mpsc`] channel; of several that wait only the last one counts.
#[derive(Debug)]
pub struct ChannelList(mpsc::Receiver<Vec<Endpoint>>);

impl ChannelList {
    /// The lists that are sent.
    #[must_use]
    pub const fn new(receiver: mpsc::Receiver<Vec<Endpoint>>) -> Self {
        Self(receiver)
    }
}

#[async_trait]
impl Discovery for ChannelList {
    fn source(&self) -> String {
        "channel".to_owned()
    }

    async fn next(&mut self) -> Result<Found, DiscoveryError> {
        let mut newest = self.0.recv().await.ok_or(DiscoveryError::Ended)?;
        // No await from here on: a list that was taken is given.
        while let Ok(newer) = self.0.try_recv() {
            newest = newer;
        }
        Ok(Found::new(newest))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::endpoint::parse_list;

    fn list(text: &str) -> Vec<Endpoint> {
        parse_list(text).expect("endpoints")
    }

    #[tokio::test]
    async fn of_several_lists_the_last_counts_and_a_closed_channel_ends() {
        let (sender, receiver) = mpsc::channel(4);
        let mut discovery = ChannelList::new(receiver);
        for text in ["a=192.0.2.1:80", "b=192.0.2.2:80"] {
            sender.send(list(text)).await.expect("there is room");
        }
        let found = discovery.next().await.expect("sent");
        assert_eq!(found.endpoints, list("b=192.0.2.2:80"));
        drop(sender);
        assert!(matches!(discovery.next().await, Err(DiscoveryError::Ended)));
    }

    #[tokio::test]
    async fn the_last_list_of_a_sender_that_went_is_given() {
        let (sender, receiver) = watch::channel(list("a=192.0.2.1:80"));
        let mut discovery = WatchList::new(receiver);
        sender.send(list("b=192.0.2.2:80")).expect("received");
        drop(sender);
        let found = discovery.next().await.expect("it was sent before");
        assert_eq!(found.endpoints, list("b=192.0.2.2:80"));
        assert!(matches!(discovery.next().await, Err(DiscoveryError::Ended)));
    }
}
