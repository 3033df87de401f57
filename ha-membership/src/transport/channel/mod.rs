//! Sealed requests and answers between named members, over TCP.
//!
//! ```text
//!   call(to, topic, request) ─▶ link to `to` ══ Noise over TCP ══▶ server ─▶ Handler of topic
//!                      answer ◀─────────────────────────────────── answer ◀┘
//! ```
//!
//! A member connects to another when it first calls it, and keeps the connection. Calls do not
//! wait for each other: each has a number, and is answered when its handler is done. When nothing
//! is under way, nothing wakes up.
//!
//! # Guarantees and their limits
//!
//! - Who does not have the key can neither read, change, repeat nor make up a message, nor learn
//!   more than sizes and times. Keys of connections are drawn anew (Noise `NNpsk0`), so recorded
//!   ones stay secret when the shared key is lost later.
//! - Who has the key can speak for any member.
//! - A request is handled at most once. Whether it was, when no answer came,
//!   [`CallError::effect`] says as far as can be known.
//! - A member that has vanished without a word is noticed by the first call that reaches its limit
//!   without having heard anything: the connection is given up, the next call makes a new one.

mod config;
mod error;
mod link;
mod noise;
mod server;
mod stats;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::Task;
use ha_core::id::NodeName;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use self::config::{ChannelsConfig, ChannelsConfigBuilder};
pub use self::error::{CallError, ChannelError, ServeError};
use self::link::{Call, Link, Ticket};
use self::server::Incoming;
pub use self::stats::ChannelStats;
use self::stats::Counters;
pub use self::wire::MAX_MESSAGE_LEN;
use super::SharedKey;

/// How long a connection may take until its handshake is done.
pub(crate) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);

/// What a request is about; each is served by one handler of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(u8);

impl Topic {
    /// The topic of a number. [`RaftStore`](crate::store::RaftStore) takes 1 unless it is told
    /// otherwise.
    #[must_use]
    pub const fn new(raw: u8) -> Self {
        Self(raw)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Answers the requests of one topic.
#[async_trait]
pub trait Handler: fmt::Debug + Send + Sync {
    /// Answers a request of a member; many run at a time. At most
    /// [`MAX_MESSAGE_LEN`] bytes.
    ///
    /// # Cancel safety
    ///
    /// Runs to its end when the connection breaks; dropped only when the channels end.
    async fn handle(&self, from: &NodeName, request: Vec<u8>) -> Vec<u8>;
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for Arc<H> {
    async fn handle(&self, from: &NodeName, request: Vec<u8>) -> Vec<u8> {
        (**self).handle(from, request).await
    }
}

/// A node's channels to the other members; cloning is cheap.
///
/// When the last clone is dropped all connections end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ha_core::id::NodeName;
/// use ha_membership::transport::SharedKey;
/// use ha_membership::transport::channel::{Channels, ChannelsConfig, Handler, Topic};
///
/// #[derive(Debug)]
/// struct Shout;
/// #[async_trait::async_trait]
/// impl Handler for Shout {
///     async fn handle(&self, _from: &NodeName, request: Vec<u8>) -> Vec<u8> {
///         request.to_ascii_uppercase()
///     }
/// }
///
/// let (a, b): (NodeName, NodeName) = ("a".parse()?, "b".parse()?);
/// let any = "127.0.0.1:0".parse()?;
/// let config = |me: &NodeName| {
///     ChannelsConfig::builder(me.clone(), any).key(SharedKey::new([7; 32])).build()
/// };
/// let (at_a, at_b) = (Channels::bind(config(&a)?).await?, Channels::bind(config(&b)?).await?);
/// let addresses = [(a, at_a.local_addr()), (b.clone(), at_b.local_addr())];
/// at_a.set_peers(addresses.clone());
/// at_b.set_peers(addresses);
///
/// let topic = Topic::new(100);
/// let _serving = at_b.serve(topic, Arc::new(Shout))?;
/// let answer = at_a.call(&b, topic, b"hello".to_vec(), Duration::from_secs(2)).await?;
/// assert_eq!(answer, b"HELLO");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Channels(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    address: SocketAddr,
    links: Mutex<BTreeMap<NodeName, Link>>,
    /// Stop when dropped; one for each address.
    _servers: Vec<Task<()>>,
}

/// What the server shares with the handle.
#[derive(Debug)]
struct Shared {
    me: NodeName,
    keys: Vec<SharedKey>,
    peers: RwLock<BTreeMap<NodeName, SocketAddr>>,
    second_ways: BTreeMap<NodeName, SocketAddr>,
    handlers: RwLock<BTreeMap<Topic, Arc<dyn Handler>>>,
    incoming: Incoming,
    counters: Arc<Counters>,
}

impl Shared {
    fn knows(&self, name: &NodeName) -> bool {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    fn handler(&self, topic: Topic) -> Option<Arc<dyn Handler>> {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        handlers.get(&topic).cloned()
    }
}

/// A topic is served for as long as this lives.
#[derive(Debug)]
#[must_use = "when it is dropped, the topic is served no longer"]
pub struct Serving {
    shared: Arc<Shared>,
    topic: Topic,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let mut handlers = self.shared.handlers.write().unwrap_or_else(PoisonError::into_inner);
        let handler = handlers.remove(&self.topic);
        drop(handlers);
        drop(handler); // without the lock: its own drop may do anything
    }
}

impl Channels {
    /// Listens, and serves from now on; must be called inside a tokio runtime with I/O and time
    /// enabled.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] when the address cannot be bound.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing runs until it is complete.
    pub async fn bind(config: ChannelsConfig) -> Result<Self, ChannelError> {
        let ChannelsConfig { me, listen, keys, peers, second, second_ways } = config;
        let failed = |source| ChannelError { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut listeners = vec![listener];
        if let Some(second) = second {
            let failed = |source| ChannelError { address: second, source };
            listeners.push(TcpListener::bind(second).await.map_err(failed)?);
        }
        let shared = Arc::new(Shared {
            me,
            keys,
            peers: RwLock::new(peers),
            second_ways,
            handlers: RwLock::default(),
            incoming: Incoming::default(),
            counters: Arc::default(),
        });
        let serve = |listener| {
            let serving = Arc::clone(&shared);
            Task::spawn(|stop| server::run(listener, serving, stop))
        };
        let servers = listeners.into_iter().map(serve).collect();
        let links = Mutex::default();
        Ok(Self(Arc::new(Owner { shared, address, links, _servers: servers })))
    }

    /// The name of this node.
    #[must_use]
    pub fn me(&self) -> &NodeName {
        &self.0.shared.me
    }

    /// Where this node listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// The other members and their addresses.
    #[must_use]
    pub fn peers(&self) -> BTreeMap<NodeName, SocketAddr> {
        self.0.shared.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets who the other members are, and where; one's own name is passed over.
    ///
    /// Connections to members that are gone or elsewhere end, with the calls on them.
    pub fn set_peers(&self, peers: impl IntoIterator<Item = (NodeName, SocketAddr)>) {
        let mut peers: BTreeMap<_, _> = peers.into_iter().collect();
        peers.remove(self.me());
        self.links().retain(|name, link| peers.get(name) == Some(&link.address));
        *self.0.shared.peers.write().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    /// Has the requests of a topic answered by `handler`, until the result is dropped.
    ///
    /// # Errors
    ///
    /// [`ServeError`] when the topic has a handler.
    pub fn serve(&self, topic: Topic, handler: Arc<dyn Handler>) -> Result<Serving, ServeError> {
        let shared = Arc::clone(&self.0.shared);
        let mut handlers = shared.handlers.write().unwrap_or_else(PoisonError::into_inner);
        if handlers.contains_key(&topic) {
            return Err(ServeError { topic });
        }
        handlers.insert(topic, handler);
        drop(handlers);
        Ok(Serving { shared, topic })
    }

    /// Asks a member, and waits for its answer for at most `limit`. Asking oneself works, too.
    ///
    /// # Errors
    ///
    /// [`CallError`]; its [`effect`](CallError::effect) says whether the request may have been
    /// handled. A member where nobody listens is an error at once.
    ///
    /// # Cancel safety
    ///
    /// When dropped the request may have been handled.
    pub async fn call(
        &self,
        to: &NodeName,
        topic: Topic,
        request: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        if request.len() > MAX_MESSAGE_LEN {
            return Err(CallError::TooLarge { to: to.clone(), len: request.len() });
        }
        if to == self.me() {
            return self.call_myself(topic, request, limit).await;
        }
        let calls = self.link(to)?;
        let ticket = Arc::new(Ticket::default());
        let (answer, answered) = oneshot::channel();
        let call = Call { topic, request, answer, ticket: Arc::clone(&ticket) };
        let exchange = async {
            // Errors mean that the link ended: the peers were changed.
            let sent = calls.send(call).await;
            let gone = || CallError::UnknownPeer { to: to.clone() };
            sent.map_err(|_| gone())?;
            match answered.await {
                Ok(result) => result,
                Err(_) if ticket.was_sent() => Err(CallError::Lost { to: to.clone() }),
                Err(_) => Err(gone()),
            }
        };
        // tokio's timer, not an alarm: a limit needs no precision, and costs no system call so.
        match tokio::time::timeout(limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(CallError::NoAnswer { to: to.clone(), limit, sent: ticket.give_up() }),
        }
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        self.0.shared.counters.read()
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<NodeName, Link>> {
        // No call leaves the links half changed, so one that panicked has broken nothing.
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(&self, to: &NodeName) -> Result<tokio::sync::mpsc::Sender<Call>, CallError> {
        let mut links = self.links();
        if let Some(link) = links.get(to) {
            return Ok(link.calls());
        }
        let Shared { me, keys, peers, second_ways, counters, .. } = &*self.0.shared;
        let address = peers.read().unwrap_or_else(PoisonError::into_inner).get(to).copied();
        let (Some(address), Some(key)) = (address, keys.first()) else {
            return Err(CallError::UnknownPeer { to: to.clone() });
        };
        let (me, key, counters) = (me.clone(), key.clone(), Arc::clone(counters));
        let ways = (address, second_ways.get(to).copied());
        let link = Link::spawn(me, to.clone(), ways, key, counters);
        let calls = link.calls();
        links.insert(to.clone(), link);
        Ok(calls)
    }

    async fn call_myself(
        &self,
        topic: Topic,
        request: Vec<u8>,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let me = self.me().clone();
        let Some(handler) = self.0.shared.handler(topic) else {
            return Err(CallError::NotServed { to: me, topic });
        };
        let from = me.clone();
        // A task, so that the handler runs to its end here as it does elsewhere.
        let mut running = Task::spawn(|_stop| async move { handler.handle(&from, request).await });
        match tokio::time::timeout(limit, running.ended()).await {
            Ok(answer) => answer.map_err(|_| CallError::Lost { to: me }),
            Err(_) => Err(CallError::NoAnswer { to: me, limit, sent: true }),
        }
    }
}
