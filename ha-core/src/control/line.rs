//! Lines of bounded length on a Unix stream.

use std::io;
use std::path::Path;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A connection that speaks in lines of bounded length.
#[derive(Debug)]
pub struct Lines(BufReader<UnixStream>);

impl Lines {
    /// Speaks in lines on this connection.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    pub(super) async fn connect(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).await.map(Self::new)
    }

    /// The next line that is not empty, with its end; `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::FileTooLarge`] if it has more than `limit` bytes, and the system's.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: part of a line may be lost.
    pub async fn read(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        loop {
            let mut line = Vec::new();
            (&mut self.0).take(most).read_until(b'\n', &mut line).await?;
            if line.is_empty() {
                return Ok(None);
            }
            if line.len() > limit && line.last() != Some(&b'\n') {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Writes a line that has its end.
    ///
    /// # Errors
    ///
    /// The system's.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: part of the line may have been written.
    pub async fn send(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(line).await
    }

    /// Waits until the other side will say no more; for ever if it says more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ended(&mut self) {
        if matches!(self.0.fill_buf().await, Ok([_, ..])) {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the other side is there and has said nothing that was not asked for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let nothing = |read: io::Result<usize>| {
            read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        self.0.buffer().is_empty() && nothing(self.0.get_ref().try_read(&mut [0]))
    }
}

/// A value as a line.
pub(super) fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
