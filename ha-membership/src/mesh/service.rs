//! The driver: a mesh on UDP sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use ha_core::driver::{Alarm, Stop, Task};
use ha_core::id::{NodeName, ViewId};
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock, Instant};
use tokio::net::UdpSocket;
use tokio::sync::{broadcast, mpsc, watch};

use super::config::MeshConfig;
use super::machine::{Mesh, MeshEvent, MeshInput, MeshOutput, MeshStats};
use super::wire::{MAX_MESSAGE, Message};
use crate::membership::{Membership, MembershipError};
use crate::transport::{Sealed, SealedStats};
use crate::view::View;

/// Commands that wait for the driver; more are refused by making the caller wait.
const COMMANDS: usize = 8;
/// Events that wait for a slow reader; it is told how many it missed.
const EVENTS: usize = 1024;

/// A member of a mesh on the network; its driver runs as a task.
///
/// Dropping it ends the member as [`leave`](Membership::leave) does, without waiting.
///
/// [`changed`](Membership::changed) waits for a new *agreed* view. Quorum can be lost, and
/// standings change, within one: follow [`watch`](Self::watch) for those.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_membership::mesh::{MeshConfig, MeshService};
/// use ha_membership::transport::{Sealed, SessionId, SharedKey};
/// use ha_membership::Membership;
///
/// let key = SharedKey::new([7; 32]);
/// let seal = || Sealed::new([(1, key.clone())], SessionId::random()?);
/// let any = "127.0.0.1:0".parse()?;
/// let a = MeshConfig::lan("a".parse()?).link(any).build()?;
/// let a = MeshService::spawn(a, Some(seal()?)).await?;
/// let b = MeshConfig::lan("b".parse()?).link(any).seed(a.addresses()[0]).build()?;
/// let b = MeshService::spawn(b, Some(seal()?)).await?;
/// let mut view = a.view();
/// while view.members().len() < 2 {
///     view = a.changed(view.id()).await?;
/// }
/// b.leave().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MeshService {
    me: NodeName,
    addresses: Vec<SocketAddr>,
    views: watch::Receiver<Arc<View>>,
    quorum: watch::Receiver<Option<Instant>>,
    events: broadcast::Sender<MeshEvent>,
    tally: watch::Receiver<MeshTally>,
    commands: mpsc::Sender<MeshInput>,
    /// Stops the driver when dropped.
    _task: Task<()>,
}

/// What a running mesh counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MeshTally {
    /// By the machine.
    pub mesh: MeshStats,
    /// By the seal; all 0 without one.
    pub sealed: SealedStats,
    /// Datagrams that were opened but are no message.
    pub malformed: u64,
    /// Datagrams that the kernel did not take.
    pub unsent: u64,
}

impl MeshService {
    /// Binds the sockets and starts; must be called inside a tokio runtime with I/O enabled.
    ///
    /// Port 0 takes a free one; the others are told which. Without a seal anybody on the network
    /// can speak for any member: for tests and for networks that are sealed otherwise.
    ///
    /// # Errors
    ///
    /// [`MeshError`] when an address cannot be bound.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing runs until it is complete.
    pub async fn spawn(config: MeshConfig, sealed: Option<Sealed>) -> Result<Self, MeshError> {
        let mut sockets = Vec::new();
        for address in config.addresses() {
            let bind = |source| MeshError { address: *address, source };
            sockets.push(UdpSocket::bind(address).await.map_err(bind)?);
        }
        let bound: io::Result<Vec<_>> = sockets.iter().map(UdpSocket::local_addr).collect();
        let first = config.addresses().first().copied();
        let failed =
            |source| MeshError { address: first.unwrap_or(SocketAddr::from(([0; 4], 0))), source };
        let addresses = bound.map_err(failed)?;
        let alarm = Alarm::new().map_err(failed)?;
        let me = config.me().clone();
        let mesh = Mesh::new(config.bound_to(addresses.clone()), BootClock::new().now());
        let (view, views) = watch::channel(Arc::new(mesh.view().clone()));
        let (until, quorum) = watch::channel(mesh.quorate_until());
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        let (tally, tallies) = watch::channel(MeshTally::default());
        let told = events.clone();
        let driver = Driver { mesh, sealed, sockets, inbox, view, until, told, tally, alarm };
        let task = Task::spawn(|stop| driver.run(stop));
        Ok(Self { me, addresses, views, quorum, events, tally: tallies, commands, _task: task })
    }

    /// Where this member listens, one address for each link.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Follows the view with every change of a standing or of quorum.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Follows until when this node is quorate even if it hears nobody any more, on the clock of
    /// [`BootClock`]; `None` while it is not. See [`Mesh::quorate_until`].
    ///
    /// Wakes its readers when quorum is gained or lost or ends earlier than was said. Each heartbeat
    /// moves the end on without a wake-up: look again before what was last read ends.
    #[must_use]
    pub fn quorum(&self) -> watch::Receiver<Option<Instant>> {
        self.quorum.clone()
    }

    /// Follows what happens to the others, from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<MeshEvent> {
        self.events.subscribe()
    }

    /// What was counted.
    #[must_use]
    pub fn tally(&self) -> MeshTally {
        *self.tally.borrow()
    }

    /// Tells this member that `node` is confirmed to be off, so that a view without it is agreed.
    ///
    /// # Errors
    ///
    /// [`MembershipError::Ended`] when this node has left.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: told wholly or not at all.
    pub async fn confirm_fenced(&self, node: NodeName) -> Result<(), MembershipError> {
        self.commands.send(MeshInput::Fenced(node)).await.map_err(|_| self.ended())
    }

    fn ended(&self) -> MembershipError {
        MembershipError::Ended { node: self.me.clone() }
    }
}

#[async_trait]
impl Membership for MeshService {
    fn me(&self) -> &NodeName {
        &self.me
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    async fn changed(&self, seen: ViewId) -> Result<Arc<View>, MembershipError> {
        let mut views = self.views.clone();
        let view = views.wait_for(|view| view.id() > seen).await.map_err(|_| self.ended())?;
        Ok(Arc::clone(&view))
    }

    async fn leave(&self) -> Result<(), MembershipError> {
        // An error means that the driver has ended: this node has left before.
        if self.commands.send(MeshInput::Leave).await.is_ok() {
            self.commands.closed().await;
        }
        Ok(())
    }
}

/// A mesh cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: give an address of this computer and a free UDP port")]
#[non_exhaustive]
pub struct MeshError {
    /// The address.
    pub address: SocketAddr,
    /// The kernel's error.
    #[source]
    pub source: io::Error,
}

struct Driver {
    mesh: Mesh,
    sealed: Option<Sealed>,
    sockets: Vec<UdpSocket>,
    inbox: mpsc::Receiver<MeshInput>,
    view: watch::Sender<Arc<View>>,
    until: watch::Sender<Option<Instant>>,
    told: broadcast::Sender<MeshEvent>,
    tally: watch::Sender<MeshTally>,
    alarm: Alarm,
}

impl Driver {
    async fn run(mut self, mut stop: Stop) {
        let (mut out, mut stopping) = (Vec::new(), false);
        let (mut first, mut second) = (vec![0; MAX_MESSAGE + 64], vec![0; MAX_MESSAGE + 64]);
        while !(self.mesh.has_left() && self.mesh.deadline().is_none()) {
            let input = tokio::select! { biased;
                () = stop.wait(), if !stopping => { stopping = true; Some(MeshInput::Leave) }
                Some(command) = self.inbox.recv() => Some(command),
                due = self.alarm.until(self.mesh.deadline()) => {
                    if let Err(error) = due {
                        tracing::error!(node = %self.mesh.config().me(), %error, "timer failed");
                        return;
                    }
                    None
                }
                got = receive(self.sockets.first(), &mut first) => {
                    self.accept(0, got.map(|(len, from)| (first.get(..len), from)))
                }
                got = receive(self.sockets.get(1), &mut second) => {
                    self.accept(1, got.map(|(len, from)| (second.get(..len), from)))
                }
            };
            let now = BootClock::new().now();
            match input {
                Some(input) => self.mesh.handle(now, input, &mut out),
                None => self.mesh.tick(now, &mut out),
            }
            for output in out.drain(..) {
                self.perform(output);
            }
            self.tell_quorum();
            let stats = self.mesh.stats();
            let sealed = self.sealed.as_ref().map(Sealed::stats).unwrap_or_default();
            self.tally.send_modify(|tally| (tally.mesh, tally.sealed) = (stats, sealed));
        }
    }

    /// Tells until when this node is quorate; who follows it need not wake up for each heartbeat.
    fn tell_quorum(&self) {
        let until = self.mesh.quorate_until();
        self.until.send_if_modified(|told| {
            let goes_on = matches!((*told, until), (Some(told), Some(until)) if told <= until);
            let before = std::mem::replace(told, until);
            !goes_on && before != until
        });
    }

    fn accept(
        &mut self,
        link: usize,
        got: io::Result<(Option<&[u8]>, SocketAddr)>,
    ) -> Option<MeshInput> {
        // An error is that of an earlier datagram: nobody listens there. It is no news.
        let (bytes, from) = got.ok()?;
        let bytes = bytes?;
        let opened;
        let plain = match &mut self.sealed {
            None => bytes,
            Some(sealed) => match sealed.open(bytes) {
                Ok(plain) => {
                    opened = plain;
                    &opened
                }
                Err(error) => {
                    tracing::debug!(%from, %error, "datagram dropped");
                    return None;
                }
            },
        };
        match Message::decode(plain) {
            Ok(message) => Some(MeshInput::Heard(link, from, message)),
            Err(error) => {
                tracing::debug!(%from, %error, "datagram dropped");
                self.tally.send_modify(|tally| tally.malformed += 1);
                None
            }
        }
    }

    fn perform(&mut self, output: MeshOutput) {
        match output {
            MeshOutput::Event(event) => {
                tracing::info!(node = %self.mesh.config().me(), ?event, "membership");
                // An error means that nobody follows.
                let _followers = self.told.send(event);
            }
            MeshOutput::Send { link, to, message } => {
                let plain = message.encode();
                let datagram = match &mut self.sealed {
                    None => Ok(plain),
                    Some(sealed) => sealed.seal(&plain),
                };
                let socket = self.sockets.get(link);
                // A lost heartbeat is the protocol's to handle: the next one follows.
                let sent = match (socket, datagram) {
                    (Some(socket), Ok(datagram)) => socket.try_send_to(&datagram, to).is_ok(),
                    (None, _) | (_, Err(_)) => false,
                };
                if !sent {
                    self.tally.send_modify(|tally| tally.unsent += 1);
                }
            }
            MeshOutput::View(view) => {
                self.view.send_replace(Arc::new(view));
            }
        }
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}
