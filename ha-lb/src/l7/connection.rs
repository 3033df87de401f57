//! One client's connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Config;
use super::exchange::Exchanger;
use super::upstream::Upstream;
use crate::l4::{Flow, Relay, reset};
use crate::pick::Pick;
use crate::proxy::Phase;

/// hyper's settings for every client connection.
pub(super) fn server(config: &Config) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout())
        .max_buf_size(config.max_header_bytes())
        // A client may close its side after the request and still wait for the answer.
        .half_close(true)
        .auto_date_header(false);
    builder
}

/// What a client's connection does now.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Bytes read from and written to the client.
    bytes: AtomicU64,
    /// Whether the endpoint is to answer: the exchange then watches the time.
    waiting: AtomicBool,
    /// The endpoint's connection after a switch of protocols.
    upgraded: Mutex<Option<Upgraded>>,
}

/// A switch of protocols that the endpoint has agreed to.
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) upstream: Upstream,
    pub(super) pick: Pick,
}

impl Activity {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn upgrade(&self, upgraded: Upgraded) {
        *self.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgraded);
    }

    fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    fn take_upgraded(&self) -> Option<Upgraded> {
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serves a client until it or a drain closes the connection.
pub(super) async fn serve(
    server: http1::Builder,
    exchanger: Arc<Exchanger>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let activity = Arc::new(Activity::default());
    let service = service_fn(|request| {
        let (exchanger, activity) = (Arc::clone(&exchanger), Arc::clone(&activity));
        async move {
            activity.set_waiting(true);
            let answer = exchanger.exchange(request, peer.ip(), &activity).await;
            activity.set_waiting(false);
            Ok::<_, Infallible>(answer)
        }
    });
    let io = Watched { io: TokioIo::new(stream), activity: Arc::clone(&activity) };
    let mut connection = server.serve_connection(io, service);
    let mut phases = exchanger.shared().phases();
    let mut closing = false;
    let idle = exchanger.idle_timeout();
    let mut ticks = interval_at(Instant::now() + idle, idle);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut bytes_then = activity.bytes();
    let ended = loop {
        tokio::select! { biased;
            ended = &mut connection => {
                break ended;
            }
            held_off = phases.wait_for(|phase| *phase >= Phase::HoldOff), if !closing => {
                let _phase = held_off;
                closing = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            _tick = ticks.tick() => {
                let bytes = activity.bytes();
                if bytes == bytes_then && !activity.waiting.load(Ordering::Relaxed) {
                    tracing::debug!(client = %peer, "connection stood still for too long");
                    return;
                }
                bytes_then = bytes;
            }
        }
    };
    let parts = connection.into_parts();
    if let Some(upgraded) = activity.take_upgraded() {
        let client = parts.io.io.into_inner();
        switch(&exchanger, (client, parts.read_buf), upgraded, idle).await;
        return;
    }
    let stream = parts.io.io.into_inner();
    if let Err(error) = ended {
        tracing::debug!(client = %peer, %error, "connection ended");
        if error.is_user() {
            // The endpoint broke off in the middle of an answer: the client must see that.
            reset(&stream);
            return;
        }
    }
    close(stream).await;
}

/// Closes a connection so that the client gets all that was sent: a close while bytes of it are
/// unread would be a reset (RFC 9112 §9.6).
async fn close(mut stream: TcpStream) {
    let mut rest = [0; 1024];
    let lingering = async {
        stream.shutdown().await?;
        for _ in 0..MAX_LINGERING_READS {
            if stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Too slow or gone: then it is cut.
    let _end = tokio::time::timeout(LINGER, lingering).await;
}

/// How long and for how many reads a client may go on sending after the last answer.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGERING_READS: usize = 256;

/// Relays bytes after a switch of protocols, starting with those that were read already.
async fn switch(
    exchanger: &Exchanger,
    (client, from_client): (TcpStream, Bytes),
    upgraded: Upgraded,
    idle: Duration,
) {
    let Upgraded { upstream, pick } = upgraded;
    let Ok((server, from_server)) = upstream.into_plain().await else {
        return;
    };
    let flows = (Flow::starting_with(&from_client), Flow::starting_with(&from_server));
    let relay = Relay::new(client, server, exchanger.buffers(), idle).with_flows(flows.0, flows.1);
    let closing = pick.closing();
    // Dropped with the select, a relay resets both sides.
    tokio::select! { biased;
        relayed = relay => pick.finish(relayed.outcome),
        () = closing => {}
    }
}

/// The client's socket, with its bytes counted.
#[derive(Debug)]
struct Watched {
    io: TokioIo<TcpStream>,
    activity: Arc<Activity>,
}

impl Watched {
    fn moved(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or_default();
        self.activity.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn wrote(&self, polled: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.moved(bytes);
        }
        polled
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_ready() {
            self.moved(1);
        }
        polled
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
