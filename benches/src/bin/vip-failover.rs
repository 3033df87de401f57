//! What a failover of a floating address costs a client: `vrrp-router` beside keepalived, in one
//! run, on one machine, with the same adverts.
//!
//! ```text
//! cargo build --release --bins
//! target/release/vip-failover --runs 10 > docs/measured/vip-failover.md
//! ```
//!
//! Two hosts share an address (priorities 200 and 100); a client asks it every millisecond. The events
//! of a case's runs are spread evenly over the time between two adverts, for every subject alike: how
//! long an address is missed depends on when the last advert was sent. Needs keepalived and nft; ends
//! after some four minutes for each run and interval.

#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ha_core::time::{BootClock, Clock, Instant};
use ha_lab::holders::HolderWatch;
use ha_lab::prober::{Prober, Responder};
use ha_lab::{Host, Lab, Process, ProcessSignal, find_program};

type Failure = Box<dyn Error>;

const VIP: &str = "10.77.0.100";
const PATIENCE: Duration = Duration::from_secs(20);

/// Measures failovers of vrrp-router and keepalived.
#[derive(Debug, Parser)]
struct Flags {
    /// How often each case is run
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Times between adverts in ms
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10])]
    advert_ms: Vec<u64>,
    /// Which events; all unless named
    #[arg(long, value_enum, value_delimiter = ',')]
    events: Vec<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Subject {
    Ours,
    /// With a BFD session between the two, 3 ms and three packets.
    OursWithBfd,
    /// With the other named as kin, and beats every 3 ms.
    OursWithBeats,
    /// With the other named as kin over a second network.
    OursWithSecondPath,
    /// With a guardian process.
    OursGuarded,
    Keepalived,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Event {
    /// The active one loses power.
    Crash,
    /// The active one hears nobody and is heard by nobody for a second.
    Cut,
    /// The active one stands still and is cut off for a second, as a paused virtual machine.
    Freeze,
    /// The active one's process is killed; its kernel goes on.
    Kill,
    /// The active one's link loses its carrier.
    Linkdown,
    /// The active one stands still for a second; its kernel goes on.
    Pause,
    /// The active one is stopped in order (SIGTERM) and started again.
    Restart,
    /// The two do not hear each other for a second; the client hears both.
    Split,
    /// The active one is stopped in order (SIGTERM).
    Stop,
    /// The active one is asked to hand over, and goes on as the backup.
    Switchover,
}

impl Event {
    /// Who can be measured.
    fn subjects(self) -> Vec<Subject> {
        match self {
            Self::Crash => vec![
                Subject::Ours,
                Subject::Keepalived,
                Subject::OursWithBfd,
                Subject::OursWithBeats,
            ],
            Self::Kill => vec![Subject::Ours, Subject::Keepalived, Subject::OursGuarded],
            Self::Linkdown => vec![Subject::Ours, Subject::Keepalived, Subject::OursWithSecondPath],
            // keepalived has no such command.
            Self::Switchover => vec![Subject::Ours],
            Self::Cut | Self::Freeze | Self::Pause | Self::Restart | Self::Split | Self::Stop => {
                vec![Subject::Ours, Subject::Keepalived]
            }
        }
    }

    /// Whether things are put right again, so that what follows counts, too.
    const fn heals(self) -> bool {
        matches!(self, Self::Cut | Self::Freeze | Self::Pause | Self::Split)
    }

    /// Whether the kernel of the active one goes on and is to lose the address.
    const fn leaves_the_kernel(self) -> bool {
        matches!(self, Self::Kill | Self::Linkdown | Self::Stop | Self::Switchover)
    }

    /// Whether the active one falls silent without a word.
    const fn is_silent(self) -> bool {
        matches!(self, Self::Crash | Self::Cut | Self::Freeze | Self::Kill | Self::Linkdown)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "vrrp-router",
            Self::OursWithBfd => "vrrp-router, BFD 3 × 3 ms",
            Self::OursWithBeats => "vrrp-router, beats 3 ms",
            Self::OursWithSecondPath => "vrrp-router, second path",
            Self::OursGuarded => "vrrp-router, guardian",
            Self::Keepalived => "keepalived",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.pad(name.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What one run showed.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    /// The longest time without an answer, from the event to its end.
    gap: Duration,
    /// The same after the heal.
    gap_after: Duration,
    /// From the heal until only one host held the address.
    settled: Duration,
    /// From the event until the former active one's kernel had not the address any more.
    stale: Option<Duration>,
    /// Probes that were never answered.
    lost: usize,
}

fn main() -> Result<(), Failure> {
    ha_lab::enter()?;
    let flags = Flags::parse();
    let version = Command::new(find_program("keepalived").ok_or("keepalived is not installed")?)
        .arg("--version")
        .output()?;
    let version = String::from_utf8_lossy(&version.stderr).into_owned();
    println!("# Failover of a floating address\n");
    println!("Client gaps in ms, median / largest of {} runs; 1 ms probes.", flags.runs);
    println!("keepalived: {}\n", version.lines().next().unwrap_or("unknown version"));
    println!(
        "| adverts | event | subject | gap | probes lost | address gone from the first after | gap after the heal | one holder after the heal | stranded |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let events = if flags.events.is_empty() { Event::value_variants() } else { &flags.events };
    for advert_ms in &flags.advert_ms {
        for event in events {
            let subjects = event.subjects();
            // Interleaved, so that a busy minute of the machine falls on all.
            let mut runs = vec![Vec::new(); subjects.len()];
            for nth in 0..flags.runs {
                let phase = Duration::from_millis(*advert_ms) * nth / flags.runs;
                for (subject, runs) in subjects.iter().zip(&mut runs) {
                    runs.push(run(*subject, *event, *advert_ms, phase)?);
                }
            }
            for (subject, runs) in subjects.iter().zip(&runs) {
                println!("| {advert_ms} ms | {event} | {subject} | {}", row(*event, runs));
            }
        }
    }
    Ok(())
}

fn row(event: Event, runs: &[Run]) -> String {
    let healed = event.heals();
    let cell = |value: fn(&Run) -> Duration| {
        spread(runs.iter().map(|run| value(run).as_secs_f64() * 1e3).collect())
    };
    let after = |text: String| if healed { text } else { "—".to_owned() };
    let lost = runs.iter().map(|run| run.lost).max().unwrap_or_default();
    let gone: Option<Vec<f64>> =
        runs.iter().map(|run| run.stale.map(|time| time.as_secs_f64() * 1e3)).collect();
    let gone = match gone {
        _ if !event.leaves_the_kernel() => "—".to_owned(),
        Some(times) => spread(times),
        None => "never".to_owned(),
    };
    let stranded = runs.iter().filter(|run| run.gap_after > Duration::from_millis(500)).count();
    format!(
        "{} | {lost} | {gone} | {} | {} | {} |",
        cell(|run| run.gap),
        after(cell(|run| run.gap_after)),
        after(cell(|run| run.settled)),
        after(format!("{stranded} of {}", runs.len())),
    )
}

/// The median and the largest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let median = values.get(values.len() / 2).copied().unwrap_or_default();
    format!("{median:.0} / {:.0}", values.last().copied().unwrap_or_default())
}

fn run(subject: Subject, event: Event, advert_ms: u64, phase: Duration) -> Result<Run, Failure> {
    let folder = tempfile::tempdir()?;
    let lab = Lab::new()?;
    let lan = lab.network("lan")?;
    let host = |name: &str, address: &str| lab.host(name).and_then(|host| host.join(&lan, address));
    let client = host("client", "10.77.0.9/24")?;
    let (a, b) = (host("a", "10.77.0.1/24")?, host("b", "10.77.0.2/24")?);
    let inside = lab.network("inside")?;
    let (a, b) = (a.join(&inside, "10.78.0.1/24")?, b.join(&inside, "10.78.0.2/24")?);
    let watch = HolderWatch::start(VIP.parse()?, &[&a, &b])?;
    let _responders = [Responder::start(&a, 7)?, Responder::start(&b, 7)?];
    let first = start(subject, &a, 200, advert_ms, folder.path())?;
    watch.wait_for(&[a.name()], PATIENCE)?;
    start(subject, &b, 100, advert_ms, folder.path())?;
    // Until both have said and announced all that they say at the start, where an announcement
    // that is still to come would hide what a heal leaves behind.
    rest(Duration::from_millis(if event.heals() { 6_500 } else { 500 + 2 * advert_ms }));
    let prober = Prober::start(&client, format!("{VIP}:7").parse()?, Duration::from_millis(1))?;
    prober.wait_for_answer_by(a.name(), PATIENCE)?;
    rest(Duration::from_millis(200) + phase);

    let clock = BootClock::new();
    let began = clock.now();
    let (mut healed, mut again) = (None, None);
    match event {
        Event::Crash => a.power_off()?,
        Event::Cut => a.cut()?,
        Event::Freeze => {
            a.cut()?;
            a.freeze()?;
        }
        Event::Kill => first.kill()?,
        // The second network goes on.
        Event::Linkdown => a.link_down_on("eth0")?,
        Event::Pause => a.freeze()?,
        Event::Restart => {
            first.signal(ProcessSignal::Terminate)?;
            first.wait(PATIENCE)?;
            again = Some(start(subject, &a, 200, advert_ms, folder.path())?);
        }
        Event::Split => lab.partition(&[&a], &[&b])?,
        Event::Stop => first.signal(ProcessSignal::Terminate)?,
        Event::Switchover => hand_over(&folder.path().join("a.sock"))?,
    }
    let settling = if event.is_silent() || event.heals() { 4 } else { 6 };
    rest(Duration::from_millis(1_000 + settling * advert_ms));
    if event.heals() {
        healed = Some(clock.now());
        lab.heal()?;
        a.thaw()?;
        rest(Duration::from_millis(1_500 + 5 * advert_ms));
    }
    drop(again);
    let report = prober.finish();
    let longest = |from: Instant, to: Instant| {
        let gaps = report.gaps.iter().filter(|gap| gap.to >= from && gap.from < to);
        gaps.map(|gap| gap.to.since(gap.from.max(from))).max().unwrap_or_default()
    };
    let end = clock.now();
    let holders = watch.finish();
    let together = holders.overlaps.iter().map(|overlap| overlap.to).max();
    let mut of_first = holders.spans.iter().filter(|span| span.host == *a.name());
    let until = of_first.next_back().map(|span| span.to).filter(|until| *until < end);
    Ok(Run {
        gap: longest(began, healed.unwrap_or(end)),
        gap_after: healed.map_or(Duration::ZERO, |healed| longest(healed, end)),
        settled: healed.zip(together).map_or(Duration::ZERO, |(healed, to)| to.since(healed)),
        stale: until.map(|until| until.since(began)),
        lost: report.sent - report.answered,
    })
}

fn start(
    subject: Subject,
    host: &Host,
    priority: u8,
    advert_ms: u64,
    folder: &Path,
) -> Result<Process, Failure> {
    let mut command = match subject {
        Subject::Ours
        | Subject::OursWithBfd
        | Subject::OursWithBeats
        | Subject::OursWithSecondPath
        | Subject::OursGuarded => {
            let mut command = Command::new(sibling("vrrp-router")?);
            command.args(["--iface", "eth0", "--vrid", "51", "--vip", &format!("{VIP}/24")]);
            command.args(["--priority", &priority.to_string()]);
            command.args(["--advert-ms", &advert_ms.to_string()]);
            let (own, other) = if host.name().as_str() == "a" {
                ("10.77.0.1", "10.77.0.2")
            } else {
                ("10.77.0.2", "10.77.0.1")
            };
            match subject {
                Subject::OursWithBfd => {
                    command.args(["--bfd", &format!("{own},{other}"), "--bfd-ms", "3"]);
                }
                Subject::OursWithBeats => {
                    command.args(["--kin", other, "--beat-ms", "3"]);
                }
                Subject::OursWithSecondPath => {
                    let second = other.replace("10.77", "10.78");
                    command.args(["--kin", &format!("{other},{second}"), "--second-iface", "eth1"]);
                }
                Subject::OursGuarded => {
                    command.args(["--kin", other, "--guardian"]);
                }
                Subject::Ours => {
                    command.args(["--kin", other]);
                }
                Subject::Keepalived => {}
            }
            command.arg("--control").arg(folder.join(format!("{}.sock", host.name())));
            command
        }
        Subject::Keepalived => {
            let file = |ending: &str| folder.join(format!("{}.{ending}", host.name()));
            let seconds = Duration::from_millis(advert_ms).as_secs_f64();
            let config = format!(
                "vrrp_instance V {{ state BACKUP\n interface eth0\n version 3\n \
                 virtual_router_id 51\n priority {priority}\n advert_int {seconds}\n \
                 virtual_ipaddress {{ {VIP}/24 }}\n }}\n"
            );
            std::fs::write(file("conf"), config)?;
            let mut command = Command::new(find_program("keepalived").ok_or("no keepalived")?);
            command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]);
            command.arg(file("conf")).arg("--pid").arg(file("pid"));
            command.arg("--vrrp_pid").arg(file("vrrp.pid"));
            command
        }
    };
    Ok(host.spawn(&mut command)?)
}

/// Asks the router behind this control socket to hand over.
fn hand_over(socket: &Path) -> Result<(), Failure> {
    let mut command = Command::new(sibling("vipctl")?);
    let output = command.arg("--socket").arg(socket).args(["hand-over", "eth0"]).output()?;
    let why = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(why().into()) }
}

/// A program that was built beside this one.
fn sibling(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    let missing =
        || format!("{} is not there; build it: cargo build --release --bins", path.display());
    path.is_file().then(|| path.clone()).ok_or_else(|| missing().into())
}

fn rest(duration: Duration) {
    let clock = BootClock::new();
    let end = clock.now() + duration;
    while clock.now() < end {
        thread::park_timeout(end.since(clock.now()));
    }
}
