//! `crm_mon`: which nodes are there, and what each resource is on them.

mod text;
mod xml;

use std::collections::BTreeMap;

use clap::Parser;
use ha_core::id::NodeName;
use ha_core::role::Role;

use super::{Call, Fault, parse, refuse_words};
use crate::attributes::{Member, Membership, NodeAttributes, ResourceState};

/// The most that attributes of nodes may have, in bytes; an answer has room for them, escaped.
const MAX_ATTRIBUTES: usize = 1024 * 1024;

/// Tells which nodes are there and what resources are on them, once.
#[derive(Debug, Parser)]
#[command(name = "crm_mon", disable_version_flag = true, args_override_self = true)]
#[expect(clippy::struct_excessive_bools, reason = "the program's own options")]
struct Options {
    /// Ends after the answer; needed unless it is XML.
    #[arg(short = '1', long)]
    one_shot: bool,
    /// Answers in XML with the older root element; ends then.
    #[arg(short = 'X', long)]
    as_xml: bool,
    /// `xml`, `text` or `console`.
    #[arg(long)]
    output_as: Option<String>,
    /// Shows resources with their nodes.
    #[arg(short = 'n', long)]
    group_by_node: bool,
    /// Shows the nodes' attributes, too; not done for XML without being asked for.
    #[arg(short = 'A', long)]
    show_node_attributes: bool,
    /// Not supported.
    #[arg(short, long)]
    daemonize: bool,
    /// Passed over, as it ends.
    #[arg(short, long)]
    interval: Option<String>,
    /// Passed over, as are --operations, --tickets and others for how much to show.
    #[arg(
        short = 'r', short_aliases = ['f', 'o', 't', 'c', 'D', 'R', 'b', 'N'], long,
        aliases = [
            "failcounts", "operations", "timing-details", "tickets", "hide-headers",
            "show-detail", "brief", "disable-ncurses",
        ],
        action = clap::ArgAction::Count,
    )]
    inactive: u8,
    /// Passed over.
    #[arg(short = 'Q', long)]
    quiet: bool,
    /// Passed over.
    #[arg(short = 'V', long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[arg(hide = true)]
    words: Vec<String>,
}

/// In which form to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Xml,
    /// As of `--as-xml`: another root element, and no status.
    OldXml,
}

/// What is shown.
#[derive(Debug)]
struct Picture {
    membership: Membership,
    /// Copies of a clone are beside one another.
    resources: Vec<ResourceState>,
    attributes: Vec<(NodeName, BTreeMap<String, String>)>,
    by_node: bool,
}

pub(super) async fn run(call: &Call, attributes: &dyn NodeAttributes) -> Result<String, Fault> {
    let options: Options = parse(call)?;
    refuse_words(&options.words)?;
    let form = options.form()?;
    let membership = attributes.membership().await?;
    let mut resources = attributes.resources().await?;
    // The sort is stable: within one resource the order stays.
    resources.sort_by(|a, b| (&a.clone, &a.resource).cmp(&(&b.clone, &b.resource)));
    let mut told = Vec::new();
    if options.show_node_attributes {
        let mut size = 0;
        for member in &membership.members {
            let of_node = attributes.node_attributes(&member.name).await?;
            size += of_node.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            if size > MAX_ATTRIBUTES {
                let why = format!(
                    "cannot show the attributes of nodes: they have more than {MAX_ATTRIBUTES} \
                     bytes; ask without --show-node-attributes"
                );
                return Err(Fault::Unsupported(why));
            }
            told.push((member.name.clone(), of_node));
        }
    }
    let by_node = options.group_by_node;
    let picture = Picture { membership, resources, attributes: told, by_node };
    Ok(match form {
        Form::Text => text::write(&picture),
        Form::Xml | Form::OldXml => {
            let request = std::iter::once(&call.program).chain(&call.arguments);
            let request: Vec<&str> = request.map(String::as_str).collect();
            xml::write(&picture, (form == Form::Xml).then(|| request.join(" ")).as_deref())
        }
    })
}

impl Options {
    fn form(&self) -> Result<Form, Fault> {
        let form = match self.output_as.as_deref() {
            _ if self.daemonize => {
                let why = "--daemonize is not supported; ask again and again with --one-shot";
                return Err(Fault::Unsupported(why.into()));
            }
            None if self.as_xml => Form::OldXml,
            Some("xml") => Form::Xml,
            None | Some("text" | "console") => Form::Text,
            Some(other) => {
                let why = format!("--output-as {other} is not supported; there are xml, text");
                return Err(Fault::Unsupported(why));
            }
        };
        if form == Form::Text && !self.one_shot {
            let why = "it does not go on for ever; give --one-shot, or --output-as xml";
            return Err(Fault::Unsupported(why.into()));
        }
        Ok(form)
    }
}

impl Picture {
    fn on<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a ResourceState> {
        self.resources.iter().filter(|state| is_on(state, member))
    }

    /// The number of a node; of one that the cluster no longer has, its name.
    fn number(&self, node: &NodeName) -> String {
        let member = self.membership.members.iter().find(|member| member.name == *node);
        member.map_or_else(|| node.to_string(), |member| member.number.to_string())
    }
}

fn is_on(state: &ResourceState, member: &Member) -> bool {
    state.role.is_active() && state.node == member.name
}

/// As Pacemaker calls it.
const fn role(state: &ResourceState) -> &'static str {
    match state.role {
        Role::Stopped => "Stopped",
        Role::Started => "Started",
        Role::Unpromoted => "Unpromoted",
        Role::Promoted => "Promoted",
    }
}
