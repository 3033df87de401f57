//! The laboratory of the show: hosts, processes, instruments.

use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ha_core::event::{Event, EventKind};
use ha_core::time::{BootClock, Clock, Instant};
use ha_core::timeline::Timeline;
use ha_lab::holders::HolderWatch;
use ha_lab::prober::{Prober, Responder};
use ha_lab::{Host, Lab, Process};

use crate::Flags;
use crate::traffic::Traffic;

pub(crate) type Failure = Box<dyn Error>;

/// Every wait of the show ends as soon as what it waits for is there; this is when it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
const VIP: &str = "10.77.0.100";
const PROBE_PORT: u16 = 7;
const WEB_PORT: u16 = 8080;

/// A balancer's host, and the process on it while it runs.
pub(crate) struct Seat {
    pub(crate) host: Host,
    pub(crate) priority: u8,
    pub(crate) process: Process,
}

/// Everything that is set up before the show, and taken down when this is dropped.
pub(crate) struct Stage {
    pub(crate) balancers: [Seat; 2],
    pub(crate) webs: Vec<(Host, Process)>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) prober: Prober,
    pub(crate) watch: HolderWatch,
    pub(crate) timeline: Arc<Mutex<Timeline>>,
    flags: Vec<String>,
    clients: JoinHandle<std::io::Result<()>>,
    _responders: Vec<Responder>,
    _lab: Lab,
}

impl Stage {
    pub(crate) fn build(flags: &Flags) -> Result<Self, Failure> {
        let lab = Lab::new()?;
        let timeline = Arc::new(Mutex::new(Timeline::default()));
        lab.observe(timeline.clone());
        // The lanes of the picture, from those who are served to those who serve.
        for name in ["client", "lb1", "lb2", "web1"] {
            let text = "is on the network".to_owned();
            record(&timeline, Event::new(BootClock::new().now(), name, EventKind::Note { text }));
        }
        let lan = lab.network("lan")?;
        let client = lab.host("client")?.join(&lan, "10.77.0.9/24")?;

        let mut webs = Vec::new();
        for (name, ip) in [("web1", "10.77.0.21"), ("web2", "10.77.0.22"), ("web3", "10.77.0.23")] {
            let host = lab.host(name)?.join(&lan, &format!("{ip}/24"))?;
            let process = start_web(&host)?;
            webs.push((host, process));
        }
        let flags = vec![
            format!("--vip={VIP}/24"),
            format!("--advert-ms={}", flags.advert_ms),
            format!("--preempt={}", flags.preempt),
            "--listen=0.0.0.0:80".to_owned(),
            "--backends=web1=10.77.0.21:8080,web2=10.77.0.22:8080,web3=10.77.0.23:8080".to_owned(),
        ];
        let seat = |name: &str, ip: &str, priority| -> Result<Seat, Failure> {
            let host = lab.host(name)?.join(&lan, ip)?;
            let process = start_balancer(&host, priority, &flags)?;
            Ok(Seat { host, priority, process })
        };
        let balancers = [seat("lb1", "10.77.0.1/24", 150)?, seat("lb2", "10.77.0.2/24", 100)?];
        let hosts = [&balancers[0].host, &balancers[1].host];
        let watch = HolderWatch::start(VIP.parse()?, &hosts)?;
        watch.wait_for(&[hosts[0].name()], PATIENCE)?;

        let responders = hosts.map(|host| Responder::start(host, PROBE_PORT));
        let responders = responders.into_iter().collect::<Result<_, _>>()?;
        let address = |port| format!("{VIP}:{port}").parse::<SocketAddr>();
        let prober = Prober::start(&client, address(PROBE_PORT)?, Duration::from_millis(1))?;
        // Good until a gap says otherwise.
        record(&timeline, Event::new(BootClock::new().now(), "client", EventKind::Served));
        let (traffic, target) = (Arc::new(Traffic::default()), address(80)?);
        let driven = Arc::clone(&traffic);
        let clients = client.run(|| thread::spawn(move || driven.drive(target)))?;
        Ok(Self {
            balancers,
            webs,
            traffic,
            prober,
            watch,
            timeline,
            flags,
            clients,
            _responders: responders,
            _lab: lab,
        })
    }

    /// Starts the balancer of a host that has power again.
    pub(crate) fn restart(&mut self, index: usize) -> Result<(), Failure> {
        let seat = &mut self.balancers[index];
        collect(&self.timeline, &seat.process);
        seat.process = start_balancer(&seat.host, seat.priority, &self.flags)?;
        Ok(())
    }

    /// Starts the web server of a host again.
    pub(crate) fn restart_web(&mut self, index: usize) -> Result<(), Failure> {
        let (host, process) = &mut self.webs[index];
        *process = start_web(host)?;
        Ok(())
    }

    /// Notes what the show itself does to `subject`.
    pub(crate) fn note(&self, subject: &str, kind: EventKind) -> Instant {
        let at = BootClock::new().now();
        record(&self.timeline, Event::new(at, subject, kind));
        at
    }

    /// Ends the traffic; the timeline then has all that was said.
    pub(crate) fn finish(self) -> Result<Timeline, Failure> {
        self.traffic.stop();
        self.clients.join().map_err(|_| "the clients' thread panicked")??;
        for seat in &self.balancers {
            collect(&self.timeline, &seat.process);
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
        for (from, to) in self.traffic.gaps(Duration::from_millis(15)) {
            record(&self.timeline, Event::new(from, "client", EventKind::Unserved));
            record(&self.timeline, Event::new(to, "client", EventKind::Served));
        }
        let text = "the show ends".to_owned();
        record(
            &self.timeline,
            Event::new(BootClock::new().now(), "client", EventKind::Note { text }),
        );
        let timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(timeline.clone())
    }
}

fn record(timeline: &Mutex<Timeline>, event: Event) {
    timeline.lock().unwrap_or_else(PoisonError::into_inner).record(event);
}

/// Takes a balancer's events into the timeline: all processes of a machine share its boot clock.
fn collect(timeline: &Mutex<Timeline>, process: &Process) {
    for line in process.lines() {
        let Ok(mut event) = serde_json::from_str::<Event>(&line.text) else {
            continue;
        };
        if matches!(event.kind, EventKind::HealthChanged { .. }) {
            event.subject = format!("{} at {}", event.subject, process.host());
        }
        // Who holds the address the kernels tell better.
        let held =
            matches!(event.kind, EventKind::AddressAdded { .. } | EventKind::AddressRemoved { .. });
        if !held {
            record(timeline, event);
        }
    }
}

fn start_web(host: &Host) -> Result<Process, Failure> {
    let mut command = myself()?;
    command.args(["web", host.name().as_str(), &format!("0.0.0.0:{WEB_PORT}")]);
    Ok(host.spawn(&mut command)?)
}

fn start_balancer(host: &Host, priority: u8, flags: &[String]) -> Result<Process, Failure> {
    let mut command = myself()?;
    command.arg("balancer").arg(format!("--name={}", host.name()));
    command.arg(format!("--priority={priority}")).args(flags);
    Ok(host.spawn(&mut command)?)
}

/// This program, to play another role.
fn myself() -> Result<Command, Failure> {
    Ok(Command::new(std::env::current_exe()?))
}
