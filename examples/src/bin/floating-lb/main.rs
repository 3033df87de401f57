//! Two load balancers share a floating address: the whole picture, on a real network.
//!
//! ```text
//! cargo run --release --bin floating-lb
//! ```
//!
//! Builds a laboratory of network namespaces (a client, two balancers, three web servers), drives
//! HTTP requests through it, and shows in turn: a web server dies, the active balancer loses
//! power, it returns, and a planned switchover. Needs no privileges where user namespaces are
//! allowed. Ends with a table, a timeline and an SVG picture; the exit status tells success.

#![expect(clippy::print_stdout, reason = "a show is for people to read")]

mod balancer;
mod report;
mod scene;
mod stage;
mod traffic;
mod web;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ha_examples::cli::{self, FAILURE};

/// Shows two load balancers that share a floating address.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Flags {
    /// Time between the balancers' adverts in ms: 10 to 1000, in steps of 10
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = advert_ms)]
    pub(crate) advert_ms: u64,
    /// Let the returned balancer take the address back
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) preempt: bool,
    /// Where to write the picture of the timeline
    #[arg(long, value_name = "FILE", default_value = "floating-lb.svg")]
    pub(crate) svg: PathBuf,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is inside the laboratory.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Balancer(balancer::Balancer),
    #[command(hide = true)]
    Web { name: String, listen: SocketAddr },
}

fn advert_ms(text: &str) -> Result<u64, String> {
    let allowed = "10 to 1000 in steps of 10";
    let ms: u64 = text.parse().map_err(|_| allowed.to_owned())?;
    if (10..=1000).contains(&ms) && ms.is_multiple_of(10) { Ok(ms) } else { Err(allowed.into()) }
}

fn main() -> ExitCode {
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
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match role {
            Role::Balancer(balancer) => balancer::run(balancer).await,
            Role::Web { name, listen } => Ok(web::serve(name, *listen).await?),
        }
    })
}
