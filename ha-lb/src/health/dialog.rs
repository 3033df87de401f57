//! Talking to a server within bounds: whatever it says, memory is limited; the monitor limits time.

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Failed, Target};

/// The most that a server may say in one check, in bytes: a Redis or MariaDB says far less.
const MAX_DIALOG: usize = 256 * 1024;

/// The longest line, in bytes; SMTP allows 512, HTTP servers commonly 8 KiB.
const MAX_LINE: usize = 8 * 1024;

/// How much is read at once, in bytes.
const PIECE: usize = 4 * 1024;

/// What a dialog can be held over: TCP, or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to the target.
pub(super) async fn connect(target: &Target) -> Result<TcpStream, Failed> {
    let stream = TcpStream::connect(target.address()).await;
    stream.map_err(|error| Failed::because(format_args!("cannot connect: {error}")))
}

/// A connection with what was read from it and not yet taken.
pub(super) struct Dialog<S> {
    stream: S,
    held: BytesMut,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialog<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, held: BytesMut::new(), left: MAX_DIALOG }
    }

    /// Sends all of `bytes`; `what` they are is said if that fails.
    pub(super) async fn send(&mut self, what: &str, bytes: &[u8]) -> Result<(), Failed> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| Failed::because(format_args!("cannot send {what}: {error}")))
    }

    /// Says goodbye: the server's answer, and whether it gets there, no longer matter.
    pub(super) async fn part(mut self, goodbye: &[u8]) {
        if self.send("a goodbye", goodbye).await.is_ok() {
            let _ended = self.stream.shutdown().await;
        }
    }

    /// Takes exactly `length` bytes.
    pub(super) async fn exactly(&mut self, what: &str, length: usize) -> Result<Bytes, Failed> {
        if length > self.held.len() + self.left {
            let reason = format_args!("says that {what} has {length} bytes, which is too long");
            return Err(Failed::because(reason));
        }
        while self.held.len() < length {
            self.read(what).await?;
        }
        Ok(self.held.split_to(length).freeze())
    }

    /// Takes one byte.
    pub(super) async fn byte(&mut self, what: &str) -> Result<u8, Failed> {
        Ok(self.exactly(what, 1).await?.first().copied().unwrap_or_default())
    }

    /// Takes a line up to its line feed, and returns it without its end.
    pub(super) async fn line(&mut self, what: &str) -> Result<String, Failed> {
        let mut seen = 0;
        loop {
            let end = self.held.iter().skip(seen).position(|byte| *byte == b'\n');
            if let Some(end) = end.map(|end| seen + end).filter(|end| *end < MAX_LINE) {
                let line = self.held.split_to(end + 1);
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            seen = self.held.len();
            if seen >= MAX_LINE {
                let reason = format_args!("{what} is a line of more than {MAX_LINE} bytes");
                return Err(Failed::because(reason));
            }
            self.read(what).await?;
        }
    }

    /// The bare connection, to be secured.
    ///
    /// What came in the clear before must not be taken for a part of the secured dialog.
    pub(super) fn into_stream(self) -> Result<S, Failed> {
        if self.held.is_empty() {
            return Ok(self.stream);
        }
        Err(Failed::because("sent data in the clear where TLS was to begin"))
    }

    async fn read(&mut self, what: &str) -> Result<(), Failed> {
        if self.left == 0 {
            return Err(Failed::because(format_args!("said more than {MAX_DIALOG} bytes")));
        }
        self.held.reserve(PIECE);
        let mut room = (&mut self.held).limit(self.left.min(PIECE));
        match self.stream.read_buf(&mut room).await {
            Ok(0) => {
                let rest = if self.held.is_empty() { "before" } else { "in the middle of" };
                Err(Failed::because(format_args!("closed the connection {rest} {what}")))
            }
            Ok(read) => {
                self.left = self.left.saturating_sub(read);
                Ok(())
            }
            Err(error) => Err(Failed::because(format_args!("cannot read {what}: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn what_comes_byte_by_byte_is_put_together() {
        let (near, mut far) = duplex(1);
        let mut dialog = Dialog::new(near);
        let talk = async {
            far.write_all(b"one\r\ntwo\nthree").await.expect("sent");
            drop(far);
        };
        let listen = async {
            assert_eq!(dialog.line("a line").await.as_deref(), Ok("one"));
            assert_eq!(dialog.line("a line").await.as_deref(), Ok("two"));
            assert_eq!(dialog.exactly("a word", 3).await.as_deref(), Ok(&b"thr"[..]));
            let cut = dialog.line("a line").await.expect_err("no line feed");
            assert_eq!(cut.reason(), "closed the connection in the middle of a line");
        };
        tokio::join!(talk, listen);
    }

    #[tokio::test]
    async fn endless_lines_dialogs_and_lengths_are_refused() {
        let endless = |byte: u8| {
            let (near, mut far) = duplex(1000);
            let talk = async move { while far.write_all(&[byte; 100]).await.is_ok() {} };
            (Dialog::new(near), talk)
        };
        let (mut dialog, talk) = endless(b'x');
        let listen = async {
            let error = dialog.line("the banner").await.expect_err("endless");
            assert_eq!(error.reason(), "the banner is a line of more than 8192 bytes");
            let error = dialog.exactly("the packet", usize::MAX / 2).await.expect_err("too long");
            assert!(error.reason().ends_with("which is too long"), "{error}");
            drop(dialog);
        };
        tokio::join!(talk, listen);
        let (mut dialog, talk) = endless(b'\n');
        let listen = async {
            let mut lines = 0;
            let error = loop {
                match dialog.line("a line").await {
                    Ok(_) => lines += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!((lines, error.reason()), (MAX_DIALOG, "said more than 262144 bytes"));
            drop(dialog);
        };
        tokio::join!(talk, listen);
    }
}
