//! `crm_node`: who is in the cluster.

use clap::{ArgGroup, Parser};

use super::{Call, Fault, node, parse, refuse_words};
use crate::attributes::{Member, NodeAttributes};

/// Tells who is in the cluster.
#[derive(Debug, Parser)]
#[command(name = "crm_node", disable_version_flag = true, args_override_self = true)]
#[command(group = ArgGroup::new("what").multiple(true).required(true))]
#[expect(clippy::struct_excessive_bools, reason = "the program's own options")]
struct Options {
    /// Prints this node's name.
    #[arg(short, long, group = "what")]
    name: bool,
    /// Prints this node's number.
    #[arg(short = 'i', long, group = "what")]
    cluster_id: bool,
    /// Prints the name of the node of this number.
    #[arg(short = 'N', long, group = "what")]
    name_for_id: Option<u32>,
    /// Prints number, name and state of each node.
    #[arg(short, long, group = "what")]
    list: bool,
    /// Prints the names of the nodes that are there.
    #[arg(short, long, group = "what")]
    partition: bool,
    /// Prints 1 if they may act, else 0.
    #[arg(short, long, group = "what")]
    quorum: bool,
    /// Passed over.
    #[arg(short = 'Q', long)]
    quiet: bool,
    /// Passed over.
    #[arg(short = 'V', long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[arg(hide = true)]
    words: Vec<String>,
}

pub(super) async fn run(call: &Call, attributes: &dyn NodeAttributes) -> Result<String, Fault> {
    let options: Options = parse(call)?;
    refuse_words(&options.words)?;
    let members = attributes.membership().await?;
    let number_of = |wanted: u32| members.members.iter().find(|member| member.number == wanted);
    if let Some(number) = options.name_for_id {
        let found = number_of(number);
        let found = found.ok_or_else(|| Fault::NoSuch(format!("there is no node {number}")))?;
        return Ok(format!("{}\n", found.name));
    }
    if options.name {
        return Ok(format!("{}\n", node(None, call, &members)?));
    }
    if options.cluster_id {
        let local = members.members.iter().find(|member| member.name == members.local);
        let local = local.ok_or_else(|| Fault::NoSuch("this node has no number".to_owned()))?;
        return Ok(format!("{}\n", local.number));
    }
    if options.quorum {
        return Ok(format!("{}\n", u8::from(members.is_quorate)));
    }
    // Both at once is the list of those who are there, as of the program when only -p counts.
    if options.partition {
        let online = members.members.iter().filter(|member| member.is_online);
        let names: Vec<&str> = online.map(|member| member.name.as_str()).collect();
        return Ok(format!("{}\n", names.join(" ")));
    }
    Ok(members.members.iter().map(line).collect())
}

fn line(member: &Member) -> String {
    let state = if member.is_online { "member" } else { "lost" };
    format!("{} {} {state}\n", member.number, member.name)
}
