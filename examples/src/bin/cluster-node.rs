//! A node of a cluster.
//!
//! ```text
//! cluster-node --config /etc/ha/cluster.toml
//! ```
//!
//! Stays in the foreground and writes what happens as JSON lines on stdout: `t` in seconds since
//! 1970, `at` in nanoseconds of the computer's boot-time clock. `hactl` speaks to it. SIGTERM and
//! SIGINT end it: its resources are moved first.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use ha_agents::attributes::{self, AttributeServer};
use ha_agents::registry::Registry;
use ha_core::id::NodeName;
use ha_crm::attributes::ClusterAttributes;
use ha_crm::file::NodeFile;
use ha_crm::manager::{ManagerEvent, Told};
use ha_crm::node::Node;
use ha_examples::cli::{self, USAGE};
use ha_examples::json::JsonLines;
use ha_membership::store::Formation;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

/// Runs a node of a cluster.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// The configuration, the same on all nodes but for the name
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// This node's name, instead of the file's
    #[arg(long, value_name = "N")]
    name: Option<NodeName>,
    /// Only say what is wrong in the file
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Forming { waits_for: Vec<String> },
    Joined { node: &'a NodeName },
    Missed { events: u64 },
    Ready { node: &'a NodeName, socket: &'a PathBuf },
    Left { node: &'a NodeName },
    Stopping { signal: &'a str },
}

#[derive(Debug, Serialize)]
struct EventLine<'a> {
    at: u64,
    by: &'a NodeName,
    #[serde(flatten)]
    event: &'a ManagerEvent,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    // This program is also the one behind the names that agents call: `crm_attribute` and others.
    if let Some(code) = attributes::act_as_helper() {
        return ExitCode::from(code);
    }
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    let file = match &flags.name {
        Some(name) => NodeFile::read_as(&flags.config, name),
        None => NodeFile::read(&flags.config),
    };
    let file = match file {
        Ok(file) => file,
        Err(error) => return cli::fail(USAGE, &cli::chain(&error)),
    };
    if flags.check {
        eprintln!("{}: nothing is wrong", flags.config.display());
        return ExitCode::SUCCESS;
    }
    cli::log("warn,openraft=off");
    cli::run(serve(&file))
}

async fn serve(file: &NodeFile) -> Result<(), Failure> {
    let (lines, me) = (JsonLines::stdout(), &file.name);
    let mut agents = Registry::new();
    ha_crm::address::register(&mut agents);
    let attributes = Arc::new(ClusterAttributes::new(file.name.clone()));
    let (folder, program) = (file.data.join("agents"), std::env::current_exe()?);
    let told = Arc::clone(&attributes);
    let helpers = AttributeServer::start(folder, &program, told).await?;
    agents.helpers(helpers.helpers());
    let mut node = Node::open(file, agents).await?;
    attributes.connect(&node);
    let (mut events, mut formation) = (node.events(), node.formation());
    lines.write(&Line::Ready { node: me, socket: &file.socket });
    let mut stop = std::pin::pin!(cli::asked_to_stop());
    let mut formed = None;
    formation.mark_changed();
    loop {
        tokio::select! { biased;
            signal = &mut stop => {
                lines.write(&Line::Stopping { signal: signal? });
                break;
            }
            event = events.recv() => match event {
                Ok(told) => tell(&lines, me, &told),
                Err(RecvError::Lagged(events)) => lines.write(&Line::Missed { events }),
                Err(RecvError::Closed) => break,
            },
            Ok(()) = formation.changed() => {
                let now = formation.borrow_and_update().clone();
                if formed.as_ref() != Some(&now) {
                    tell_formation(&lines, me, &now);
                }
                formed = Some(now);
            }
            ended = node.ended() => return Ok(ended?),
        }
    }
    let mut leave = std::pin::pin!(node.leave());
    loop {
        tokio::select! { biased;
            Ok(told) = events.recv() => tell(&lines, me, &told),
            left = &mut leave => break left?,
        }
    }
    while let Ok(told) = events.try_recv() {
        tell(&lines, me, &told);
    }
    helpers.stop().await;
    lines.write(&Line::Left { node: me });
    lines.finish();
    Ok(())
}

fn tell(lines: &JsonLines, me: &NodeName, told: &Told) {
    lines.write(&EventLine { at: told.at.as_nanos(), by: me, event: &told.event });
}

fn tell_formation(lines: &JsonLines, me: &NodeName, formation: &Formation) {
    lines.write(&match formation {
        Formation::Waiting { on } => {
            Line::Forming { waits_for: on.iter().map(ToString::to_string).collect() }
        }
        Formation::Member => Line::Joined { node: me },
        Formation::CatchingUp | _ => {
            Line::Forming { waits_for: vec!["what the others have agreed on".to_owned()] }
        }
    });
}
