//! Many virtual routers on two hosts: what they cost, and how the last one moves when a host loses
//! power; `ha-vip` beside keepalived, in one run, on one machine.
//!
//! ```text
//! cargo build --release --bins
//! target/release/vip-scale > docs/measured/vip-scale.md
//! ```
//!
//! Version 3, IPv4, one address each, 250 routers on each pair of interfaces. Medians of the runs; the
//! crash comes at another point between two adverts each time. Needs keepalived and nft; ends after
//! some ten minutes.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ha_core::time::{BootClock, Clock, Instant};
use ha_lab::{Host, Lab, find_program};
use ha_vip::VirtualAddress;
use ha_vip::net::monitor::{Monitor, NetEvent};
use ha_vip::vrrp::{HostConfig, Instance, RouterConfig, Service};

type Failure = Box<dyn Error + Send + Sync>;

/// How many routers share an interface.
const PER_INTERFACE: u32 = 250;
/// Longer nobody waits for all to be active, or to have moved.
const PATIENCE: Duration = Duration::from_secs(15);
/// Ticks of the processor time in `/proc`.
const TICKS: f64 = 100.0;

/// Measures many virtual routers of ha-vip and keepalived.
#[derive(Debug, Parser)]
struct Flags {
    /// Numbers of routers and ms between adverts
    #[arg(long, value_delimiter = ',', value_parser = case, default_value = "1000x100,255x100,255x10")]
    cases: Vec<Case>,
    /// Who is measured
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ours,keepalived")]
    subjects: Vec<Subject>,
    /// For how long the load is measured, in s
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    window_s: u64,
    /// How often each case is run
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Runs the routers of one host here: PRIORITY,COUNT,MS
    #[arg(long, hide = true)]
    serve: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    routers: u32,
    advert_ms: u64,
}

fn case(text: &str) -> Result<Case, String> {
    let wanted = || "ROUTERSxMS, such as 255x100".to_owned();
    let (routers, advert_ms) = text.split_once('x').ok_or_else(wanted)?;
    let routers = routers.parse().ok().filter(|n| (1..=1_000).contains(n)).ok_or_else(wanted)?;
    Ok(Case { routers, advert_ms: advert_ms.parse().map_err(|_| wanted())? })
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    Ours,
    Keepalived,
}

/// Interface, number and address of the router with this index.
fn place(index: u32) -> (String, u8, Ipv4Addr) {
    let (interface, number) = (index / PER_INTERFACE, index % PER_INTERFACE + 1);
    let ip = Ipv4Addr::from(0x0a3c_0100 + (interface << 16) + number);
    (format!("eth{interface}"), u8::try_from(number).unwrap_or(u8::MAX), ip)
}

fn main() -> Result<(), Failure> {
    let flags = Flags::parse();
    if let Some(text) = &flags.serve {
        return serve(text);
    }
    ha_lab::enter()?;
    let version = Command::new(find_program("keepalived").ok_or("keepalived is not installed")?)
        .arg("--version")
        .output()?;
    let version = String::from_utf8_lossy(&version.stderr).into_owned();
    println!("# Many virtual routers\n");
    println!("keepalived: {}\n", version.lines().next().unwrap_or("unknown version"));
    println!(
        "| routers | adverts | subject | CPU active, % | CPU backup, % | RSS, MiB | PSS, MiB | all active after, s | false takeovers | first moved, ms | last moved, ms | moved |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for case in &flags.cases {
        for subject in &flags.subjects {
            let mut runs = Vec::new();
            for run in 0..flags.runs {
                // Each crash at another point between two adverts.
                let phase = Duration::from_millis(case.advert_ms) * run / flags.runs;
                let window = Duration::from_secs(flags.window_s) + phase;
                runs.push(measure(*subject, *case, window)?);
            }
            let row: Vec<String> = COLUMNS.iter().map(|column| column.median(&runs)).collect();
            let Case { routers, advert_ms } = case;
            println!("| {routers} | {advert_ms} ms | {subject:?} | {} |", row.join(" | "));
        }
    }
    Ok(())
}

/// What one run has shown.
struct Run {
    cpu_active: f64,
    cpu_backup: f64,
    rss: f64,
    pss: f64,
    all_active: f64,
    false_takeovers: f64,
    first: f64,
    last: f64,
    moved: f64,
}

/// A column of the table: how it is read from a run, and its decimals.
struct Column(fn(&Run) -> f64, usize);

const COLUMNS: [Column; 9] = [
    Column(|run| run.cpu_active, 1),
    Column(|run| run.cpu_backup, 1),
    Column(|run| run.rss, 1),
    Column(|run| run.pss, 1),
    Column(|run| run.all_active, 2),
    Column(|run| run.false_takeovers, 0),
    Column(|run| run.first, 0),
    Column(|run| run.last, 0),
    Column(|run| run.moved, 0),
];

impl Column {
    fn median(&self, runs: &[Run]) -> String {
        let mut values: Vec<f64> = runs.iter().map(self.0).collect();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
        format!("{median:.*}", self.1)
    }
}

/// Runs the routers of one host until it is killed.
fn serve(text: &str) -> Result<(), Failure> {
    let mut numbers = text.split(',').map(str::parse::<u64>);
    let mut next = || numbers.next().ok_or("three numbers")?.map_err(Failure::from);
    let (priority, count, advert_ms) = (next()?, next()?, next()?);
    let mut host = HostConfig::builder();
    for index in 0..u32::try_from(count)? {
        let (interface, vrid, ip) = place(index);
        let router = RouterConfig::builder(vrid)
            .address(VirtualAddress::new(ip.into(), 32)?)
            .priority(u8::try_from(priority)?)
            .advert_interval(Duration::from_millis(advert_ms))
            .build()?;
        host = host.instance(Instance::new(format!("V{index}"), interface, router));
    }
    let host = host.build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let service = Service::builder(host).open().await?;
        service.run(std::future::pending()).await?;
        Ok(())
    })
}

/// Which address came when, on one host.
struct Watch(Arc<Mutex<Vec<(Instant, IpAddr)>>>);

impl Watch {
    fn start(host: &Host) -> Result<Self, Failure> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (here, (ready, opened)) = (Arc::clone(&seen), mpsc::channel());
        let watch = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let monitor = Monitor::open()?;
                let mut news = monitor.subscribe();
                ready.send(()).unwrap_or_default();
                let clock = BootClock::new();
                loop {
                    if let NetEvent::AddressAdded { address, .. } = news.next().await {
                        let event = (clock.now(), address.ip());
                        here.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                    }
                }
            })
        };
        host.run(|| thread::spawn(move || -> std::io::Result<()> { watch() }))?;
        opened.recv_timeout(PATIENCE)?;
        Ok(Self(seen))
    }

    /// The first time at which each address came, from `from` on.
    fn came(&self, from: Instant) -> BTreeMap<IpAddr, Instant> {
        let mut came = BTreeMap::new();
        for (at, ip) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if *at >= from {
                came.entry(*ip).or_insert(*at);
            }
        }
        came
    }

    /// How often an address came, from `from` on.
    fn takeovers(&self, from: Instant) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(at, _)| *at >= from).count()
    }

    /// Waits until so many addresses have come; tells when the last of them did.
    fn wait(&self, from: Instant, count: u32) -> Option<Instant> {
        let clock = BootClock::new();
        let end = clock.now() + PATIENCE;
        while clock.now() < end {
            let came = self.came(from);
            if came.len() >= usize::try_from(count).ok()? {
                return came.values().max().copied();
            }
            rest(Duration::from_millis(20));
        }
        None
    }
}

fn measure(subject: Subject, case: Case, window: Duration) -> Result<Run, Failure> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::new()?;
    let (mut a, mut b) = (lab.host("a")?, lab.host("b")?);
    for interface in 0..case.routers.div_ceil(PER_INTERFACE) {
        let lan = lab.network(&format!("lan{interface}"))?;
        a = a.join(&lan, &format!("10.{}.0.1/16", 60 + interface))?;
        b = b.join(&lan, &format!("10.{}.0.2/16", 60 + interface))?;
    }
    let clock = BootClock::new();
    let (on_a, on_b) = (Watch::start(&a)?, Watch::start(&b)?);
    let began = clock.now();
    let others = (a.processes(), b.processes());
    start(subject, case, &a, 200, folder.path())?;
    let all = on_a.wait(began, case.routers);
    start(subject, case, &b, 100, folder.path())?;
    // Until all that is said at the start, the announcements too, is over.
    rest(Duration::from_secs(7));

    let of = |host: &Host, others: &[u32]| {
        let mut pids = host.processes();
        pids.retain(|pid| !others.contains(pid));
        pids
    };
    let (pids_a, pids_b) = (of(&a, &others.0), of(&b, &others.1));
    let (from, before) = (clock.now(), (ticks(&pids_a), ticks(&pids_b)));
    rest(window);
    let took = clock.now().since(from).as_secs_f64();
    let load = |before: f64, pids: &[u32]| (ticks(pids) - before) / TICKS / took * 100.0;
    let (cpu_a, cpu_b) = (load(before.0, &pids_a), load(before.1, &pids_b));
    let (rss, pss) = (memory(&pids_a, "Rss:"), memory(&pids_a, "Pss:"));
    let on_b_takeovers = on_b.takeovers(from);

    let crashed = clock.now();
    a.power_off()?;
    on_b.wait(crashed, case.routers);
    let moved = on_b.came(crashed);
    let after = |at: Option<&Instant>| at.map_or(f64::NAN, |at| ms(at.since(crashed)));
    Ok(Run {
        cpu_active: cpu_a,
        cpu_backup: cpu_b,
        rss,
        pss,
        all_active: all.map_or(f64::NAN, |at| at.since(began).as_secs_f64()),
        false_takeovers: count(on_b_takeovers),
        first: after(moved.values().min()),
        last: after(moved.values().max()),
        moved: count(moved.len()),
    })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn start(
    subject: Subject,
    case: Case,
    host: &Host,
    priority: u8,
    folder: &Path,
) -> Result<(), Failure> {
    let Case { routers, advert_ms } = case;
    let mut command = match subject {
        Subject::Ours => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg("--serve").arg(format!("{priority},{routers},{advert_ms}"));
            command
        }
        Subject::Keepalived => {
            let file = |ending: &str| folder.join(format!("{}.{ending}", host.name()));
            let seconds = Duration::from_millis(advert_ms).as_secs_f64();
            let mut config = String::new();
            for index in 0..routers {
                let (interface, vrid, ip) = place(index);
                writeln!(
                    config,
                    "vrrp_instance V{index} {{ state BACKUP\n interface {interface}\n version 3\n \
                     virtual_router_id {vrid}\n priority {priority}\n advert_int {seconds}\n \
                     virtual_ipaddress {{ {ip}/32 }}\n }}"
                )?;
            }
            std::fs::write(file("conf"), config)?;
            let mut command = Command::new(find_program("keepalived").ok_or("no keepalived")?);
            command.args(["--dont-fork", "--no-syslog", "--vrrp", "--use-file"]);
            command.arg(file("conf")).arg("--pid").arg(file("pid"));
            command.arg("--vrrp_pid").arg(file("vrrp.pid"));
            command
        }
    };
    host.spawn(&mut command)?;
    Ok(())
}

/// Processor time that these processes have used, in ticks.
fn ticks(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(field(11)? + field(12)?)
    };
    pids.iter().filter_map(of).sum()
}

/// What these processes have of this kind of memory, in MiB.
fn memory(pids: &[u32], kind: &str) -> f64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    pids.iter().filter_map(of).sum::<f64>() / 1024.0
}

fn rest(duration: Duration) {
    let clock = BootClock::new();
    let end = clock.now() + duration;
    while clock.now() < end {
        thread::park_timeout(end.since(clock.now()));
    }
}
