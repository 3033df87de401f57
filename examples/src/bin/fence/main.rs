//! Asks fence devices: Debian's fence agents, and the native ones for IPMI, Redfish and ssh.
//!
//! ```text
//! fence agents                                        which are here
//! fence metadata fence_ipmilan                        what one of them wants to know
//! fence status ipmi ip=192.0.2.101 username=fence --secret password=file:/etc/ha/board-n1
//! fence off fence_apc_snmp ip=192.0.2.200 --node n1 --plug 3
//! fence run fence_dummy status_file=/tmp/power off    the action last
//! fence test redfish url=https://bmc-n1.example --node n1 --yes
//! ```
//!
//! Nothing is done that is not asked for: an agent of Debian's without an action would reboot.
//! Passwords come from a file, the environment or stdin, never from the command line, which
//! everybody on the machine can read, and are never shown.
//!
//! Exit status, as the fence agent API has it: 0 done, or to `status` on; 2 to `status`, off;
//! 1 anything else, wrong flags too.

mod act;
mod cycle;
mod describe;
mod target;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ha_agents::fence::FenceAction;
use ha_core::id::NodeName;
use ha_examples::cli::{self, FAILURE};

use self::target::{Secret, Target};

/// Asks fence devices: Debian's fence agents, and native ones for IPMI, Redfish and ssh.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// As JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Which agents are here?
    Agents,
    /// Which nodes can the device fence?
    List(Device),
    /// What does an agent want to know, and what can it do?
    Metadata {
        /// ipmi, redfish, ssh, or a fence agent such as `fence_ipmilan`
        agent: String,
    },
    /// Does the device itself answer?
    Monitor(Device),
    /// Cut the node's power, and see it off
    Off(Device),
    /// Give the node power
    On(Device),
    /// Cut the node's power, and give it again
    Reboot(Device),
    /// Do what the last word says: list, monitor, off, on, reboot or status
    Run(Device),
    /// Has the node power? Exit status 0: on, 2: off
    Status(Device),
    /// Switch the node off and on again, and look each time whether it is so
    Test {
        #[command(flatten)]
        device: Device,
        /// Yes, the node may lose its power now
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// A device and a node.
#[derive(Debug, Args)]
struct Device {
    /// ipmi, redfish, ssh, or a fence agent: its name or path
    agent: String,
    /// Parameters of the agent
    #[arg(value_name = "NAME=VALUE")]
    words: Vec<String>,
    /// The node [default: node]
    #[arg(long)]
    node: Option<NodeName>,
    /// What the device calls the node [default: the node's name]
    #[arg(long)]
    plug: Option<String>,
    /// A parameter that is a secret, and where it is: NAME=file:PATH, NAME=env:VARIABLE, NAME=stdin
    #[arg(long, value_name = "NAME=SOURCE")]
    secret: Vec<Secret>,
    /// How long an action may take, in seconds [default: the agent's own]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: Option<u64>,
}

/// What is asked of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Act(FenceAction),
    List,
    Monitor,
    Status,
    Test,
}

impl Asked {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "list" => Self::List,
            "monitor" => Self::Monitor,
            "off" => Self::Act(FenceAction::Off),
            "on" => Self::Act(FenceAction::On),
            "reboot" => Self::Act(FenceAction::Reboot),
            "status" => Self::Status,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Act(action) => action.as_str(),
            Self::List => "list",
            Self::Monitor => "monitor",
            Self::Status => "status",
            Self::Test => "test",
        }
    }
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        // Status 2 means "off" here, and nothing else.
        Err(status) if status == ExitCode::SUCCESS => return status,
        Err(_) => return ExitCode::from(FAILURE),
    };
    cli::log("warn");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! { biased;
                done = run(flags) => done,
                // What was under way is dropped: an agent is killed with its children.
                stopped = cli::asked_to_stop() => Err(match stopped {
                    Ok(signal) => format!("ended by {signal}: what was asked may have been done"),
                    Err(error) => error.to_string(),
                }),
            }
        }),
        Err(error) => Err(error.to_string()),
    };
    done.unwrap_or_else(|why| cli::fail(FAILURE, &why))
}

async fn run(flags: Flags) -> Result<ExitCode, String> {
    let json = flags.json;
    let (asked, device) = match flags.command {
        Command::Agents => return describe::agents(json),
        Command::Metadata { agent } => return describe::metadata(&agent, json).await,
        Command::List(device) => (Asked::List, device),
        Command::Monitor(device) => (Asked::Monitor, device),
        Command::Off(device) => (Asked::Act(FenceAction::Off), device),
        Command::On(device) => (Asked::Act(FenceAction::On), device),
        Command::Reboot(device) => (Asked::Act(FenceAction::Reboot), device),
        Command::Run(mut device) => {
            let last = device.words.pop().unwrap_or_default();
            let asked = Asked::named(&last).ok_or_else(|| {
                format!(
                    "cannot run {}: {last:?} is no action; end with list, monitor, off, on, \
                     reboot or status",
                    device.agent
                )
            })?;
            (asked, device)
        }
        Command::Status(device) => (Asked::Status, device),
        Command::Test { device, .. } => (Asked::Test, device),
    };
    let target = Target::find(device, asked).await?;
    if asked == Asked::Test {
        return cycle::test(&target, json).await;
    }
    act::ask(&target, asked, json).await
}
