//! Copies both ways between two connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Buffers;
use crate::pick::Outcome;

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Lent only while it holds bytes that are not written yet, or the source is readable.
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    bytes: u64,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    Copying,
    /// The source has ended: tell the sink.
    Closing,
    Closed,
}

/// Which side failed.
#[derive(Debug)]
enum Fault {
    Source(io::Error),
    Sink(io::Error),
}

impl Flow {
    /// A flow whose first bytes were read already.
    #[cfg(feature = "http")]
    pub(crate) fn starting_with(bytes: &[u8]) -> Self {
        let buffer = (!bytes.is_empty()).then(|| bytes.into());
        Self { buffer, end: bytes.len(), ..Self::default() }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut TcpStream,
        sink: &mut TcpStream,
        buffers: &Buffers,
    ) -> Poll<Result<(), Fault>> {
        // Every round ends in a read or write that tokio's budget makes pend in time.
        loop {
            ready!(self.poll_write(cx, sink)).map_err(Fault::Sink)?;
            match self.stage {
                Stage::Copying => {
                    ready!(self.poll_read(cx, source, buffers)).map_err(Fault::Source)?;
                }
                Stage::Closing => {
                    ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(Fault::Sink)?;
                    self.stage = Stage::Closed;
                }
                Stage::Closed => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes what the buffer holds.
    fn poll_write(&mut self, cx: &mut Context<'_>, sink: &mut TcpStream) -> Poll<io::Result<()>> {
        while let Some(rest) = self.rest() {
            let written = ready!(Pin::new(&mut *sink).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
            self.bytes += u64::try_from(written).unwrap_or_default();
        }
        Poll::Ready(Ok(()))
    }

    fn rest(&self) -> Option<&[u8]> {
        self.buffer.as_ref()?.get(self.start..self.end).filter(|rest| !rest.is_empty())
    }

    /// Reads into an empty buffer; lends one once there is something to read.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut TcpStream,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>> {
        let mut buffer = if let Some(buffer) = self.buffer.take() {
            buffer
        } else {
            ready!(source.poll_read_ready(cx))?;
            buffers.lend()
        };
        let mut read = ReadBuf::new(&mut buffer);
        let polled = Pin::new(source).poll_read(cx, &mut read);
        (self.start, self.end) = (0, read.filled().len());
        match polled {
            Poll::Ready(Ok(())) if self.end > 0 => {
                self.buffer = Some(buffer);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => {
                buffers.give_back(buffer);
                self.stage = Stage::Closing;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                buffers.give_back(buffer);
                Poll::Pending
            }
        }
    }
}

/// How a relay ended.
#[derive(Debug)]
pub(crate) struct Relayed {
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) outcome: Outcome,
}

/// Copies between client and endpoint until both directions have ended, one side fails, or nothing
/// has moved for the idle time. Unless it ended well, both sides see a reset.
#[derive(Debug)]
pub(crate) struct Relay {
    client: TcpStream,
    server: TcpStream,
    up: Flow,
    down: Flow,
    buffers: Arc<Buffers>,
    idle_timeout: Duration,
    timer: Pin<Box<Sleep>>,
    /// Bytes moved when the timer was set.
    bytes_then: u64,
    well: bool,
}

impl Relay {
    pub(crate) fn new(
        client: TcpStream,
        server: TcpStream,
        buffers: Arc<Buffers>,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            client,
            server,
            up: Flow::default(),
            down: Flow::default(),
            buffers,
            idle_timeout,
            timer: Box::pin(sleep_until(Instant::now() + idle_timeout)),
            bytes_then: 0,
            well: false,
        }
    }

    /// Starts with bytes that were read from either side already.
    #[cfg(feature = "http")]
    pub(crate) fn with_flows(mut self, up: Flow, down: Flow) -> Self {
        (self.up, self.down) = (up, down);
        self
    }

    /// Whether nothing has moved since the timer was set last; sets it anew otherwise.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let bytes = self.up.bytes + self.down.bytes;
            if bytes == self.bytes_then {
                return Poll::Ready(());
            }
            self.bytes_then = bytes;
            self.timer.as_mut().reset(Instant::now() + self.idle_timeout);
        }
        Poll::Pending
    }

    fn relayed(&self, outcome: Outcome) -> Relayed {
        Relayed { bytes_up: self.up.bytes, bytes_down: self.down.bytes, outcome }
    }
}

impl Future for Relay {
    type Output = Relayed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Relayed> {
        let this = &mut *self;
        let up = this.up.poll(cx, &mut this.client, &mut this.server, &this.buffers);
        let down = this.down.poll(cx, &mut this.server, &mut this.client, &this.buffers);
        let fault = match (up, down) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                this.well = true;
                return Poll::Ready(this.relayed(Outcome::Completed));
            }
            (_, Poll::Ready(Err(Fault::Source(error))))
            | (Poll::Ready(Err(Fault::Sink(error))), _) => Some((Outcome::Failed, error)),
            (_, Poll::Ready(Err(Fault::Sink(error))))
            | (Poll::Ready(Err(Fault::Source(error))), _) => Some((Outcome::Abandoned, error)),
            (Poll::Ready(Ok(())) | Poll::Pending, Poll::Ready(Ok(())) | Poll::Pending) => None,
        };
        if let Some((outcome, error)) = fault {
            tracing::debug!(%error, ?outcome, "connection broke");
            return Poll::Ready(this.relayed(outcome));
        }
        ready!(this.poll_idle(cx));
        tracing::debug!("connection stood still for too long");
        Poll::Ready(this.relayed(Outcome::Abandoned))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        for buffer in [self.up.buffer.take(), self.down.buffer.take()].into_iter().flatten() {
            self.buffers.give_back(buffer);
        }
        if !self.well {
            reset(&self.client);
            reset(&self.server);
        }
    }
}

/// Makes the coming close of `stream` a reset.
pub(crate) fn reset(stream: &TcpStream) {
    // If that fails the socket is gone already, and so is the other side.
    let _gone = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
