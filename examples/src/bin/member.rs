//! A member of a full mesh: says who joins, is suspect, fails and leaves.
//!
//! ```text
//! member --name n1 --bind 192.0.2.1:7946 --join 192.0.2.2:7946,192.0.2.3:7946 --key mesh.key
//! ```
//!
//! Stays in the foreground and writes each change as a JSON line on stdout. The members that it
//! joins may be down at its start. SIGTERM and SIGINT end it: it says goodbye first.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ha_core::id::{Incarnation, NodeName};
use ha_core::time::{BootClock, Clock};
use ha_examples::cli::{self, USAGE};
use ha_examples::json::JsonLines;
use ha_membership::mesh::{MeshConfig, MeshEvent, MeshService};
use ha_membership::quorum::{VoteQuorum, VoteQuorumBuilder};
use ha_membership::transport::{Sealed, SessionId, SharedKey};
use ha_membership::{Membership, View};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

/// Joins a full mesh of members and follows it.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Name of this member, unique in the mesh
    #[arg(long, value_name = "N")]
    name: NodeName,
    /// Address and UDP port to speak from and to listen on
    #[arg(long, value_name = "IP:PORT")]
    bind: SocketAddr,
    /// The same on a second network
    #[arg(long, value_name = "IP:PORT")]
    link2: Option<SocketAddr>,
    /// Members to learn the others from; they may be down
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    join: Vec<SocketAddr>,
    /// File with the key that all members share: 32 bytes or 64 hex digits
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Names of all members that vote, for quorum
    #[arg(long, value_name = "N", value_delimiter = ',')]
    voters: Vec<NodeName>,
    /// Time between heartbeats in ms: 5 to 60000
    #[arg(long, value_name = "MS", default_value_t = 100)]
    interval_ms: u64,
}

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Alive { node: &'a NodeName },
    Fail { node: &'a NodeName },
    Join { node: &'a NodeName },
    Leave { node: &'a NodeName },
    Missed { events: u64 },
    Ready { node: &'a NodeName, listen: &'a [SocketAddr] },
    Stopped { heard: u64, sent: u64, forged: u64, rejected: u64 },
    Stopping { signal: &'a str },
    Suspect { node: &'a NodeName },
    Unreachable { node: &'a NodeName },
    View { id: u64, members: Vec<&'a NodeName>, quorate: bool },
}

fn main() -> ExitCode {
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) => return status,
    };
    cli::log("warn");
    let (config, sealed) = match settings(&flags) {
        Ok(settings) => settings,
        Err(error) => return cli::fail(USAGE, &cli::chain(&*error)),
    };
    cli::run(serve(&flags.name, config, sealed))
}

type Failure = Box<dyn std::error::Error>;

fn settings(flags: &Flags) -> Result<(MeshConfig, Option<Sealed>), Failure> {
    // Later than any earlier life of this member, also after a restart of the computer.
    let started = BootClock::new().wall().as_micros() / 1000;
    let mut builder = MeshConfig::lan(flags.name.clone())
        .incarnation(Incarnation::new(u64::try_from(started).unwrap_or(1)))
        .interval(Duration::from_millis(flags.interval_ms))
        .link(flags.bind);
    builder = flags.link2.iter().fold(builder, |builder, address| builder.link(*address));
    builder = flags.join.iter().fold(builder, |builder, address| builder.seed(*address));
    if !flags.voters.is_empty() {
        let voters = flags.voters.iter().cloned();
        builder =
            builder.quorum(voters.fold(VoteQuorum::builder(), VoteQuorumBuilder::voter).build()?);
    }
    let config = builder.build()?;
    let Some(file) = &flags.key else {
        tracing::warn!("no --key: anybody on the network can speak for any member");
        return Ok((config, None));
    };
    let sealed = Sealed::new([(1, SharedKey::read(file)?)], SessionId::random()?)?;
    Ok((config, Some(sealed)))
}

async fn serve(me: &NodeName, config: MeshConfig, sealed: Option<Sealed>) -> Result<(), Failure> {
    let lines = JsonLines::stdout();
    let member = MeshService::spawn(config, sealed).await?;
    let (mut events, mut views) = (member.events(), member.watch());
    lines.write(&Line::Ready { node: me, listen: member.addresses() });
    let mut stop = std::pin::pin!(cli::asked_to_stop());
    let mut told = None;
    loop {
        tokio::select! { biased;
            signal = &mut stop => {
                lines.write(&Line::Stopping { signal: signal? });
                break;
            }
            event = events.recv() => match event {
                Ok(event) => tell(&lines, &event),
                Err(RecvError::Lagged(events)) => lines.write(&Line::Missed { events }),
                Err(RecvError::Closed) => break,
            },
            changed = views.changed() => {
                changed?;
                let view = views.borrow_and_update().clone();
                let fact = (view.id(), view.is_quorate());
                if told.replace(fact) != Some(fact) {
                    tell_view(&lines, &view);
                }
            }
        }
    }
    member.leave().await?;
    let tally = member.tally();
    let (heard, sent, forged) = (tally.mesh.heard, tally.mesh.sent, tally.sealed.forged);
    let sealed = tally.sealed;
    let rejected = forged
        + sealed.malformed
        + sealed.replayed
        + sealed.unknown_key
        + sealed.version
        + tally.malformed;
    lines.write(&Line::Stopped { heard, sent, forged, rejected });
    lines.finish();
    Ok(())
}

fn tell(lines: &JsonLines, event: &MeshEvent) {
    lines.write(&match event {
        MeshEvent::Alive(node) => Line::Alive { node },
        MeshEvent::Failed(node) => Line::Fail { node },
        MeshEvent::Joined(node) => Line::Join { node },
        MeshEvent::Left(node) => Line::Leave { node },
        MeshEvent::Suspected(node) => Line::Suspect { node },
        MeshEvent::Unreachable(node) => Line::Unreachable { node },
    });
}

fn tell_view(lines: &JsonLines, view: &View) {
    let (id, quorate) = (view.id().get(), view.is_quorate());
    lines.write(&Line::View { id, members: view.members().keys().collect(), quorate });
}
