//! What managers say to each other on the channels: JSON, so that another version can tell what it
//! does not know.

use async_trait::async_trait;
use ha_core::id::NodeName;
use ha_membership::transport::channel::{Handler, Topic};
use tokio::sync::{mpsc, oneshot};

use crate::manager::message::Message;
use crate::manager::request::{Request, Response};

/// Messages between managers.
pub(super) const MANAGER: Topic = Topic::new(2);
/// Requests to the leader.
pub(super) const ASK: Topic = Topic::new(3);

/// Takes messages for the driver; what cannot be read or finds no room is dropped, as the sender
/// says it again.
#[derive(Debug)]
pub(super) struct Letters(pub(super) mpsc::Sender<(NodeName, Message)>);

#[async_trait]
impl Handler for Letters {
    async fn handle(&self, from: &NodeName, request: Vec<u8>) -> Vec<u8> {
        match serde_json::from_slice(&request) {
            Ok(message) => {
                if self.0.try_send((from.clone(), message)).is_err() {
                    tracing::warn!(%from, "a message was dropped: too many wait");
                }
            }
            Err(error) => tracing::warn!(%from, %error, "a message was dropped: it is none"),
        }
        Vec::new()
    }
}

/// Takes requests for the leader.
#[derive(Debug)]
pub(super) struct Asks(pub(super) mpsc::Sender<(Request, oneshot::Sender<Response>)>);

#[async_trait]
impl Handler for Asks {
    async fn handle(&self, from: &NodeName, request: Vec<u8>) -> Vec<u8> {
        let response = match serde_json::from_slice(&request) {
            Ok(request) => {
                let (answer, answered) = oneshot::channel();
                match self.0.send((request, answer)).await {
                    Ok(()) => answered.await.ok(),
                    Err(_) => None,
                }
            }
            Err(error) => {
                tracing::warn!(%from, %error, "a request was refused: it is none");
                Some(Response::refused(format!(
                    "cannot read the request: {error}; do both nodes run the same version?"
                )))
            }
        };
        let ended = || Response::refused("the leader's manager has ended; ask the new leader");
        serde_json::to_vec(&response.unwrap_or_else(ended)).unwrap_or_default()
    }
}
