//! The laboratory of the show: hosts, nodes, instruments.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ha_core::event::{Event, EventKind};
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock, Instant};
use ha_core::timeline::Timeline;
use ha_lab::holders::HolderWatch;
use ha_lab::prober::{Prober, Responder};
use ha_lab::switch::PowerSwitch;
use ha_lab::{Host, Lab, Process};

use crate::cluster::{NODES, PORT, Paths, VIP};
use crate::disk::{Disk, Folder};
use crate::events::Told;
use crate::traffic::Traffic;
use crate::witness::Audit;

pub(crate) type Failure = Box<dyn Error>;

/// Every wait of the show ends as soon as what it waits for is there; this is when it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const PROBE_PORT: u16 = 7;
/// Shorter times without an answer are not drawn.
const DRAWN: Duration = Duration::from_millis(20);

/// A node's host, and the process on it while it runs.
pub(crate) struct Seat {
    pub(crate) host: Host,
    pub(crate) process: Process,
    cut: bool,
}

impl Seat {
    pub(crate) fn name(&self) -> &NodeName {
        self.host.name()
    }
}

/// Everything that is set up before the show, and taken down when this is dropped, in this order.
pub(crate) struct Stage {
    pub(crate) seats: Vec<Seat>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) prober: Prober,
    pub(crate) watch: HolderWatch,
    pub(crate) switch: PowerSwitch,
    pub(crate) timeline: Arc<Mutex<Timeline>>,
    pub(crate) paths: Paths,
    pub(crate) disk: Disk,
    /// When the nodes were started.
    pub(crate) started: Instant,
    past: Told,
    clients: Option<JoinHandle<std::io::Result<()>>>,
    _responders: Vec<Responder>,
    _lab: Lab,
    _folder: Folder,
}

impl Stage {
    pub(crate) fn build() -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let paths = Paths { folder: folder.path().to_owned() };
        let disk = Disk::new(folder.path())?;
        paths.prepare(&disk)?;

        let lab = Lab::new()?;
        let timeline = Arc::new(Mutex::new(Timeline::default()));
        lab.observe(timeline.clone());
        // The lanes of the picture, from those who are served to those who serve.
        for name in ["client", "n1", "n2", "n3"] {
            let text = "is on the network".to_owned();
            record(&timeline, Event::new(BootClock::new().now(), name, EventKind::Note { text }));
        }
        let lan = lab.network("lan")?;
        let client = lab.host("client")?.join(&lan, "10.77.0.9/24")?;
        let host = |(name, ip)| lab.host(name)?.join(&lan, &format!("{ip}/24"));
        let hosts = NODES.map(host).into_iter().collect::<Result<Vec<_>, _>>()?;
        let switch = PowerSwitch::new(&lab, paths.switch())?;
        for host in &hosts {
            // A host that gets its power back boots; its program is started by the script.
            switch.plug(host, |_| ());
        }
        let watch = HolderWatch::start(VIP.parse()?, &hosts.iter().collect::<Vec<_>>())?;
        let responders = hosts.iter().map(|host| Responder::start(host, PROBE_PORT));
        let responders = responders.collect::<Result<_, _>>()?;
        let address = |port| format!("{VIP}:{port}").parse::<SocketAddr>();
        let prober = Prober::start(&client, address(PROBE_PORT)?, Duration::from_millis(1))?;
        let (traffic, target) = (Arc::new(Traffic::default()), address(PORT)?);
        let driven = Arc::clone(&traffic);
        let clients = client.run(|| thread::spawn(move || driven.drive(target)))?;

        let started = BootClock::new().now();
        let seat = |host: Host| -> Result<Seat, Failure> {
            let process = start(&host, &paths)?;
            Ok(Seat { host, process, cut: false })
        };
        let seats = hosts.into_iter().map(seat).collect::<Result<_, _>>()?;
        Ok(Self {
            seats,
            traffic,
            prober,
            watch,
            switch,
            timeline,
            paths,
            disk,
            started,
            past: Told::default(),
            clients: Some(clients),
            _responders: responders,
            _lab: lab,
            _folder: folder,
        })
    }

    /// The seat of a node.
    pub(crate) fn seat(&self, name: &NodeName) -> Result<&Seat, Failure> {
        let found = self.seats.iter().find(|seat| seat.name() == name);
        found.ok_or_else(|| format!("there is no node {name}").into())
    }

    /// Cuts a host off the network.
    pub(crate) fn cut(&mut self, name: &NodeName) -> Result<(), Failure> {
        let found = self.seats.iter_mut().find(|seat| seat.name() == name);
        let seat = found.ok_or("there is no such node")?;
        seat.cut = true;
        Ok(seat.host.cut()?)
    }

    /// Gives a host its power and its network back, and starts its program.
    pub(crate) fn restart(&mut self, name: &NodeName) -> Result<(), Failure> {
        let paths = self.paths.clone();
        let found = self.seats.iter_mut().find(|seat| seat.name() == name);
        let seat = found.ok_or("there is no such node")?;
        self.past.read(&seat.process);
        if seat.cut {
            seat.host.uncut()?;
            seat.cut = false;
        }
        seat.host.power_on()?;
        seat.process = start(&seat.host, &paths)?;
        Ok(())
    }

    /// What the nodes have said so far.
    pub(crate) fn told(&self) -> Told {
        let mut told = self.past.clone();
        for seat in &self.seats {
            told.read(&seat.process);
        }
        told
    }

    /// The nodes whose program runs, which can be asked.
    pub(crate) fn running(&self) -> Vec<&NodeName> {
        let running = self.seats.iter().filter(|seat| seat.process.status().is_none());
        running.map(Seat::name).collect()
    }

    /// What the file of the witness says, as the node reads it that has the disk.
    pub(crate) fn audit(&self, node: &NodeName) -> Result<Audit, Failure> {
        let mut command = myself()?;
        command.arg("audit").arg(self.paths.witness());
        let process = self.seat(node)?.host.spawn(&mut command)?;
        let line = process.wait_for_line(PATIENCE, |line| line.starts_with('{'))?;
        Ok(serde_json::from_str(&line.text)?)
    }

    /// What writers have told of others that wrote at the same time.
    pub(crate) fn overlaps(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.paths.overlaps()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Notes what the show itself does to `subject`.
    pub(crate) fn note(&self, subject: &str, kind: EventKind) -> Instant {
        let at = BootClock::new().now();
        record(&self.timeline, Event::new(at, subject, kind));
        at
    }

    /// Ends the traffic; the timeline then has all that was said.
    pub(crate) fn finish(&mut self) -> Result<Timeline, Failure> {
        self.traffic.stop();
        if let Some(clients) = self.clients.take() {
            clients.join().map_err(|_| "the clients' thread panicked")??;
        }
        for event in self.told().for_timeline() {
            record(&self.timeline, event);
        }
        // The kernels' word on who held the address; a host without power holds nothing.
        for change in self.watch.events() {
            let address = VIP.to_owned();
            let kind = if change.holds {
                EventKind::AddressAdded { address }
            } else {
                EventKind::AddressRemoved { address }
            };
            record(&self.timeline, Event::new(change.at, change.host.as_str(), kind));
        }
        for (from, to) in self.traffic.gaps(DRAWN) {
            record(&self.timeline, Event::new(from, "client", EventKind::Unserved));
            record(&self.timeline, Event::new(to, "client", EventKind::Served));
        }
        self.note("client", EventKind::Note { text: "the show ends".to_owned() });
        let timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown = Timeline::default();
        for event in timeline.events() {
            shown.record(quiet(event.clone()));
        }
        Ok(shown)
    }
}

/// What the power switch does follows from what the nodes do: it needs no words in the picture.
fn quiet(mut event: Event) -> Event {
    if let EventKind::Command { what } | EventKind::Fault { what } = &event.kind
        && (what.starts_with("power switch") || what == "power on")
    {
        event.kind = EventKind::Note { text: what.clone() };
    }
    event
}

fn record(timeline: &Mutex<Timeline>, event: Event) {
    timeline.lock().unwrap_or_else(PoisonError::into_inner).record(event);
}

fn start(host: &Host, paths: &Paths) -> Result<Process, Failure> {
    let (mut command, name) = (myself()?, host.name().as_str());
    command.arg("node").arg("--config").arg(paths.config(name)).args(["--name", name]);
    command.current_dir(paths.node(name));
    Ok(host.spawn(&mut command)?)
}

/// This program, to play another role.
fn myself() -> Result<Command, Failure> {
    Ok(Command::new(std::env::current_exe()?))
}
