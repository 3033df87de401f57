//! `attrd_updater`: attributes that live until the node leaves, with dampening.

use std::time::Duration;

use clap::Parser;
use ha_core::id::NodeName;

use super::{Call, Fault, node, parse, refuse_words, value};
use crate::attributes::{AttributeChange, AttributeKey, Dampening, NodeAttributes, Scope};
use crate::span;

/// Reads and changes attributes of nodes that live until the node leaves.
#[derive(Debug, Parser)]
#[command(name = "attrd_updater", disable_version_flag = true, args_override_self = true)]
#[expect(clippy::struct_excessive_bools, reason = "the program's own options")]
struct Options {
    /// The attribute.
    #[arg(short, long)]
    name: Option<String>,
    /// Not supported.
    #[arg(short = 'P', long)]
    pattern: Option<String>,
    /// Sets the value.
    #[arg(short = 'U', short_alias = 'v', long, allow_hyphen_values = true)]
    update: Option<String>,
    /// Sets the value and the dampening.
    #[arg(short = 'B', long, allow_hyphen_values = true)]
    update_both: Option<String>,
    /// Sets the dampening only.
    #[arg(short = 'Y', long)]
    update_delay: bool,
    /// Prints the value.
    #[arg(short = 'Q', long)]
    query: bool,
    /// Takes the attribute away.
    #[arg(short = 'D', long)]
    delete: bool,
    /// Everything is published anyway.
    #[arg(short = 'R', long)]
    refresh: bool,
    /// How long to wait for further changes.
    #[arg(short, long)]
    delay: Option<String>,
    /// Whose attribute; this node's by default.
    #[arg(short = 'N', long)]
    node: Option<String>,
    /// Prints the values of all nodes.
    #[arg(short = 'A', long)]
    all: bool,
    /// A new attribute is no matter for policy.
    #[arg(short, long)]
    private: bool,
    /// Passed over, as the lifetime is always the node's.
    #[arg(short, long)]
    lifetime: Option<String>,
    /// Passed over.
    #[arg(short = 'S', long)]
    section: Option<String>,
    /// Passed over.
    #[arg(short = 's', long)]
    set: Option<String>,
    /// Passed over, as every change is done when this ends.
    #[arg(short = 'W', long)]
    wait: Option<String>,
    /// Passed over.
    #[arg(short, long)]
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
    if options.pattern.is_some() {
        return Err(Fault::Unsupported("--pattern is not supported; name each attribute".into()));
    }
    if options.refresh {
        return Ok(String::new());
    }
    let Some(name) = &options.name else {
        return Err(Fault::Usage("cannot tell which attribute: give its --name".into()));
    };
    let members = attributes.membership().await?;
    if options.query && options.all {
        let mut lines = String::new();
        for member in &members.members {
            let key = key(attributes, name, &member.name, false).await?;
            if let Some(value) = attributes.get(&key).await? {
                lines.push_str(&line(&key, &member.name, &value));
            }
        }
        return if lines.is_empty() {
            Err(Fault::NoSuch(format!("cannot find attribute {name}: it is set on no node")))
        } else {
            Ok(lines)
        };
    }
    let node = node(options.node.as_deref(), call, &members)?;
    let key = key(attributes, name, &node, options.private).await?;
    let delay = options.delay()?;
    let change = if let Some(value) = options.update_both {
        AttributeChange::set(key, value).dampened(Dampening::Set(needed(delay)?))
    } else if let Some(value) = options.update {
        AttributeChange::set(key, value).dampened(delay.map_or(Dampening::Keep, Dampening::IfNew))
    } else if options.update_delay {
        let value = value(attributes, &key, None).await?;
        AttributeChange::set(key, value).dampened(Dampening::Set(needed(delay)?))
    } else if options.delete {
        AttributeChange::delete(key)
    } else if options.query {
        let value = value(attributes, &key, None).await?;
        return Ok(line(&key, &node, &value));
    } else {
        let why = "cannot tell what to do: give one of --update, --update-both, --query, --delete";
        return Err(Fault::Usage(why.into()));
    };
    attributes.put(change).await?;
    Ok(String::new())
}

impl Options {
    fn delay(&self) -> Result<Option<Duration>, Fault> {
        let Some(delay) = &self.delay else { return Ok(None) };
        let parsed = span::parse(delay);
        let wrong = || Fault::Usage(format!("cannot read --delay {delay:?}: give 5s or 500ms"));
        parsed.map(Some).ok_or_else(wrong)
    }
}

fn needed(delay: Option<Duration>) -> Result<Duration, Fault> {
    delay.ok_or_else(|| Fault::Usage("cannot change the dampening: give its --delay".into()))
}

/// Privacy is of the attribute, not of the call: it is decided when the attribute is made.
async fn key(
    attributes: &dyn NodeAttributes,
    name: &str,
    node: &NodeName,
    private: bool,
) -> Result<AttributeKey, Fault> {
    let hidden = AttributeKey::new(Scope::Private(node.clone()), name)?;
    let seen = AttributeKey::new(Scope::Transient(node.clone()), name)?;
    let is_hidden = attributes.get(&hidden).await?.is_some()
        || private && attributes.get(&seen).await?.is_none();
    Ok(if is_hidden { hidden } else { seen })
}

/// Agents evaluate it as shell variables, or cut the value out.
fn line(key: &AttributeKey, node: &NodeName, value: &str) -> String {
    format!("name=\"{}\" host=\"{node}\" value=\"{value}\"\n", key.name())
}
