//! The accepting loop of both proxies: connections become tasks; a stop waits for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Config, Ended, Open, Phase, Shared, count};

/// How long to wait after the kernel had no room for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// Accepts connections and runs `handle` for each until `stop`, then waits for them within the
/// grace. Dropped, it cuts all connections at once.
pub(crate) async fn serve<F>(
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    config: &Config,
    stop: impl Future<Output = ()>,
    mut handle: impl FnMut(TcpStream, SocketAddr) -> F,
) -> Ended
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut phases = shared.phases();
    let mut breath: Option<Instant> = None;
    tokio::pin!(stop);
    loop {
        let room = tasks.len() < config.max_connections() && breath.is_none();
        tokio::select! { biased;
            () = &mut stop => break,
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    count(&shared.counters.accepted, 1);
                    tasks.spawn(handle(stream, peer));
                }
                Err(error) => breath = refused(&shared, &error),
            },
            _ended = tasks.join_next(), if !tasks.is_empty() => {}
            _changed = phases.changed() => {}
            () = sleep_until(breath.unwrap_or_else(Instant::now)), if breath.is_some() => {
                breath = None;
            }
        }
        while tasks.try_join_next().is_some() {}
        announce(&shared, &mut phases, tasks.len());
    }
    shared.advance(Phase::Stopping);
    // Clients whose handshake is done believe they are connected: serve them, too.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        count(&shared.counters.accepted, 1);
        tasks.spawn(handle(stream, peer));
    }
    drop(listener);
    drop(handle);
    let done = async { while tasks.join_next().await.is_some() {} };
    let cut = match tokio::time::timeout(config.grace(), done).await {
        Ok(()) => 0,
        Err(_) => tasks.len(),
    };
    tasks.shutdown().await;
    shared.open.send_replace(Open { connections: 0, held_off: true });
    Ended { cut }
}

/// Tells how many connections are open; that they are held off only once the loop has found the
/// queue of accepted ones empty after it.
fn announce(shared: &Shared, phases: &mut tokio::sync::watch::Receiver<Phase>, connections: usize) {
    let held_off = *phases.borrow_and_update() >= Phase::HoldOff;
    shared.open.send_if_modified(|open| {
        let changed = open.connections != connections || open.held_off != held_off;
        *open = Open { connections, held_off };
        changed
    });
}

/// Counts a failure to accept; returns until when to wait, if the machine is short of something.
fn refused(shared: &Shared, error: &io::Error) -> Option<Instant> {
    count(&shared.counters.accept_errors, 1);
    #[expect(clippy::wildcard_enum_match_arm, reason = "not our enum")]
    match error.kind() {
        // The client has gone again.
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => None,
        _ => {
            tracing::warn!(%error, "cannot accept a connection");
            Some(Instant::now() + BREATH)
        }
    }
}
