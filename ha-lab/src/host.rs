//! A host: a network namespace with interfaces, and the processes in it.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ha_core::id::NodeName;
use ha_core::sys::namespace::NamespaceInit;

use crate::kernel::{Kernel, Slot};
use crate::lab::{Shared, mac};
use crate::netlink::VethPair;
use crate::process::{self, Process};
use crate::{InterfaceAddress, LabError, Network};

/// A host of a [`Lab`](crate::Lab): interfaces and addresses of its own, and processes.
///
/// A handle, cheap to clone, that all threads may use. Its interfaces are `lo` and, one for each
/// network joined, `eth0`, `eth1`, … Its file system is this machine's, but its mounts are its
/// own and end with its power. Its faults stand with [`Host::power_off`].
#[derive(Debug, Clone)]
pub struct Host {
    pub(crate) inner: Arc<Inner>,
    pub(crate) lab: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: NodeName,
    number: usize,
    kernel: Slot,
    pub(crate) ports: Mutex<Vec<Port>>,
    pub(crate) init: Mutex<Option<Arc<NamespaceInit>>>,
    processes: Mutex<Vec<Arc<process::Shared>>>,
    /// Whether it is without power, or is losing it.
    pub(crate) off: AtomicBool,
    /// Held while its power changes.
    pub(crate) power: Mutex<()>,
    /// Whether it is cut off.
    pub(crate) cut: AtomicBool,
}

/// An interface and the port of the switch at its other end.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    /// Its index here.
    pub(crate) index: u32,
    /// The address it got when it joined.
    pub(crate) address: Option<InterfaceAddress>,
    /// In the switch.
    pub(crate) name: String,
    /// Its index in the switch.
    pub(crate) switch_index: u32,
    /// The bridge it belongs to.
    pub(crate) bridge: u32,
}

impl Host {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.inner.name
    }

    /// Joins a network with the next interface (`eth0` first) and gives it `address`, such as
    /// `10.77.0.1/24`. Returns another handle of this host, for a chain of calls.
    ///
    /// # Errors
    ///
    /// [`LabError::Address`]; [`LabError::Kernel`].
    pub fn join(&self, network: &Network, address: &str) -> Result<Self, LabError> {
        self.attach(network, Some(address.parse()?))
    }

    /// Joins a network without an address.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn join_without_address(&self, network: &Network) -> Result<Self, LabError> {
        self.attach(network, None)
    }

    fn attach(
        &self,
        network: &Network,
        address: Option<InterfaceAddress>,
    ) -> Result<Self, LabError> {
        let what = || format!("let {} join {}", self.name(), network.name());
        if !Arc::ptr_eq(&self.lab, &network.lab) {
            let why = "it belongs to another lab".to_owned();
            return Err(LabError::NotFound { what: "network", name: network.name().into(), why });
        }
        let failed = |error| LabError::kernel(what(), error);
        let (kernel, switch) = (self.kernel(what)?, self.lab.switch(what)?);
        let mut ports = self.ports();
        let slot = ports.len();
        let (interface, name) = (
            format!("eth{slot}"),
            format!("{}.{}.{slot}", network.inner.bridge, self.inner.number),
        );
        let pair = VethPair {
            port: &name,
            port_mac: mac(1, self.inner.number, slot),
            bridge: network.inner.index,
            far_name: &interface,
            far_mac: mac(0, self.inner.number, slot),
            far_namespace: kernel.namespace(),
        };
        let switch_index = switch.netlink.add_veth(&pair).map_err(failed)?;
        let index = kernel.netlink.link(&interface).map_err(failed)?.index;
        kernel.netlink.set_up(index, true).map_err(failed)?;
        if let Some(address) = address {
            kernel.netlink.add_address(index, address).map_err(failed)?;
        }
        let bridge = network.inner.index;
        ports.push(Port { index, address, name, switch_index, bridge });
        drop(ports);
        self.await_links()?;
        Ok(self.clone())
    }

    /// Runs `f` inside the host's network and returns what it returns; waits for it. It sees this
    /// process's mounts, not the host's.
    ///
    /// It runs on a thread of its own, so it may block, start threads or a tokio runtime, and
    /// borrow from the caller. Sockets opened in it stay in the host's network wherever they are
    /// used; threads started in it likewise. A panic in it is carried over to the caller.
    ///
    /// # Errors
    ///
    /// [`LabError::Closed`]; [`LabError::Kernel`] when no thread can be started.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> Result<R, LabError> {
        let what = || format!("run something on {}", self.name());
        self.kernel(what)?.run(f).map_err(|error| LabError::kernel(what(), error))
    }

    /// Starts a process on the host: in its network, among its processes and with its mounts.
    ///
    /// Its standard input is empty; its output is kept, see [`Process::lines`]. A program without
    /// a path is looked for on `PATH`; `/proc/self/exe` is the running program itself; [`find_program`](crate::find_program) looks in `/usr/sbin`
    /// too.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the program is not there or cannot be run;
    /// [`LabError::Forbidden`] when process namespaces are.
    pub fn spawn(&self, command: &mut Command) -> Result<Process, LabError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let what = || format!("start {program} on {}", self.name());
        let (kernel, init) = (self.kernel(what)?, self.init()?);
        let spawned = kernel.run(|| {
            // For this thread only, which ends with the closure.
            init.enter()?;
            Process::launch(command)
        });
        let adopted =
            spawned.flatten().and_then(|child| Process::adopt(self.name(), program.clone(), child));
        let process = adopted.map_err(|error| LabError::kernel(what(), error))?;
        let mut processes = self.inner.processes();
        processes.retain(|process| !process.is_over());
        processes.push(process.shared());
        Ok(process)
    }

    /// Adds an address to an interface.
    ///
    /// # Errors
    ///
    /// [`LabError::Address`]; [`LabError::Kernel`], also when it has it already.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<(), LabError> {
        let what = || format!("add {address} to {interface} of {}", self.name());
        let (kernel, parsed) = (self.kernel(what)?, address.parse()?);
        let added = kernel
            .netlink
            .link(interface)
            .and_then(|l| kernel.netlink.add_address(l.index, parsed));
        added.map_err(|error| LabError::kernel(what(), error))
    }

    /// Removes an address from an interface.
    ///
    /// # Errors
    ///
    /// [`LabError::Address`]; [`LabError::Kernel`], also when it does not have it.
    pub fn remove_address(&self, interface: &str, address: &str) -> Result<(), LabError> {
        let what = || format!("remove {address} from {interface} of {}", self.name());
        let (kernel, parsed) = (self.kernel(what)?, address.parse()?);
        let removed = kernel
            .netlink
            .link(interface)
            .and_then(|l| kernel.netlink.remove_address(l.index, parsed));
        removed.map_err(|error| LabError::kernel(what(), error))
    }

    /// The addresses of an interface.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn addresses(&self, interface: &str) -> Result<Vec<InterfaceAddress>, LabError> {
        let what = || format!("list the addresses of {interface} of {}", self.name());
        let kernel = self.kernel(what)?;
        let listed = kernel.netlink.link(interface).and_then(|link| {
            let all = kernel.netlink.addresses()?.into_iter();
            Ok(all.filter(|(index, _)| *index == link.index).map(|(_, address)| address).collect())
        });
        listed.map_err(|error| LabError::kernel(what(), error))
    }

    /// Whether any interface of the host has the address.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn holds(&self, ip: IpAddr) -> Result<bool, LabError> {
        let what = || format!("list the addresses of {}", self.name());
        let all = self.kernel(what)?.netlink.addresses();
        let all = all.map_err(|error| LabError::kernel(what(), error))?;
        Ok(all.iter().any(|(_, address)| address.ip() == ip))
    }

    /// The link-layer address of an interface; the lab's own are the same in every run.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when there is no such interface.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6], LabError> {
        let what = || format!("look at {interface} of {}", self.name());
        let link = self.kernel(what)?.netlink.link(interface);
        let link = link.map_err(|error| LabError::kernel(what(), error))?;
        Ok(link.mac.try_into().unwrap_or_default())
    }

    /// The link-layer address at which the host's kernel believes `ip` to be, if it knows one.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn neighbour(&self, ip: IpAddr) -> Result<Option<[u8; 6]>, LabError> {
        let what = || format!("look at the neighbours of {}", self.name());
        self.kernel(what)?.netlink.neighbour(ip).map_err(|error| LabError::kernel(what(), error))
    }

    /// Makes the host's kernel forget the link-layer address of one neighbour, or of all (`None`).
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn forget_neighbours(&self, only: Option<IpAddr>) -> Result<(), LabError> {
        let what = || format!("forget neighbours of {}", self.name());
        let forgotten = self.kernel(what)?.netlink.forget_neighbours(only);
        forgotten.map_err(|error| LabError::kernel(what(), error))
    }

    /// Sends packets for the network `to`, such as `10.88.0.0/16` or `0.0.0.0/0`, by way of `via`.
    ///
    /// # Errors
    ///
    /// [`LabError::Address`]; [`LabError::Kernel`], also when `via` is on no network of the host.
    pub fn add_route(&self, to: &str, via: IpAddr) -> Result<(), LabError> {
        let what = || format!("add a route to {to} by way of {via} on {}", self.name());
        let (kernel, to) = (self.kernel(what)?, to.parse()?);
        kernel.netlink.add_route(to, via).map_err(|error| LabError::kernel(what(), error))
    }

    /// Sets a network setting of the host's kernel, such as `net.ipv4.ip_forward` to `1`.
    ///
    /// # Errors
    ///
    /// [`LabError::NotFound`] for a key outside of `net`; [`LabError::Kernel`] when there is no
    /// such key, or it does not take the value, or `/proc/sys` is locked (in a container).
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        let path = sysctl_path(key)?;
        let what = || format!("set {key} to {value} on {}", self.name());
        let written = self.kernel(what)?.run(|| std::fs::write(path, value)).flatten();
        written.map_err(|error| LabError::kernel(what(), error))
    }

    /// Reads a network setting of the host's kernel.
    ///
    /// # Errors
    ///
    /// As [`Host::set_sysctl`].
    pub fn sysctl(&self, key: &str) -> Result<String, LabError> {
        let path = sysctl_path(key)?;
        let what = || format!("read {key} on {}", self.name());
        let read = self.kernel(what)?.run(|| std::fs::read_to_string(path)).flatten();
        read.map(|text| text.trim().to_owned()).map_err(|error| LabError::kernel(what(), error))
    }

    pub(crate) fn kernel(&self, what: impl FnOnce() -> String) -> Result<Arc<Kernel>, LabError> {
        self.inner.kernel.get(what)
    }

    pub(crate) fn ports(&self) -> MutexGuard<'_, Vec<Port>> {
        self.inner.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pairs of ports by which frames get from here to `to`.
    pub(crate) fn paths_to(&self, to: &Self) -> impl Iterator<Item = (String, String)> + use<> {
        let (here, there) = (self.ports().clone(), to.ports().clone());
        let pairs = here.into_iter().flat_map(move |a| {
            there
                .clone()
                .into_iter()
                .filter(move |b| a.bridge == b.bridge)
                .map(move |b| (a.name.clone(), b.name))
                .collect::<Vec<_>>()
        });
        pairs.filter(|(a, b)| a != b)
    }

    /// The first process of the host's process namespace, started when first needed.
    fn init(&self) -> Result<Arc<NamespaceInit>, LabError> {
        let mut slot = self.inner.init.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at with the lock held: a power cut meanwhile finds this one and kills it.
        if self.is_off() {
            let why = "it has no power".to_owned();
            return Err(LabError::NotFound { what: "host", name: self.name().to_string(), why });
        }
        if let Some(init) = &*slot {
            return Ok(Arc::clone(init));
        }
        let init = Arc::new(self.lab.new_init()?);
        *slot = Some(Arc::clone(&init));
        Ok(init)
    }
}

impl Inner {
    pub(crate) fn new(name: NodeName, number: usize) -> Result<Self, LabError> {
        Ok(Self {
            name,
            number,
            kernel: Slot::new(Kernel::new(true)?),
            ports: Mutex::default(),
            init: Mutex::default(),
            processes: Mutex::default(),
            off: AtomicBool::new(false),
            power: Mutex::default(),
            cut: AtomicBool::new(false),
        })
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Arc<process::Shared>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills all processes; does not wait.
    pub(crate) fn kill_init(&self) {
        let init = self.init.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(init) = &*init {
            // Fails only for a process that is no child of this one, which it is.
            drop(init.kill());
        }
    }

    /// Kills all processes and waits until none is left.
    pub(crate) fn end_processes(&self) {
        self.kill_init();
        let init = self.init.lock().unwrap_or_else(PoisonError::into_inner).take();
        let processes = std::mem::take(&mut *self.processes());
        // The namespace ends only when those are waited for whose parent is outside of it.
        for process in processes {
            process.join();
        }
        if let Some(init) = init {
            drop(init.wait());
        }
    }

    /// The end of the lab.
    pub(crate) fn close(&self) {
        self.end_processes();
        self.kernel.empty();
    }
}

fn sysctl_path(key: &str) -> Result<PathBuf, LabError> {
    let clean = key.starts_with("net.") && !key.contains("..") && !key.contains('\0');
    if !clean {
        let why = "a host has settings of its own under `net.` only".to_owned();
        return Err(LabError::NotFound { what: "setting", name: key.to_owned(), why });
    }
    // An interface's name may hold a dot, written as a slash (sysctl(8)).
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    Ok(PathBuf::from("/proc/sys").join(key.chars().map(swap).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_of_the_network_are_refused() {
        assert_eq!(
            sysctl_path("net.ipv4.conf.eth0/1.rp_filter").expect("a setting"),
            PathBuf::from("/proc/sys/net/ipv4/conf/eth0.1/rp_filter")
        );
        for key in ["kernel.hostname", "net.//.//.//kernel", "net...kernel", "net\0"] {
            assert!(sysctl_path(key).is_err() || !key.contains(".."), "{key}");
        }
        assert!(sysctl_path("kernel.hostname").is_err());
        assert!(sysctl_path("net...kernel").is_err());
    }
}
