//! The connection to one member: made when a call needs it, kept until it breaks.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_core::driver::{Stop, Task, pause};
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};

use super::error::CallError;
use super::noise::{self, MARK, Receiver, Refused, Sender};
use super::stats::{Counters, count};
use super::wire::{Kind, Message};
use super::{HANDSHAKE_LIMIT, Topic};
use crate::transport::SharedKey;

/// Calls that wait to be sent; more make their callers wait.
const WAITING: usize = 256;
/// Calls of one connection that have no answer yet; more are refused.
const UNANSWERED: usize = 4096;
/// After a failed attempt, calls fail at once for so long: a member that is down is not asked
/// more often, however many call it.
const BACKOFF: Duration = Duration::from_millis(50);
/// Sealed bytes that are gathered before they are written.
const GATHER: usize = 256 * 1024;

/// Where the answer to a call goes.
type Answer = oneshot::Sender<Result<Vec<u8>, CallError>>;

/// A call on its way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) topic: Topic,
    pub(super) request: Vec<u8>,
    pub(super) answer: Answer,
    pub(super) ticket: Arc<Ticket>,
}

/// How far a call has got.
#[derive(Debug, Default)]
pub(super) struct Ticket(Mutex<Progress>);

#[derive(Debug, Default)]
enum Progress {
    #[default]
    Waiting,
    Sent {
        on: Arc<Connection>,
        opened: u64,
    },
    GivenUp,
}

/// What a call needs to know of the connection that it went out on.
#[derive(Debug, Default)]
struct Connection {
    /// How many records came.
    opened: AtomicU64,
    /// Ends it.
    close: Notify,
}

impl Ticket {
    /// Notes that the request goes out now; `false` when the caller has given up.
    fn send(&self, on: &Arc<Connection>) -> bool {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*progress, Progress::GivenUp) {
            return false;
        }
        let opened = on.opened.load(Ordering::Relaxed);
        *progress = Progress::Sent { on: Arc::clone(on), opened };
        true
    }

    /// Notes that the caller waits no longer, and says whether the request went out. A connection
    /// on which nothing at all came since is closed: its other end may be gone without a word.
    pub(super) fn give_up(&self) -> bool {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *progress, Progress::GivenUp);
        let Progress::Sent { on, opened } = before else {
            return false;
        };
        if on.opened.load(Ordering::Relaxed) == opened {
            on.close.notify_one();
        }
        true
    }

    /// Whether the request went out.
    pub(super) fn was_sent(&self) -> bool {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(*progress, Progress::Sent { .. })
    }
}

/// How long the first way has until the second is tried as well.
const HEAD_START: Duration = Duration::from_millis(100);

/// The link to one member; its driver stops when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    calls: mpsc::Sender<Call>,
    _task: Task<()>,
}

impl Link {
    pub(super) fn spawn(
        me: NodeName,
        to: NodeName,
        (address, second): (SocketAddr, Option<SocketAddr>),
        key: SharedKey,
        counters: Arc<Counters>,
    ) -> Self {
        let (calls, inbox) = mpsc::channel(WAITING);
        let driver = Driver { me, to, address, second, key, counters, inbox, failed: None };
        let task = Task::spawn(|stop| driver.run(stop));
        Self { address, calls, _task: task }
    }

    pub(super) fn calls(&self) -> mpsc::Sender<Call> {
        self.calls.clone()
    }
}

/// A connection's two directions.
type Halves = (Sender<OwnedWriteHalf>, Receiver<OwnedReadHalf>);

struct Driver {
    me: NodeName,
    to: NodeName,
    address: SocketAddr,
    /// Another way to it.
    second: Option<SocketAddr>,
    key: SharedKey,
    counters: Arc<Counters>,
    inbox: mpsc::Receiver<Call>,
    /// When the last attempt failed, and why.
    failed: Option<(Instant, Failure)>,
}

/// Why there is no connection; one attempt may have failed many calls.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Unreachable(io::ErrorKind),
    Refused,
    Version(u8),
}

impl Driver {
    async fn run(mut self, mut stop: Stop) {
        tokio::select! { biased;
            () = stop.wait() => {}
            () = self.serve() => {}
        }
    }

    async fn serve(&mut self) {
        while let Some(call) = self.inbox.recv().await {
            if let Some((at, failure)) = self.failed
                && BootClock::new().now().since(at) < BACKOFF
            {
                self.fail(call, failure);
                continue;
            }
            let attempt = tokio::time::timeout(HANDSHAKE_LIMIT, self.connect()).await;
            let failure = match attempt {
                Ok(Ok((sender, receiver))) => {
                    self.failed = None;
                    count(&self.counters.connected);
                    self.exchange(call, sender, receiver).await;
                    continue;
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Unreachable(io::ErrorKind::TimedOut),
            };
            tracing::debug!(node = %self.to, address = %self.address, ?failure, "no connection");
            self.failed = Some((BootClock::new().now(), failure));
            self.fail(call, failure);
            while let Ok(call) = self.inbox.try_recv() {
                self.fail(call, failure);
            }
        }
    }

    fn fail(&self, call: Call, failure: Failure) {
        let (to, address) = (self.to.clone(), self.address);
        let error = match failure {
            Failure::Unreachable(kind) => {
                CallError::Unreachable { to, address, source: kind.into() }
            }
            Failure::Refused => CallError::Refused { to, address },
            Failure::Version(theirs) => {
                let [.., ours] = MARK;
                CallError::Version { to, theirs, ours }
            }
        };
        // An error means that the caller has given up.
        let _gone = call.answer.send(Err(error));
    }

    /// Connects by the first way, or by the second if the first does not lead there soon.
    async fn connect(&self) -> Result<Halves, Failure> {
        let Some(second) = self.second else { return self.connect_to(self.address).await };
        let first = self.connect_to(self.address);
        let other = async {
            // Without a timer there is no head start.
            let _no_timer = pause(HEAD_START).await;
            self.connect_to(second).await
        };
        tokio::pin!(first, other);
        tokio::select! { biased;
            connected = &mut first => match connected {
                Ok(connected) => Ok(connected),
                Err(failure) => other.await.map_err(|_| failure),
            },
            connected = &mut other => match connected {
                Ok(connected) => Ok(connected),
                Err(_) => first.await,
            },
        }
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Halves, Failure> {
        let unreachable = |error: io::Error| Failure::Unreachable(error.kind());
        let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let cipher = noise::call(&mut stream, &self.key, &self.me, &self.to).await;
        let cipher = cipher.map_err(|refused| match refused {
            Refused::Version(theirs) => Failure::Version(theirs),
            // What closes in the middle of a handshake has refused it.
            Refused::Io(_) | Refused::Key | Refused::Name(_) | Refused::Stranger => {
                Failure::Refused
            }
        })?;
        let (read, write) = stream.into_split();
        Ok((Sender::new(cipher.clone(), write), Receiver::new(cipher, read)))
    }

    /// Sends calls and hands out answers until the connection breaks.
    async fn exchange(
        &mut self,
        first: Call,
        sender: Sender<OwnedWriteHalf>,
        receiver: Receiver<OwnedReadHalf>,
    ) {
        let connection = Arc::new(Connection::default());
        let unanswered = Unanswered { to: self.to.clone(), calls: Mutex::default() };
        // The end of a connection before new calls, so that these go out on the next one.
        tokio::select! { biased;
            () = connection.close.notified() => {}
            _broken = receive(receiver, &unanswered, &connection) => {}
            _broken = send(first, sender, &mut self.inbox, &unanswered, &connection) => {}
        }
        unanswered.lose_all();
    }
}

/// The calls of one connection that have no answer yet.
struct Unanswered {
    to: NodeName,
    calls: Mutex<BTreeMap<u64, (Topic, Answer)>>,
}

impl Unanswered {
    /// Notes a call; gives its request back if it is to be sent.
    fn add(&self, number: u64, call: Call, on: &Arc<Connection>) -> Option<Message> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() >= UNANSWERED {
            calls.retain(|_, (_, answer)| !answer.is_closed());
        }
        if calls.len() >= UNANSWERED {
            let busy = CallError::Busy { to: self.to.clone(), calls: calls.len() };
            let _gone = call.answer.send(Err(busy));
            return None;
        }
        if !call.ticket.send(on) {
            return None;
        }
        let Call { topic, request: body, answer, .. } = call;
        calls.insert(number, (topic, answer));
        Some(Message { kind: Kind::Request, number, topic, body })
    }

    fn answer(&self, message: Message) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((topic, answer)) = calls.remove(&message.number) else {
            return; // given up, and forgotten since
        };
        let result = match message.kind {
            Kind::Answer => Ok(message.body),
            Kind::NotServed => Err(CallError::NotServed { to: self.to.clone(), topic }),
            Kind::Request => Err(CallError::Lost { to: self.to.clone() }),
        };
        let _gone = answer.send(result);
    }

    fn lose_all(&self) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, (_, answer))) = calls.pop_first() {
            let _gone = answer.send(Err(CallError::Lost { to: self.to.clone() }));
        }
    }
}

async fn send(
    first: Call,
    mut sender: Sender<OwnedWriteHalf>,
    inbox: &mut mpsc::Receiver<Call>,
    unanswered: &Unanswered,
    connection: &Arc<Connection>,
) -> io::Result<()> {
    let (mut next, mut number) = (Some(first), 0);
    while let Some(call) = next {
        if let Some(message) = unanswered.add(number, call, connection) {
            sender.push(&message)?;
        }
        number += 1;
        next = if sender.waiting() < GATHER { inbox.try_recv().ok() } else { None };
        if next.is_none() {
            sender.flush().await?;
            next = inbox.recv().await;
        }
    }
    Ok(())
}

async fn receive(
    mut receiver: Receiver<OwnedReadHalf>,
    unanswered: &Unanswered,
    connection: &Arc<Connection>,
) -> Result<(), noise::Broken> {
    loop {
        let message = receiver.next().await?;
        connection.opened.store(receiver.opened(), Ordering::Relaxed);
        unanswered.answer(message);
    }
}
