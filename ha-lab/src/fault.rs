//! Faults of one host: power, cable, frames, processes.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ha_core::time::{BootClock, Clock as _};
use rustix::process::{Pid, Signal, kill_process};

use crate::network::parts;
use crate::skip::find_program;
use crate::{Host, LabError};

/// How long a link may take to come up.
const LINK_LIMIT: Duration = Duration::from_secs(10);
/// How long freezing a host may take.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);

impl Host {
    /// Takes the power away: first its cables go silent, then all its processes are dead and with
    /// them its mounts gone, then its kernel forgets what a reboot forgets: addresses (also those
    /// that programs added), neighbours, routes, and links and packet filters that were made on
    /// it. Returns when that is done; clients are cut off at once.
    ///
    /// Network settings (`set_sysctl`) stay. Threads of this process in the host's network, such
    /// as a [`Responder`](crate::prober::Responder), live on; they are cut off, too.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn power_off(&self) -> Result<(), LabError> {
        let failed = |error| LabError::kernel(format!("power {} off", self.name()), error);
        let kernel = self.kernel(|| format!("power {} off", self.name()))?;
        let _changing = self.inner.power.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.lab.fault(self.name().as_str(), "power off");
        self.lab.power_changed(self.name(), at, false);
        self.inner.off.store(true, Ordering::SeqCst);
        self.plug()?;
        self.inner.end_processes();
        let ports = self.ports().clone();
        for (index, address) in kernel.netlink.addresses().map_err(failed)? {
            // Another may have gone with its network's first one.
            if index != 1 || !address.ip().is_loopback() {
                drop(kernel.netlink.remove_address(index, address));
            }
        }
        for link in kernel.netlink.links().map_err(failed)? {
            if ports.iter().any(|port| port.index == link.index) {
                kernel.netlink.set_up(link.index, false).map_err(failed)?;
            } else if link.index != 1 {
                // Devices that the kernel's modules put into each namespace cannot be deleted.
                drop(kernel.netlink.delete_link(link.index));
            }
        }
        if let Some(nft) = find_program("nft") {
            let flush = || std::process::Command::new(nft).args(["flush", "ruleset"]).output();
            drop(kernel.run(flush).flatten().map_err(failed)?);
        }
        Ok(())
    }

    /// Gives the power back: the addresses of [`Host::join`] are there again, and its links; its
    /// processes are for the caller to start. Without effect on a host that has power.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn power_on(&self) -> Result<(), LabError> {
        let failed = |error| LabError::kernel(format!("power {} on", self.name()), error);
        let kernel = self.kernel(|| format!("power {} on", self.name()))?;
        let _changing = self.inner.power.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_off() {
            return Ok(());
        }
        let at = self.lab.fault(self.name().as_str(), "power on");
        self.lab.power_changed(self.name(), at, true);
        let ports = self.ports().clone();
        for port in ports {
            kernel.netlink.set_up(port.index, true).map_err(failed)?;
            if let Some(address) = port.address {
                kernel.netlink.add_address(port.index, address).map_err(failed)?;
            }
        }
        self.inner.off.store(false, Ordering::SeqCst);
        self.plug()?;
        self.await_links()
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.inner.off.load(Ordering::SeqCst)
    }

    /// Cuts the host off silently, both ways: its interfaces keep their carrier, its processes
    /// run, and no frame gets anywhere: a switch that has hung, a wrong filter.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn cut(&self) -> Result<(), LabError> {
        self.lab.fault(self.name().as_str(), "cut off");
        self.inner.cut.store(true, Ordering::SeqCst);
        self.plug()
    }

    /// Ends [`Host::cut`].
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn uncut(&self) -> Result<(), LabError> {
        self.lab.fault(self.name().as_str(), "no longer cut off");
        self.inner.cut.store(false, Ordering::SeqCst);
        self.plug()?;
        self.await_links()
    }

    /// Pulls the cables: the interfaces of the host lose their carrier, which it can see.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn link_down(&self) -> Result<(), LabError> {
        self.lab.fault(self.name().as_str(), "link down");
        self.set_carrier(false, |_| true)
    }

    /// Pulls the cable of one interface, such as `eth1`; [`Host::link_up`] ends that, too.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`], also when the host has no such interface.
    pub fn link_down_on(&self, interface: &str) -> Result<(), LabError> {
        self.lab.fault(self.name().as_str(), format!("link down on {interface}"));
        let what = || format!("look at {interface} of {}", self.name());
        let link = self.kernel(what)?.netlink.link(interface);
        let index = link.map_err(|error| LabError::kernel(what(), error))?.index;
        self.set_carrier(false, |port| port.index == index)
    }

    /// Ends [`Host::link_down`].
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn link_up(&self) -> Result<(), LabError> {
        self.lab.fault(self.name().as_str(), "link up");
        self.set_carrier(true, |_| true)?;
        self.await_links()
    }

    /// From now on loses so many percent of the frames from and to the host, 0 to 100, at random;
    /// 0 ends it.
    ///
    /// # Errors
    ///
    /// [`LabError::Range`]; [`LabError::NoProgram`] without `nft`.
    pub fn loss(&self, percent: f64) -> Result<(), LabError> {
        let loss = parts(percent)?;
        self.lab.fault(self.name().as_str(), format!("loses {percent} % of its frames"));
        let ports = self.ports().clone();
        self.lab.change_plan(|plan| {
            for port in ports {
                if loss == 0 {
                    plan.port_loss.remove(&port.name);
                } else {
                    plan.port_loss.insert(port.name, loss);
                }
            }
        })
    }

    /// Stops all processes of the host in their tracks (`SIGSTOP`); returns when they stand.
    ///
    /// Its kernel goes on: it answers to pings and ARP and keeps its addresses, as one would see
    /// of overloaded or swapping machines. For a virtual machine that is paused as a whole, [cut it
    /// off](Host::cut) first. Threads of this process in the host's network are not its processes.
    ///
    /// # Errors
    ///
    /// [`LabError::Timeout`] when processes keep being born for 5 s; [`LabError::Kernel`].
    pub fn freeze(&self) -> Result<(), LabError> {
        self.lab.fault(self.name().as_str(), "frozen");
        let clock = BootClock::new();
        let end = clock.now() + FREEZE_LIMIT;
        loop {
            let running: Vec<Pid> = self.pids().into_iter().filter(|&pid| runs(pid)).collect();
            if running.is_empty() {
                return Ok(());
            }
            self.signal_all(&running, Signal::STOP)?;
            if clock.now() > end {
                let what = format!("freeze {}", self.name());
                let seen = format!("{} of its processes run yet", running.len());
                return Err(LabError::Timeout { what, limit: FREEZE_LIMIT, seen });
            }
            std::thread::yield_now();
        }
    }

    /// Lets all processes of the host go on (`SIGCONT`).
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`].
    pub fn thaw(&self) -> Result<(), LabError> {
        self.lab.fault(self.name().as_str(), "thawed");
        self.signal_all(&self.pids(), Signal::CONT)
    }

    /// Kills all processes of the host, daemons too; its kernel goes on. Returns when none is left.
    pub fn kill_all(&self) {
        self.lab.fault(self.name().as_str(), "all processes killed");
        self.inner.end_processes();
    }

    /// The processes of the host, daemons too, by their numbers outside of its namespace.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.pids().into_iter().map(|pid| pid.as_raw_pid().unsigned_abs()).collect()
    }

    /// Whether the power is off, all of it: waits for the end of a change that is under way.
    pub(crate) fn is_surely_off(&self) -> bool {
        let _changing = self.inner.power.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_off()
    }

    /// Ends cuts and downed links.
    pub(crate) fn mend(&self) -> Result<(), LabError> {
        self.inner.cut.store(false, Ordering::SeqCst);
        self.plug()?;
        self.set_carrier(true, |_| true)?;
        self.await_links()
    }

    /// Waits until frames pass on each of its links that is to have them. Before, what is sent is
    /// lost without a word, and a kernel asks for a lost neighbour again after a second only.
    pub(crate) fn await_links(&self) -> Result<(), LabError> {
        let what = || format!("see the links of {} up", self.name());
        let failed = |error| LabError::kernel(what(), error);
        if self.is_off() || self.inner.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let (kernel, switch) = (self.kernel(what)?, self.lab.switch(what)?);
        let clock = BootClock::new();
        let end = clock.now() + LINK_LIMIT;
        for port in self.ports().clone() {
            loop {
                let here = kernel.netlink.is_forwarding(port.index).map_err(failed)?;
                let there = switch.netlink.is_forwarding(port.switch_index).map_err(failed)?;
                let (Some(here), Some(there)) = (here, there) else { break };
                if here && there {
                    break;
                }
                if clock.now() > end {
                    let seen = format!("up here: {here}, at the switch: {there}");
                    return Err(LabError::Timeout { what: what(), limit: LINK_LIMIT, seen });
                }
                std::thread::park_timeout(Duration::from_micros(200));
            }
        }
        Ok(())
    }

    /// Makes its ports belong to their bridges or to none, as power and cut have it.
    ///
    /// A port that belongs to no bridge takes frames and drops them: the far end notices nothing.
    fn plug(&self) -> Result<(), LabError> {
        let what = || format!("plug or unplug {}", self.name());
        let switch = self.lab.switch(what)?;
        let out = self.is_off() || self.inner.cut.load(Ordering::SeqCst);
        for port in self.ports().iter() {
            let bridge = if out { 0 } else { port.bridge };
            let set = switch.netlink.set_bridge(port.switch_index, bridge);
            set.map_err(|error| LabError::kernel(what(), error))?;
        }
        Ok(())
    }

    fn set_carrier(
        &self,
        up: bool,
        of: impl Fn(&crate::host::Port) -> bool,
    ) -> Result<(), LabError> {
        let what = || format!("change the links of {}", self.name());
        let switch = self.lab.switch(what)?;
        for port in self.ports().iter().filter(|port| of(port)) {
            let set = switch.netlink.set_up(port.switch_index, up);
            set.map_err(|error| LabError::kernel(what(), error))?;
        }
        Ok(())
    }

    /// All processes in the host's process namespace but its first one.
    fn pids(&self) -> Vec<Pid> {
        let init = self.inner.init.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(init) = init else { return Vec::new() };
        let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let first = init.pid().as_raw_pid();
        let wanted: Option<PathBuf> = namespace(first);
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| pid != first && wanted.is_some() && namespace(pid) == wanted)
            .filter_map(Pid::from_raw)
            .collect()
    }

    fn signal_all(&self, pids: &[Pid], signal: Signal) -> Result<(), LabError> {
        for &pid in pids {
            match kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => {
                    let what = format!("signal process {} of {}", pid.as_raw_pid(), self.name());
                    return Err(LabError::kernel(what, error));
                }
            }
        }
        Ok(())
    }
}

/// Whether the process is neither stopped nor dead.
fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
    // The name, in parentheses, may hold anything; the state follows the last of them.
    let state = stat.ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
    state.is_some_and(|state| !matches!(state, 'T' | 't' | 'Z' | 'X'))
}
