//! The side of a person's or program's command.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_core::driver::pause;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::line::Lines;
use super::wire::Misunderstood;
use super::{ControlError, MAX_ANSWER};
use crate::manager::{Request, Response};

/// A connection to a node's control socket; see the [module](super) for an example.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    /// None while a request is under way, and after one that was given up: the next one has a
    /// connection of its own, so that it gets no answer to another.
    lines: Option<Lines>,
}

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
        let socket = socket.into();
        let lines = Some(connect(&socket).await?);
        Ok(Self { socket, lines })
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
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => connect(&self.socket).await?,
        };
        let answer = exchange(&self.socket, &mut lines, request, Some(limit)).await?;
        self.lines = Some(lines);
        Ok(answer)
    }
}

pub(super) async fn connect(socket: &Path) -> Result<Lines, ControlError> {
    Lines::connect(socket)
        .await
        .map_err(|source| ControlError::Unreachable { socket: socket.to_owned(), source })
}

/// Sends a line and reads the answer, for at most `limit`.
///
/// Not cancel safe: the answer to this may be read as that to the next.
pub(super) async fn exchange<T: DeserializeOwned>(
    socket: &Path,
    lines: &mut Lines,
    ask: &impl Serialize,
    limit: Option<Duration>,
) -> Result<T, ControlError> {
    let socket = || socket.to_owned();
    let closed = |source| ControlError::Closed { socket: socket(), source };
    let late = async {
        match limit {
            Some(limit) => pause(limit).await.map(|()| limit),
            None => std::future::pending().await,
        }
    };
    let talk = async {
        // One that was turned away cannot be written to, but says why.
        let written = lines.write(ask).await;
        match lines.read(MAX_ANSWER).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => {
                written?;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Err(error) => Err(error),
        }
    };
    let line = tokio::select! { biased;
        line = talk => line.map_err(closed)?,
        late = late => {
            let limit = late.map_err(closed)?;
            return Err(ControlError::NoAnswer { socket: socket(), limit });
        }
    };
    if let Ok(Misunderstood { error: reason }) = serde_json::from_slice(&line) {
        return Err(ControlError::Refused { socket: socket(), reason });
    }
    let strange = |source| ControlError::Strange { socket: socket(), source };
    serde_json::from_slice(&line).map_err(strange)
}
