//! Connections from members: let in, read, handled, answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ha_core::driver::{Stop, pause};
use ha_core::id::NodeName;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::noise::{self, Broken, Cipher, Receiver, Refused, Sender};
use super::stats::count;
use super::wire::{Kind, MAX_MESSAGE_LEN, Message};
use super::{HANDSHAKE_LIMIT, Shared};

/// Connections at a time: one of each of 64 members, and room for those that have just broken.
const CONNECTIONS: usize = 256;
/// Connections at a time whose handshake is not done: strangers cannot take all the room.
const HALF_OPEN: usize = 64;
/// Requests of one connection that are handled at a time; further ones are not read meanwhile.
const HANDLED: usize = 64;
/// How long to wait when the kernel has no more file descriptors.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Lets connections in until it is stopped; then all end.
pub(super) async fn run(listener: TcpListener, shared: Arc<Shared>, mut stop: Stop) {
    let mut connections = JoinSet::new();
    let half_open = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! { biased;
            () = stop.wait() => return,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, from)) = accepted else {
            // Nothing to be done but wait, unless there is no timer either.
            let _no_timer = pause(EXHAUSTED).await;
            continue;
        };
        let waiting = half_open.load(Ordering::Relaxed);
        if connections.len() >= CONNECTIONS || waiting >= HALF_OPEN {
            count(&shared.counters.refused_crowded);
            tracing::warn!(%from, connections = connections.len(), waiting, "too many connections");
            continue;
        }
        let ticket = HalfOpen::new(&half_open);
        connections.spawn(connection(stream, Arc::clone(&shared), ticket));
    }
}

/// Counts a connection as half open for as long as it lives.
struct HalfOpen(Arc<AtomicUsize>);

impl HalfOpen {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(mut stream: TcpStream, shared: Arc<Shared>, half_open: HalfOpen) {
    let shake = async {
        stream.set_nodelay(true)?;
        let known = |name: &NodeName| shared.knows(name);
        noise::answer(&mut stream, &shared.keys, &shared.me, known).await
    };
    let counters = &shared.counters;
    let (cipher, from) = match tokio::time::timeout(HANDSHAKE_LIMIT, shake).await {
        Ok(Ok(done)) => done,
        Ok(Err(refused)) => {
            tracing::debug!(%refused, "connection refused");
            return count(match refused {
                Refused::Io(_) | Refused::Stranger => &counters.refused_stranger,
                Refused::Version(_) => &counters.refused_version,
                Refused::Key => &counters.refused_key,
                Refused::Name(_) => &counters.refused_name,
            });
        }
        Err(_) => return count(&counters.refused_slow),
    };
    drop(half_open);
    count(&counters.accepted);
    // A member that connects anew has given its old connection up; its end may never be heard.
    let mut replaced = shared.incoming.replace(&from);
    let (read, write) = stream.into_split();
    let (answers, outbox) = mpsc::channel(HANDLED);
    let mut handlers = JoinSet::new();
    tokio::select! {
        broken = requests(&cipher, read, &from, &shared, &mut handlers, answers) => {
            tracing::debug!(node = %from, %broken, "connection ended");
            if matches!(broken, Broken::Malformed) {
                count(&counters.malformed);
            }
        }
        _broken = send(&cipher, write, outbox) => {}
        _other = replaced.changed() => {}
    }
    // What was begun is completed, though nobody hears of it.
    while handlers.join_next().await.is_some() {}
}

async fn requests(
    cipher: &Cipher,
    read: OwnedReadHalf,
    from: &NodeName,
    shared: &Arc<Shared>,
    handlers: &mut JoinSet<()>,
    answers: mpsc::Sender<Message>,
) -> Broken {
    let mut receiver = Receiver::new(cipher.clone(), read);
    loop {
        tokio::select! {
            Some(_done) = handlers.join_next() => {}
            message = receiver.next(), if handlers.len() < HANDLED => match message {
                Err(broken) => return broken,
                Ok(message) if message.kind == Kind::Request => {
                    let handled = handle(Arc::clone(shared), from.clone(), message);
                    let answers = answers.clone();
                    handlers.spawn(async move {
                        // An error means that the connection is gone.
                        let _gone = answers.send(handled.await).await;
                    });
                }
                Ok(_) => return Broken::Malformed,
            },
        }
    }
}

async fn handle(shared: Arc<Shared>, from: NodeName, request: Message) -> Message {
    let Message { number, topic, body, .. } = request;
    let not_served = Message { kind: Kind::NotServed, number, topic, body: Vec::new() };
    let Some(handler) = shared.handler(topic) else {
        return not_served;
    };
    count(&shared.counters.handled);
    let body = handler.handle(&from, body).await;
    if body.len() > MAX_MESSAGE_LEN {
        tracing::error!(%topic, len = body.len(), "answer dropped: too large");
        return not_served;
    }
    Message { kind: Kind::Answer, number, topic, body }
}

async fn send(cipher: &Cipher, write: OwnedWriteHalf, mut outbox: mpsc::Receiver<Message>) {
    let mut sender = Sender::new(cipher.clone(), write);
    while let Some(message) = outbox.recv().await {
        if sender.push(&message).is_err() || sender.flush().await.is_err() {
            return;
        }
    }
}

/// The connection that each member has now.
#[derive(Debug, Default)]
pub(super) struct Incoming(std::sync::Mutex<BTreeMap<NodeName, watch::Sender<()>>>);

impl Incoming {
    /// Makes this the connection of `from`; ready when another one takes its place.
    fn replace(&self, from: &NodeName) -> watch::Receiver<()> {
        let (sender, receiver) = watch::channel(());
        let mut current = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Dropping the old sender ends the old connection.
        current.insert(from.clone(), sender);
        receiver
    }
}
