//! Three nodes share a disk that only one may use at a time: the whole picture of an at-most-one
//! service, on a real network.
//!
//! ```text
//! cargo run --release --bin shared-storage
//! ```
//!
//! Builds a laboratory of network namespaces (a client and three nodes of a cluster), whose nodes
//! mount a disk, run a service on it and hold its address, one of them at a time. Then its power
//! goes, it hangs, it is cut off while the fence device is slow, its service is killed, it is moved
//! as planned, and the leader's power goes; each with what it cost the clients, who was fenced, and
//! what a witness on the disk saw. As an ordinary user the disk is a directory. Ends with a table,
//! a timeline, the availability and an SVG picture; the exit status tells success.

#![expect(clippy::print_stdout, reason = "a show is for people to read")]

mod cluster;
mod disk;
mod events;
mod fence;
mod node;
mod report;
mod scene;
mod service;
mod stage;
mod traffic;
mod witness;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ha_core::id::NodeName;
use ha_examples::cli::{self, FAILURE};

/// Shows three nodes that share a disk which only one may use at a time.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Flags {
    /// Say where the time of each event went, with the nodes' own words
    #[arg(long)]
    pub(crate) details: bool,
    /// Only the first three events
    #[arg(long)]
    pub(crate) short: bool,
    /// How many times as long as on an idle machine everything may take: a busy machine is late
    /// with all of it. What must never happen has no slack
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = slack())]
    pub(crate) slack: u32,
    /// Where to write the picture of the timeline
    #[arg(long, value_name = "FILE", default_value = "shared-storage.svg")]
    pub(crate) svg: PathBuf,
    #[command(subcommand)]
    role: Option<Role>,
}

fn slack() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=100)
}

/// What this program is inside the laboratory.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Node {
        #[arg(long)]
        config: PathBuf,
        #[arg(long)]
        name: NodeName,
    },
    #[command(hide = true)]
    Service(service::Service),
    /// Sums the file of the witness up, where only a node sees it.
    #[command(hide = true)]
    Audit { file: PathBuf },
}

fn main() -> ExitCode {
    if fence::is_asked_for() {
        return fence::act();
    }
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    let done = match &flags.role {
        None => scene::play(&flags),
        Some(role) => play(role).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILURE),
        Err(error) => cli::fail(FAILURE, &cli::chain(&*error)),
    }
}

fn play(role: &Role) -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter =
        filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error,openraft=off"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match role {
            Role::Node { config, name } => node::run(config, name).await,
            Role::Service(service) => service::run(service).await,
            Role::Audit { file } => {
                let audit = witness::audit(&std::fs::read_to_string(file)?);
                println!("{}", serde_json::to_string(&audit)?);
                Ok(())
            }
        }
    })
}
