//! A host of a CARP group: the job of ucarp, with the address put on by the program itself.
//!
//! ```text
//! carp-host --iface eth0 --vhid 42 --passfile /etc/carp.password --vip 192.0.2.10/24 --advskew 100
//! ```
//!
//! Stays in the foreground and writes each change as a JSON line on stdout. SIGTERM and SIGINT
//! end it: it says goodbye, serves until a successor is heard, and removes the address. SIGUSR2
//! gives the address to another host, as with ucarp. Needs `CAP_NET_RAW` and `CAP_NET_ADMIN`.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ha_core::driver::Task;
use ha_examples::cli::{self, FAILURE, USAGE};
use ha_examples::json::JsonLines;
use ha_vip::carp::wire::Reject;
use ha_vip::carp::{HostConfig, HostHandle, Service, ServiceError};
use ha_vip::{VipManager, VirtualAddress};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

/// Serves floating IPv4 addresses with CARP, together with ucarp.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Network interface to speak on and to put the addresses on
    #[arg(short, long, value_name = "IF", visible_alias = "interface")]
    iface: String,
    /// Address that adverts come from; the interface's first one otherwise
    #[arg(short, long, value_name = "IP")]
    srcip: Option<Ipv4Addr>,
    /// Number of the group, the same on all its hosts: 1 to 255
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    vhid: u8,
    /// Password, 1 to 20 bytes; everybody on this machine can see it here
    #[arg(short, long, value_name = "PASS", required_unless_present = "passfile")]
    pass: Option<String>,
    /// File whose first line is the password
    #[arg(short = 'o', long, value_name = "FILE", conflicts_with = "pass")]
    passfile: Option<PathBuf>,
    /// Address to serve; repeat it for several (together with ucarp: one)
    #[arg(short = 'a', long, value_name = "A/LEN", required = true, visible_alias = "addr")]
    vip: Vec<VirtualAddress>,
    /// Seconds between adverts: 0 to 254
    #[arg(short = 'b', long, value_name = "S", default_value_t = 1)]
    advbase: u8,
    /// What is added to advbase, in 1/256 s: 0 to 254; the lowest serves first
    #[arg(short = 'k', long, value_name = "N", default_value_t = 0)]
    advskew: u8,
    /// Intervals of silence after which the master counts as dead: 1 to 255
    #[arg(short = 'r', long, value_name = "N", default_value_t = 3)]
    deadratio: u8,
    /// Take the addresses from a master that is less preferred
    #[arg(short = 'P', long)]
    preempt: bool,
    /// Send adverts to the Ethernet broadcast address
    #[arg(short = 'M', long)]
    nomcast: bool,
    /// Yield to preferred adverts that could be copies, as ucarp does
    #[arg(long)]
    no_proof: bool,
    /// Command to run on becoming master, with the interface and the addresses as arguments
    #[arg(short, long, value_name = "FILE")]
    up: Option<PathBuf>,
    /// Command to run on becoming backup
    #[arg(short, long, value_name = "FILE")]
    down: Option<PathBuf>,
    /// Scheduling priority, -20 to 19; 0 leaves it as it is, and not being allowed to is no error
    #[arg(long, value_name = "N", default_value_t = -10, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i32).range(-20..=19))]
    nice: i32,
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Ready { iface: &'a str, vhid: u8 },
    Stopping { signal: &'a str },
    Stopped { sent: u64, received: u64, became_master: u64, unsigned: u64, replayed: u64 },
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    cli::log("warn");
    cli::prefer(flags.nice);
    let password = match (&flags.pass, &flags.passfile) {
        (Some(password), _) => Ok(password.clone().into_bytes()),
        (None, Some(file)) => first_line(file),
        (None, None) => Ok(Vec::new()),
    };
    let password = match password {
        Ok(password) => password,
        Err(error) => return cli::fail(USAGE, &error),
    };
    let builder = HostConfig::builder(flags.vhid)
        .password(password)
        .advbase(flags.advbase)
        .advskew(flags.advskew)
        .deadratio(flags.deadratio)
        .preempt(flags.preempt)
        .multicast(!flags.nomcast)
        .require_proof(!flags.no_proof);
    let config = flags.vip.iter().fold(builder, |builder, vip| builder.address(*vip)).build();
    let config = match config {
        Ok(config) => config,
        Err(error) => return cli::fail(USAGE, &error.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve(&flags, config)),
        Err(error) => return cli::fail(FAILURE, &error.to_string()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(FAILURE, &cli::chain(&error)),
    }
}

fn first_line(file: &Path) -> Result<Vec<u8>, String> {
    let text = std::fs::read(file)
        .map_err(|error| format!("--passfile: cannot read {}: {error}", file.display()))?;
    Ok(text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end().to_vec())
}

async fn serve(flags: &Flags, config: HostConfig) -> Result<(), ServiceError> {
    let lines = Arc::new(JsonLines::stdout());
    let service = Service::open_from(config, &flags.iface, flags.srcip).await?;
    let observer: Arc<JsonLines> = Arc::clone(&lines);
    let service = service.observed(format!("vhid {}", flags.vhid), observer);
    lines.write(&Line::Ready { iface: &flags.iface, vhid: flags.vhid });
    let hand_over = Task::spawn({
        let handle = service.handle();
        |_stop| hand_over_on_signal(handle)
    });
    let commands = Task::spawn({
        let (handle, commands) = (service.handle(), Commands::of(flags));
        |_stop| commands.run(handle)
    });
    let stop = async {
        match cli::asked_to_stop().await {
            Ok(signal) => lines.write(&Line::Stopping { signal }),
            // Without signals the program can still be killed; the addresses are cleared then by
            // its next life.
            Err(_) => std::future::pending().await,
        }
    };
    let stats = service.run(stop).await?;
    drop(hand_over);
    if let Err(error) = commands.stop().await {
        tracing::error!(%error, "up and down commands");
    }
    let (sent, received, became_master) = (stats.sent, stats.received, stats.became_master);
    let (unsigned, replayed) = (stats.rejected(Reject::Digest), stats.rejected(Reject::Replay));
    lines.write(&Line::Stopped { sent, received, became_master, unsigned, replayed });
    lines.finish();
    Ok(())
}

/// SIGUSR2: become a backup; a second one ends staying back.
async fn hand_over_on_signal(handle: HostHandle) -> io::Result<()> {
    let mut asked = signal(SignalKind::user_defined2())?;
    let mut stands_back = false;
    while asked.recv().await.is_some() {
        let told = if stands_back { handle.resume().await } else { handle.hand_over().await };
        if told.is_err() {
            break;
        }
        stands_back = !stands_back;
    }
    Ok(())
}

/// The commands that follow the state, one at a time, the latest state last.
#[derive(Debug)]
struct Commands {
    up: Option<PathBuf>,
    down: Option<PathBuf>,
    arguments: Vec<String>,
}

impl Commands {
    fn of(flags: &Flags) -> Self {
        let addresses = flags.vip.iter().map(ToString::to_string);
        let arguments = std::iter::once(flags.iface.clone()).chain(addresses).collect();
        Self { up: flags.up.clone(), down: flags.down.clone(), arguments }
    }

    async fn run(self, handle: HostHandle) {
        let mut holds = false;
        while let Ok(state) = handle.until(|state| state.holds() != holds).await {
            holds = state.holds();
            self.execute(holds).await;
        }
    }

    async fn execute(&self, holds: bool) {
        let Some(command) = (if holds { &self.up } else { &self.down }) else {
            return;
        };
        let status = tokio::process::Command::new(command).args(&self.arguments).status().await;
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => tracing::warn!(%status, command = %command.display(), "command failed"),
            Err(error) => tracing::warn!(%error, command = %command.display(), "not run"),
        }
    }
}
