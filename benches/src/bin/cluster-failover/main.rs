//! What failures cost the clients of a cluster: `cluster-node` beside Pacemaker and Corosync, in
//! one run, on one machine, in the same laboratory, with the same power switch.
//!
//! ```text
//! cargo build --release --bins
//! target/release/cluster-failover --runs 3 --out docs/measured/cluster-failover.md
//! ```
//!
//! Three nodes share an address and two services; a client asks the address every millisecond.
//! Needs root, and Debian's `pacemaker`, `corosync` and `resource-agents` for the peer; takes some
//! five minutes and three more a run.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ha_core::time::{BootClock, Clock};

mod cluster;
mod cost;
mod events;
mod ours;
mod peer;
mod report;
mod rig;

use ours::Ours;
use peer::Peer;
use report::{Column, Measured};
use rig::{Rig, rest, sibling, sweep};

type Failure = Box<dyn Error>;

/// Measures failovers of cluster-node, and of Pacemaker with Corosync.
#[derive(Debug, Parser)]
struct Flags {
    /// How often each is done
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Whether to run the peer, too; `yes` fails if it is not installed
    #[arg(long, value_enum)]
    peer: Option<Wanted>,
    /// Where to write the table; without it to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// How long idle nodes are watched, in seconds
    #[arg(long, default_value_t = 30)]
    idle_s: u64,
    /// Only these subjects, by their numbers from 1
    #[arg(long, value_delimiter = ',')]
    only: Vec<usize>,
    /// The machine's load (1 min) that is waited for before each subject, at most 5 minutes
    #[arg(long, default_value_t = 1.5)]
    load: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Wanted {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Subject {
    Native,
    Ocf,
    Quick,
    Default,
    Tuned,
}

const SUBJECTS: [(Subject, &str); 5] = [
    (Subject::Native, "ours, own agents"),
    (Subject::Ocf, "ours, OCF agents"),
    (Subject::Quick, "ours, OCF agents, dead after 300 ms"),
    (Subject::Default, "Pacemaker, defaults"),
    (Subject::Tuned, "Pacemaker, token 500 ms"),
];

fn main() -> Result<(), Failure> {
    ha_lab::enter()?;
    let flags = Flags::parse();
    sweep()?;
    for program in ["cluster-node", "hactl", "fence_lab"] {
        sibling(program)?;
    }
    let peer = match (flags.peer, peer::versions()) {
        (Some(Wanted::No), _) => Err("not asked for".to_owned()),
        (Some(Wanted::Yes), Err(why)) => return Err(format!("no peer: {why}").into()),
        (_, versions) => versions,
    };
    let mut columns = Vec::new();
    for (number, (subject, title)) in (1..).zip(SUBJECTS) {
        let ours = !matches!(subject, Subject::Default | Subject::Tuned);
        let wanted = flags.only.is_empty() || flags.only.contains(&number);
        if !wanted || (!ours && peer.is_err()) {
            continue;
        }
        let before = quiet_machine(flags.load)?;
        eprintln!("{title}: load {before}");
        let mut measured = Measured::default();
        if let Err(error) = measure(subject, &flags, &mut measured) {
            let why = error.to_string();
            eprintln!("{title}: {why}");
            measured.ended_early = why.lines().next().map(str::to_owned);
        }
        measured.add("load before", before);
        measured.add("load after", load()?);
        columns.push(Column { title, measured, like: subject == Subject::Ocf, ours });
    }
    let text = page(&flags, &columns, &peer)?;
    match &flags.out {
        Some(path) => fs::write(path, text)?,
        None => std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?,
    }
    Ok(())
}

fn measure(subject: Subject, flags: &Flags, measured: &mut Measured) -> Result<(), Failure> {
    let quick = "[timing]\ninterval = \"50ms\"\ndead_after = \"300ms\"\n";
    let rig = match subject {
        Subject::Native => Rig::new(Ours::new(false, "")?),
        Subject::Ocf => Rig::new(Ours::new(true, "")?),
        Subject::Quick => Rig::new(Ours::new(true, quick)?),
        Subject::Default => Rig::new(Peer::new("")?),
        Subject::Tuned => Rig::new(Peer::new(" token: 500\n token_coefficient: 0\n")?),
    };
    events::all(&rig?, flags.runs, Duration::from_secs(flags.idle_s), measured)
}

/// The load of the last minute.
fn load() -> Result<f64, Failure> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

/// Waits until others leave the machine alone, but not for ever; returns its load then.
fn quiet_machine(wanted: f64) -> Result<f64, Failure> {
    let clock = BootClock::new();
    let end = clock.now() + Duration::from_mins(5);
    while load()? >= wanted && clock.now() < end {
        rest(Duration::from_secs(2));
    }
    load()
}

fn page(
    flags: &Flags,
    columns: &[Column],
    peer: &Result<String, String>,
) -> Result<String, Failure> {
    let said = |program: &str, argument: &str| -> Result<String, Failure> {
        let output = Command::new(program).arg(argument).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let peer = match peer {
        Ok(versions) => format!("Peer: {versions}."),
        Err(why) => format!("Peer: not run ({why})."),
    };
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "# Failover of a cluster\n\n{}\n\n{}, Linux {}, {cores} cores; \
         `cluster-failover --runs {}`. {peer}\n\n{}\n{}\n",
        include_str!("intro.md").trim(),
        said("date", "+%F")?,
        said("uname", "-r")?,
        flags.runs,
        report::table(columns),
        include_str!("notes.md").replace("{steps}", report::steps(columns).trim_end()).trim(),
    ))
}
