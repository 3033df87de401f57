//! The laboratory: its switch, its hosts, and their end.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use ha_core::event::{Event, EventKind, Observer};
use ha_core::id::NodeName;
use ha_core::sys::namespace::NamespaceInit;
use ha_core::time::{BootClock, Clock as _, Instant};

use crate::LabError;
use crate::enter::is_privileged;
use crate::holders::Watched;
use crate::host::{self, Host};
use crate::kernel::{Kernel, Slot};
use crate::network::{self, Network};
use crate::nft::FaultPlan;
use crate::worker::Worker;

/// A laboratory: hosts and networks inside this machine's kernel.
///
/// Everything is gone when it is dropped, and also when the process ends in any other way: by a
/// panic, a signal, even `SIGKILL`. Nothing of it has a name in the file system; the kernel itself
/// cleans up. Handles of hosts and processes that outlive it answer [`LabError::Closed`].
///
/// Sockets opened and threads started by [`Host::run`] belong to their owner: they keep the
/// namespace of their host alive until they are closed.
///
/// A faulty program cannot leave the lab by becoming a daemon: all processes of a host live in one
/// process namespace, which dies as a whole.
///
/// ```
/// use std::net::UdpSocket;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # if let Err(error) = ha_lab::enter() { ha_lab::skip(error); return Ok(()); }
/// let lab = ha_lab::Lab::new()?;
/// let lan = lab.network("lan")?;
/// let a = lab.host("a")?.join(&lan, "10.77.0.1/24")?;
/// let b = lab.host("b")?.join(&lan, "10.77.0.2/24")?;
///
/// let receiver = b.run(|| UdpSocket::bind("10.77.0.2:7"))??;
/// a.run(|| UdpSocket::bind("10.77.0.1:0")?.send_to(b"hello", "10.77.0.2:7"))??;
/// let mut buffer = [0; 16];
/// let (len, from) = receiver.recv_from(&mut buffer)?;
/// assert_eq!((&buffer[..len], from.ip().to_string().as_str()), (&b"hello"[..], "10.77.0.1"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
}

impl Lab {
    /// Makes an empty one.
    ///
    /// Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`: root has them, and everybody after
    /// [`enter`](crate::enter).
    ///
    /// # Errors
    ///
    /// [`LabError::Unprivileged`] without them; [`LabError::Forbidden`] when a setting of the
    /// machine forbids namespaces: it names the setting and the remedy.
    pub fn new() -> Result<Self, LabError> {
        if !is_privileged() {
            return Err(LabError::Unprivileged { what: "make a lab" });
        }
        let switch = Slot::new(Kernel::new(false)?);
        let keeper = Keeper::start().map_err(|error| LabError::kernel("start a thread", error))?;
        let shared = Shared { switch, keeper: Mutex::new(Some(keeper)), state: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Adds a network.
    ///
    /// # Errors
    ///
    /// [`LabError::Name`] and [`LabError::Duplicate`] for a wrong name, which follows the rules of
    /// a [`NodeName`]; [`LabError::Kernel`].
    pub fn network(&self, name: &str) -> Result<Network, LabError> {
        let name = NodeName::new(name)?.to_string();
        let switch = self.shared.switch(|| format!("add network {name}"))?;
        let mut state = self.shared.state();
        if state.networks.iter().any(|network| network.name == name) {
            return Err(LabError::Duplicate { what: "a network", name });
        }
        let number = state.networks.len();
        let bridge = format!("n{number}");
        let index = switch
            .netlink
            .add_bridge(&bridge, mac(0xff, number, 0))
            .map_err(|error| LabError::kernel(format!("add network {name}"), error))?;
        let inner = Arc::new(network::Inner { name, bridge, index });
        state.networks.push(Arc::clone(&inner));
        Ok(Network { inner, lab: Arc::clone(&self.shared) })
    }

    /// Adds a host, powered on and on no network yet.
    ///
    /// # Errors
    ///
    /// [`LabError::Name`] and [`LabError::Duplicate`] for a wrong name; [`LabError::Forbidden`]
    /// when the limit on namespaces is reached; [`LabError::Kernel`].
    pub fn host(&self, name: &str) -> Result<Host, LabError> {
        let name = NodeName::new(name)?;
        let mut state = self.shared.state();
        if state.hosts.iter().any(|host| host.name == name) {
            return Err(LabError::Duplicate { what: "a host", name: name.to_string() });
        }
        let inner = Arc::new(host::Inner::new(name, state.hosts.len())?);
        state.hosts.push(Arc::clone(&inner));
        Ok(Host { inner, lab: Arc::clone(&self.shared) })
    }

    /// Tells `observer` of each fault from now on: an [`EventKind::Fault`] whose subject is the
    /// host or network, stamped by [`BootClock`] just *before* the fault acts, so that what it
    /// causes comes after it on a timeline.
    pub fn observe(&self, observer: Arc<dyn Observer>) {
        self.shared.state().observers.push(observer);
    }

    /// From now on drops every frame between a host of one side and a host of the other, both
    /// ways, silently. Hosts on neither side see all.
    ///
    /// # Errors
    ///
    /// [`LabError::NoProgram`] without `nft`.
    pub fn partition(&self, one: &[&Host], other: &[&Host]) -> Result<(), LabError> {
        let names = |hosts: &[&Host]| {
            hosts.iter().map(|host| host.name().as_str()).collect::<Vec<_>>().join("+")
        };
        self.shared.fault(&names(one), format!("partitioned from {}", names(other)));
        self.shared.change_plan(|plan| {
            for a in one {
                for b in other {
                    plan.paths.extend(a.paths_to(b).chain(b.paths_to(a)));
                }
            }
        })
    }

    /// From now on drops every frame from one host to another, silently; the way back stays open.
    ///
    /// # Errors
    ///
    /// As [`Lab::partition`].
    pub fn cut_path(&self, from: &Host, to: &Host) -> Result<(), LabError> {
        self.shared.fault(from.name().as_str(), format!("cannot reach {}", to.name()));
        self.shared.change_plan(|plan| plan.paths.extend(from.paths_to(to)))
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends every fault of the network: partitions, cut paths, loss, cut hosts and downed links.
    /// Hosts without power stay so, and frozen ones frozen.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`]; [`LabError::Rules`].
    pub fn heal(&self) -> Result<(), LabError> {
        self.shared.fault("lab", "healed");
        let hosts = self.shared.state().hosts.clone();
        for inner in hosts {
            let host = Host { inner, lab: Arc::clone(&self.shared) };
            host.mend()?;
        }
        if self.shared.state().plan.is_empty() {
            return Ok(());
        }
        self.shared.change_plan(|plan| *plan = FaultPlan::default())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// The deterministic link-layer address: locally administered, then kind, number and interface.
pub(crate) fn mac(kind: u8, number: usize, interface: usize) -> [u8; 6] {
    let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    [0x02, kind, 0, high, low, u8::try_from(interface).unwrap_or(u8::MAX)]
}

/// What the lab and all its handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    switch: Slot,
    keeper: Mutex<Option<Keeper>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    hosts: Vec<Arc<host::Inner>>,
    networks: Vec<Arc<network::Inner>>,
    plan: FaultPlan,
    observers: Vec<Arc<dyn Observer>>,
    workers: Vec<Weak<Worker>>,
    watched: Vec<Weak<Watched>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn switch(&self, what: impl FnOnce() -> String) -> Result<Arc<Kernel>, LabError> {
        self.switch.get(what)
    }

    /// Tells the observers of a fault that is about to act; returns the time it was stamped with.
    pub(crate) fn fault(&self, subject: &str, what: impl Into<String>) -> Instant {
        self.tell(subject, EventKind::Fault { what: what.into() })
    }

    /// Tells the observers; returns the time it was stamped with.
    pub(crate) fn tell(&self, subject: &str, kind: EventKind) -> Instant {
        let observers = self.state().observers.clone();
        let at = BootClock::new().now();
        let event = Event::new(at, subject, kind);
        tracing::info!(target: "ha_lab", %subject, event = %event.kind, "fault");
        for observer in observers {
            observer.observe(&event);
        }
        at
    }

    /// Changes the plan of dropped frames, and the switch with it.
    pub(crate) fn change_plan(&self, change: impl FnOnce(&mut FaultPlan)) -> Result<(), LabError> {
        let switch = self.switch(|| "change the faults".to_owned())?;
        // Held while `nft` runs, so that two changes cannot overtake each other.
        let mut state = self.state();
        let mut plan = state.plan.clone();
        change(&mut plan);
        if plan != state.plan {
            plan.apply(&switch)?;
            state.plan = plan;
        }
        Ok(())
    }

    /// Remembers a worker, to stop it at the end of the lab.
    pub(crate) fn adopt(&self, worker: &Arc<Worker>) {
        let mut state = self.state();
        state.workers.retain(|worker| worker.strong_count() > 0);
        state.workers.push(Arc::downgrade(worker));
    }

    /// Tells `watched` from now on when a host loses or gets power.
    pub(crate) fn tell_power(&self, watched: &Arc<Watched>) {
        let mut state = self.state();
        state.watched.retain(|watched| watched.strong_count() > 0);
        state.watched.push(Arc::downgrade(watched));
    }

    /// Tells everybody who watches holders that `host` has lost or got power.
    pub(crate) fn power_changed(&self, host: &NodeName, at: Instant, on: bool) {
        let watched: Vec<_> = self.state().watched.iter().filter_map(Weak::upgrade).collect();
        for watched in watched {
            watched.power(host, at, on);
        }
    }

    /// Starts the first process of a process namespace.
    pub(crate) fn new_init(&self) -> Result<NamespaceInit, LabError> {
        let what = "start a process namespace";
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keeper) = &*keeper else {
            return Err(LabError::Closed { what: what.to_owned() });
        };
        keeper.new_init().map_err(|error| crate::enter::refused(what, error))
    }

    /// Ends everything, and returns when nothing is left.
    fn close(&self) {
        let (hosts, workers) = {
            let state = self.state();
            (state.hosts.clone(), state.workers.clone())
        };
        // From here on nothing new starts.
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        for host in &hosts {
            host.kill_init();
        }
        for worker in workers.iter().filter_map(Weak::upgrade) {
            worker.stop();
        }
        for host in &hosts {
            host.close();
        }
        self.switch.empty();
        drop(keeper);
    }
}

/// The thread that starts the first processes: they die with the thread that started them, so it
/// must live as long as the lab.
#[derive(Debug)]
struct Keeper {
    requests: Option<Sender<Sender<io::Result<NamespaceInit>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    fn start() -> io::Result<Self> {
        let (requests, todo) = mpsc::channel();
        let thread = thread::Builder::new().name("ha-lab keeper".to_owned());
        let thread = thread.spawn(move || keep(&todo))?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    fn new_init(&self) -> io::Result<NamespaceInit> {
        let (sender, answer) = mpsc::channel();
        let gone = || io::Error::other("the lab's keeper thread is gone");
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.send(sender).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

fn keep(todo: &Receiver<Sender<io::Result<NamespaceInit>>>) {
    for answer in todo {
        if let Err(unwanted) = answer.send(NamespaceInit::start())
            && let Ok(init) = unwanted.0
        {
            drop(init.kill());
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by it.
            drop(thread.join());
        }
    }
}
