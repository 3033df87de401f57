//! The side of a person's or program's command.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::line::{Lines, encode};
use super::{ControlError, MAX_ANSWER, Misunderstood};
use crate::driver::pause;

/// A connection to a control socket; see the [module](super) for an example.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    /// None while a request is under way, and after one that was given up: the next one has a
    /// connection of its own, so that it gets no answer to another.
    lines: Option<Lines>,
}

impl Client {
    /// Connects to the program that listens on `socket`.
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

    /// Sends a request as a line, and waits for the answer for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    ///
    /// # Cancel safety
    ///
    /// When dropped it may have been done. The next call connects anew.
    pub async fn ask<T: DeserializeOwned>(
        &mut self,
        request: &(impl Serialize + Sync),
        limit: Duration,
    ) -> Result<T, ControlError> {
        let mut lines = match self.lines.take() {
            Some(lines) => lines,
            None => connect(&self.socket).await?,
        };
        let answer = exchange(&self.socket, &mut lines, request, limit).await?;
        self.lines = Some(lines);
        Ok(answer)
    }

    /// The error of an answer that is a refusal in the words of its own protocol.
    #[must_use]
    pub fn refused(&self, reason: impl Into<String>) -> ControlError {
        ControlError::Refused { socket: self.socket.clone(), reason: reason.into() }
    }

    /// Whether the connection is there and nothing is under way on it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lines.as_ref().is_some_and(Lines::is_idle)
    }
}

async fn connect(socket: &Path) -> Result<Lines, ControlError> {
    Lines::connect(socket)
        .await
        .map_err(|source| ControlError::Unreachable { socket: socket.to_owned(), source })
}

/// Sends a line and reads the answer, for at most `limit`.
///
/// Not cancel safe: the answer to this may be read as that to the next.
async fn exchange<T: DeserializeOwned>(
    socket: &Path,
    lines: &mut Lines,
    ask: &(impl Serialize + Sync),
    limit: Duration,
) -> Result<T, ControlError> {
    let socket = || socket.to_owned();
    let closed = |source| ControlError::Closed { socket: socket(), source };
    let request = encode(ask).map_err(closed)?;
    let talk = async {
        // One that was turned away cannot be written to, but says why.
        let written = lines.send(&request).await;
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
        late = pause(limit) => {
            late.map_err(closed)?;
            return Err(ControlError::NoAnswer { socket: socket(), limit });
        }
    };
    if let Ok(Misunderstood { error: reason }) = serde_json::from_slice(&line) {
        return Err(ControlError::Refused { socket: socket(), reason });
    }
    let strange = |source| ControlError::Strange { socket: socket(), source };
    serde_json::from_slice(&line).map_err(strange)
}
