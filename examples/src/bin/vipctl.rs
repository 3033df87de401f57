//! Asks a program that runs virtual routers, and tells it what to do, through its control socket.
//!
//! ```text
//! vipctl --socket /run/vrrp.sock status
//! vipctl hand-over web      and back: vipctl resume web
//! vipctl reload
//! ```
//!
//! Exit status: 0 done, 1 refused or no answer, 2 wrong flags.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ha_examples::cli::{self, FAILURE};
use ha_vip::vrrp::control::{Client, ControlError, Request, Response};

/// Asks a program that runs virtual routers, and tells it what to do.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Control socket of the program
    #[arg(long, value_name = "PATH", default_value = "/run/vrrp.sock", global = true)]
    socket: PathBuf,
    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 5, global = true,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hand the addresses of a router over, and stay back until it is resumed
    HandOver {
        /// The router's name
        router: String,
    },
    /// Read the configuration again, and go on with it or keep the old one
    Reload,
    /// Take part again after a hand-over
    Resume {
        /// The router's name
        router: String,
    },
    /// How are the routers, and why?
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    fn request(&self) -> Request {
        match self {
            Self::HandOver { router } => Request::HandOver { router: router.clone() },
            Self::Reload => Request::Reload,
            Self::Resume { router } => Request::Resume { router: router.clone() },
            Self::Status { .. } => Request::Status,
        }
    }
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let response = match runtime {
        Ok(runtime) => runtime.block_on(ask(&flags)),
        Err(error) => return cli::fail(FAILURE, &error.to_string()),
    };
    match response {
        Ok(response) => tell(&flags.command, &response),
        Err(error) => cli::fail(FAILURE, &cli::chain(&error)),
    }
}

async fn ask(flags: &Flags) -> Result<Response, ControlError> {
    let mut client = Client::connect(&flags.socket).await?;
    client.ask(&flags.command.request(), Duration::from_secs(flags.timeout)).await
}

fn tell(command: &Command, response: &Response) -> ExitCode {
    let text = match (command, response) {
        (_, Response::Refused { reason }) => return cli::fail(FAILURE, reason),
        (Command::Status { json: true }, Response::Status(snapshot)) => {
            match serde_json::to_string_pretty(snapshot) {
                Ok(text) => text,
                Err(error) => return cli::fail(FAILURE, &error.to_string()),
            }
        }
        (_, Response::Status(snapshot)) => snapshot.to_string(),
        (_, Response::Reloaded(changes)) => changes.to_string(),
        (_, Response::Done) => "done".to_owned(),
        (_, other) => {
            return cli::fail(FAILURE, &format!("an answer of another version: {other:?}"));
        }
    };
    cli::show(&(text + "\n"))
}
