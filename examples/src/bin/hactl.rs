//! Asks a cluster, and tells it what to do, through the control socket of one of its nodes.
//!
//! ```text
//! hactl --socket /var/lib/ha/ha.sock status
//! hactl move vip n2        and back: hactl clear vip
//! hactl config apply /etc/ha/ha.toml
//! ```
//!
//! Exit status: 0 done, 1 refused or no answer, 2 wrong flags or a wrong file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ha_core::id::{NodeName, ResourceName};
use ha_crm::control::{Client, ControlError};
use ha_crm::file::read_cluster;
use ha_crm::manager::{NodeLine, Request, ResourceLine, Response, Status};
use ha_crm::model::NodeStatus;
use ha_examples::cli::{self, FAILURE, USAGE};

/// Where a node listens if nothing else is said.
const SOCKET: &str = "/var/lib/ha/ha.sock";

/// Asks a cluster, and tells it what to do.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Control socket of a node; if it is not given `HA_SOCKET` of the environment, or
    /// /var/lib/ha/ha.sock
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, global = true,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Forget a resource's failures and look at it again
    Cleanup {
        /// The resource
        resource: ResourceName,
    },
    /// Take back a move
    Clear {
        /// The resource or group
        resource: ResourceName,
    },
    /// Work with the configuration
    #[command(subcommand)]
    Config(Config),
    /// Why is a resource where it is?
    Explain {
        /// The resource
        resource: ResourceName,
    },
    /// Who leads?
    Leader,
    /// Move a resource, until it is cleared
    Move {
        /// The resource or group
        resource: ResourceName,
        /// Where to
        node: NodeName,
    },
    /// List the nodes
    Nodes {
        /// Only those that can run resources now
        #[arg(long)]
        online: bool,
    },
    /// Let a node run resources again
    Online {
        /// The node
        node: NodeName,
    },
    /// Let a node run nothing
    Standby {
        /// The node
        node: NodeName,
    },
    /// How is everything?
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Config {
    /// Replace the configuration by a file's, if all of it is right
    Apply {
        /// A node's configuration file
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    let request = match request(&flags.command) {
        Ok(request) => request,
        Err(status) => return status,
    };
    let socket = flags.socket.or_else(|| std::env::var_os("HA_SOCKET").map(PathBuf::from));
    let socket = socket.unwrap_or_else(|| SOCKET.into());
    let limit = Duration::from_secs(flags.timeout);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let response = match runtime {
        Ok(runtime) => runtime.block_on(ask(&socket, &request, limit)),
        Err(error) => return cli::fail(FAILURE, &error.to_string()),
    };
    match response {
        Ok(response) => tell(&flags.command, response),
        Err(error) => cli::fail(FAILURE, &cli::chain(&error)),
    }
}

/// What to ask; a file that is wrong is not even sent.
fn request(command: &Command) -> Result<Request, ExitCode> {
    Ok(match command {
        Command::Cleanup { resource } => Request::CleanUp { resource: resource.clone() },
        Command::Clear { resource } => Request::Clear { resource: resource.clone() },
        Command::Config(Config::Apply { file }) => {
            let config = read_cluster(file).map_err(|error| {
                error.problems().iter().fold(ExitCode::from(USAGE), |_, problem| {
                    cli::fail(USAGE, &format!("{}: {problem}", file.display()))
                })
            })?;
            Request::Apply { config: Box::new(config.into()) }
        }
        Command::Explain { resource } => Request::Explain { resource: resource.clone() },
        Command::Move { resource, node } => {
            Request::Move { resource: resource.clone(), node: node.clone() }
        }
        Command::Online { node } => Request::Online { node: node.clone() },
        Command::Standby { node } => Request::Standby { node: node.clone() },
        Command::Leader | Command::Nodes { .. } | Command::Status { .. } => Request::Status,
    })
}

async fn ask(socket: &Path, request: &Request, limit: Duration) -> Result<Response, ControlError> {
    Client::connect(socket).await?.ask(request, limit).await
}

/// Writes the answer.
fn tell(command: &Command, response: Response) -> ExitCode {
    let text = match (command, response) {
        (_, Response::Refused { reason }) => return cli::fail(FAILURE, &reason),
        (_, Response::Done) => return ExitCode::SUCCESS,
        (_, Response::Text { text }) => text,
        (Command::Leader, Response::Status(status)) => format!("{}\n", status.leader),
        (Command::Nodes { online }, Response::Status(status)) => nodes(&status, *online),
        (Command::Status { json: true }, Response::Status(status)) => {
            let json = serde_json::to_string_pretty(&status).unwrap_or_default();
            json + "\n"
        }
        (_, Response::Status(status)) => overview(&status),
        _ => return cli::fail(FAILURE, "the node gives an answer that is not known here"),
    };
    cli::show(&text)
}

fn nodes(status: &Status, online: bool) -> String {
    let usable = |line: &NodeLine| line.status == NodeStatus::Online && !line.witness;
    let chosen = status.nodes.iter().filter(|(_, line)| !online || usable(line));
    chosen.flat_map(|(name, _)| [name.as_str(), "\n"]).collect()
}

/// Everything, for a person.
fn overview(status: &Status) -> String {
    let Status { leader, term, waits_for, nodes, resources, decision, .. } = status;
    let mut text = format!("leader {leader}, term {term}, decision {}\n", decision.number);
    // Writing to a string cannot fail.
    if !waits_for.is_empty() {
        writeln!(text, "waits for {waits_for}").unwrap_or_default();
    }
    let width = nodes.keys().map(|name| name.as_str().len());
    let width = width.chain(resources.keys().map(|name| name.as_str().len())).max().unwrap_or(0);
    text += "\nnodes\n";
    for (name, line) in nodes {
        writeln!(text, "  {name:width$}  {}", standing(line)).unwrap_or_default();
    }
    text += "\nresources\n";
    for (name, line) in resources {
        writeln!(text, "  {name:width$}  {}", whereabouts(line)).unwrap_or_default();
        let indent = width + 4;
        for (node, count) in &line.failures {
            let times = if *count == 1 { "once" } else { "times" };
            let count = if *count == 1 { String::new() } else { format!("{count} ") };
            writeln!(text, "{:indent$}failed {count}{times} on {node}", "").unwrap_or_default();
        }
        for (node, reason) in &line.faults {
            writeln!(text, "{:indent$}amiss on {node}: {reason}", "").unwrap_or_default();
        }
    }
    if resources.is_empty() {
        text += "  none\n";
    }
    text
}

fn standing(line: &NodeLine) -> String {
    if line.witness {
        return if line.present { "witness" } else { "witness, not heard" }.to_owned();
    }
    let status = match line.status {
        NodeStatus::Maintenance => "maintenance",
        NodeStatus::Offline => "offline",
        NodeStatus::Online => "online",
        NodeStatus::Pending => "joining",
        NodeStatus::Standby => "standby",
        NodeStatus::Unclean => "unclean: to be fenced",
    };
    let heard = if line.present || line.status == NodeStatus::Offline { "" } else { ", not heard" };
    format!("{status}{heard}")
}

fn whereabouts(line: &ResourceLine) -> String {
    let names = |nodes: &[NodeName]| {
        let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
        names.join(", ")
    };
    let mut text = if line.active.is_empty() {
        let reason = if line.reason.is_empty() { "nothing is decided yet" } else { &line.reason };
        format!("nowhere: {reason}")
    } else {
        format!("on {}", names(&line.active))
    };
    if !line.promoted.is_empty() {
        write!(text, ", promoted on {}", names(&line.promoted)).unwrap_or_default();
    } else if !line.promotion.is_empty() && !line.active.is_empty() {
        write!(text, ", promoted nowhere: {}", line.promotion).unwrap_or_default();
    }
    if !line.busy.is_empty() {
        write!(text, " (at work on {})", names(&line.busy)).unwrap_or_default();
    }
    text
}
