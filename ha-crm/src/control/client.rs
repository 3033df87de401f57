//! The side of a person's or program's command.

use std::path::PathBuf;
use std::time::Duration;

use ha_core::control;

use super::ControlError;
use crate::manager::{Request, Response};

/// A connection to a node's control socket; see the [module](super) for an example.
#[derive(Debug)]
pub struct Client(control::Client);

impl Client {
    /// Connects to the node that listens on `socket`.
    ///
    /// # Errors
    ///
    /// [`ControlError::Unreachable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(socket: impl Into<PathBuf>) -> Result<Self, ControlError> {
        control::Client::connect(socket).await.map(Self)
    }

    /// Asks, and waits for the answer for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; a request that the cluster refuses is an answer.
    ///
    /// # Cancel safety
    ///
    /// When dropped it may have been done. The next call connects anew.
    pub async fn ask(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, ControlError> {
        self.0.ask(request, limit).await
    }
}
