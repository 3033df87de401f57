//! What the TCP and the HTTP proxy share: settings, listening, phases of a drain, statistics.
//!
//! # Taking a proxy out of service without losing a request
//!
//! ```text
//!            lame_duck()           hold_off()                    stop
//!  Serving ─────────────▶ LameDuck ──────────▶ HoldOff ─────────────────▶ Stopping ▶ ended
//!  accepts                accepts; HTTP        new connections get no     accepts nothing; ends
//!                         answers say          answer, idle HTTP ones     when all are done, or
//!                         "Connection: close"  are closed, others go on   the grace is over
//! ```
//!
//! For a planned switchover of a floating address: `lame_duck()` for as long as clients keep
//! connections idle, `hold_off()`, wait for [`Handle::drained`], then move the address. A client
//! that connects in between gets no answer to its SYN and repeats it after a second, as it would
//! after a lost packet; the new holder of the address answers that.

mod accept;
mod config;
mod dial;
mod listen;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub(crate) use accept::serve;
pub use config::{Config, ConfigBuilder};
pub(crate) use dial::Dialer;
#[cfg(feature = "http")]
pub(crate) use dial::{PRIORITY, address_bytes, connect};
pub use listen::BindError;
pub(crate) use listen::listen;

/// How far a proxy is on its way out of service; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Takes connections and keeps them.
    Serving,
    /// Takes connections, asks HTTP clients not to keep them.
    LameDuck,
    /// Does not answer new connections; finishes those it has.
    HoldOff,
    /// Listens no longer; finishes what it has within the grace time.
    Stopping,
}

/// How a proxy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[must_use]
#[non_exhaustive]
pub struct Ended {
    /// Connections that were not done within the grace time and were cut.
    pub cut: usize,
}

/// Counters of a proxy since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Failures to accept a connection, such as no more file descriptors.
    pub accept_errors: u64,
    /// HTTP requests read.
    pub requests: u64,
    /// Connections or requests that no endpoint could be found for, or that failed there.
    pub failed: u64,
    /// Attempts that were repeated, on the same or another endpoint.
    pub retried: u64,
    /// Bytes relayed from clients to endpoints; not counted for HTTP.
    pub bytes_up: u64,
    /// Bytes relayed from endpoints to clients; not counted for HTTP.
    pub bytes_down: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// How many connections are open, as the accepting loop last saw it.
#[derive(Debug, Clone, Copy, Default)]
struct Open {
    connections: usize,
    /// Whether the loop has looked since connections are held off.
    held_off: bool,
}

/// What a proxy, its connections and its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    local: SocketAddr,
    pub(crate) counters: Counters,
    phase: watch::Sender<Phase>,
    open: watch::Sender<Open>,
    /// Weak, so that a handle does not keep the port open.
    listener: Weak<TcpListener>,
}

impl Shared {
    pub(crate) fn new(listener: &Arc<TcpListener>, local: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            local,
            counters: Counters::default(),
            phase: watch::Sender::new(Phase::Serving),
            open: watch::Sender::new(Open::default()),
            listener: Arc::downgrade(listener),
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes on to `phase`, never back.
    fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let forward = *current < phase;
            *current = (*current).max(phase);
            forward
        });
    }
}

/// Watches and drains a proxy from elsewhere; a cheap clone.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Shared>);

impl Handle {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The address and port that are listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// How far the proxy is on its way out of service.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.0.counters;
        Stats {
            accepted: read(&counters.accepted),
            accept_errors: read(&counters.accept_errors),
            requests: read(&counters.requests),
            failed: read(&counters.failed),
            retried: read(&counters.retried),
            bytes_up: read(&counters.bytes_up),
            bytes_down: read(&counters.bytes_down),
        }
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.open.borrow().connections
    }

    /// Goes on serving, but asks HTTP clients not to keep their connections: every answer says
    /// `Connection: close`. For TCP nothing changes.
    pub fn lame_duck(&self) {
        self.0.advance(Phase::LameDuck);
    }

    /// Answers no new connection: the kernel drops their SYNs, so that clients try again, rather
    /// than refusing them. Idle HTTP connections are closed, requests under way are finished, and
    /// so are TCP connections. There is no way back; bind a new proxy.
    ///
    /// # Errors
    ///
    /// The kernel's, when it cannot filter a socket's packets; nothing has changed then.
    pub fn hold_off(&self) -> std::io::Result<()> {
        if let Some(listener) = self.0.listener.upgrade() {
            listen::drop_new_connections(&listener)?;
        }
        self.0.advance(Phase::HoldOff);
        Ok(())
    }

    /// Waits until connections are held off and all of them are done, or the proxy has ended.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn drained(&self) {
        let done = |open: &Open| open.held_off && open.connections == 0;
        let mut open = self.0.open.subscribe();
        // An error is not possible: the sender is part of `self`.
        let _open = open.wait_for(done).await;
    }
}
