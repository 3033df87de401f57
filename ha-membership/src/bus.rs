//! A membership among the tasks of one process.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ha_core::driver::{Alarm, Stop, Task};
use ha_core::id::{Incarnation, NodeName, ViewId};
use ha_core::machine::Machine;
use ha_core::time::{BootClock, Clock};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, watch};

use crate::membership::{Membership, MembershipError};
use crate::roster::{Datagram, Roster, RosterConfig, RosterInput, RosterOutput};
use crate::view::View;

/// How many datagrams wait for a slow member; older ones are lost, as on a network.
const BUS_CAPACITY: usize = 1024;
/// How many commands wait for a driver.
const COMMANDS: usize = 16;

/// A network inside a process, on which members hear each other's heartbeats.
///
/// For tests of whatever needs a [`Membership`], and for programs that are their own cluster of
/// tasks. Nodes can be cut off from each other. Clones are the same bus.
#[derive(Debug, Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    datagrams: broadcast::Sender<Datagram>,
    /// Directions in which nothing passes: from, to.
    cuts: Mutex<BTreeSet<(NodeName, NodeName)>>,
    last_life: Mutex<Incarnation>,
}

impl Bus {
    /// A bus without members.
    #[must_use]
    pub fn new() -> Self {
        let (datagrams, _) = broadcast::channel(BUS_CAPACITY);
        let (cuts, last_life) = (Mutex::default(), Mutex::new(Incarnation::new(0)));
        Self { inner: Arc::new(Inner { datagrams, cuts, last_life }) }
    }

    /// Joins a node; its incarnation is given by the bus. Needs a tokio runtime with I/O enabled.
    ///
    /// Dropping the membership without [`leave`](Membership::leave) is a crash: the others find
    /// out by its silence.
    ///
    /// # Errors
    ///
    /// The kernel's, when no timer is to be had.
    pub fn join(&self, config: RosterConfig) -> io::Result<BusMembership> {
        let incarnation = {
            let mut last = self.inner.last_life.lock().unwrap_or_else(PoisonError::into_inner);
            *last = last.next();
            *last
        };
        let me = config.me().clone();
        let roster = Roster::new(config.in_life(incarnation), BootClock::new().now());
        let (view, views) = watch::channel(Arc::new(roster.view().clone()));
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let driver = Driver {
            roster,
            me: me.clone(),
            bus: self.clone(),
            heard: self.inner.datagrams.subscribe(),
            inbox,
            view,
            alarm: Alarm::new()?,
        };
        let task = Task::spawn(|stop| driver.run(stop));
        Ok(BusMembership { me, views, commands, _task: task })
    }

    /// Cuts one direction: `to` no longer hears `from`.
    pub fn cut(&self, from: &NodeName, to: &NodeName) {
        self.cuts().insert((from.clone(), to.clone()));
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.cuts().clear();
    }

    fn cuts(&self) -> std::sync::MutexGuard<'_, BTreeSet<(NodeName, NodeName)>> {
        self.inner.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passes(&self, from: &NodeName, to: &NodeName) -> bool {
        let cuts = self.cuts();
        cuts.is_empty() || !cuts.contains(&(from.clone(), to.clone()))
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

/// A member of a [`Bus`].
#[derive(Debug)]
pub struct BusMembership {
    me: NodeName,
    views: watch::Receiver<Arc<View>>,
    commands: mpsc::Sender<RosterInput>,
    /// Stops the driver when dropped.
    _task: Task<()>,
}

impl BusMembership {
    /// Tells this member that `node` is confirmed to be off, so that it leaves the view.
    ///
    /// # Errors
    ///
    /// [`MembershipError::Ended`] when this node has left.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: told wholly or not at all.
    pub async fn confirm_fenced(&self, node: NodeName) -> Result<(), MembershipError> {
        let told = self.commands.send(RosterInput::Fenced(node)).await;
        told.map_err(|_| self.ended())
    }

    fn ended(&self) -> MembershipError {
        MembershipError::Ended { node: self.me.clone() }
    }
}

#[async_trait]
impl Membership for BusMembership {
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
        if self.commands.send(RosterInput::Leave).await.is_ok() {
            self.commands.closed().await;
        }
        Ok(())
    }
}

/// Runs a roster on a bus.
struct Driver {
    roster: Roster,
    me: NodeName,
    bus: Bus,
    heard: broadcast::Receiver<Datagram>,
    inbox: mpsc::Receiver<RosterInput>,
    view: watch::Sender<Arc<View>>,
    alarm: Alarm,
}

impl Driver {
    async fn run(mut self, mut stop: Stop) {
        let mut out = Vec::new();
        loop {
            let input = tokio::select! { biased;
                () = stop.wait() => return,
                Some(command) = self.inbox.recv() => Some(command),
                heard = self.heard.recv() => match heard {
                    Ok(datagram) => self.accept(datagram),
                    // As on a network: what was not read in time is gone, heartbeats come again.
                    Err(RecvError::Lagged(_)) => None,
                    Err(RecvError::Closed) => return,
                },
                due = self.alarm.until(self.roster.deadline()) => {
                    if let Err(error) = due {
                        tracing::error!(node = %self.me, %error, "timer failed");
                        return;
                    }
                    None
                }
            };
            let now = BootClock::new().now();
            let leaves = input == Some(RosterInput::Leave);
            match input {
                Some(input) => self.roster.handle(now, input, &mut out),
                None => self.roster.tick(now, &mut out),
            }
            for output in out.drain(..) {
                self.perform(output);
            }
            if leaves {
                return;
            }
        }
    }

    fn accept(&self, datagram: Datagram) -> Option<RosterInput> {
        let mine = datagram.from == self.me;
        (!mine && self.bus.passes(&datagram.from, &self.me)).then_some(RosterInput::Heard(datagram))
    }

    fn perform(&self, output: RosterOutput) {
        match output {
            RosterOutput::Send(datagram) => {
                // An error means that nobody listens.
                let _listeners = self.bus.inner.datagrams.send(datagram);
            }
            RosterOutput::View(view) => {
                for change in view.changes_since(&self.view.borrow()) {
                    tracing::info!(node = %self.me, %change, view = %view.id(), "view changed");
                }
                self.view.send_replace(Arc::new(view));
            }
        }
    }
}
