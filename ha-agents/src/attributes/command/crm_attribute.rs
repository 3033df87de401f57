//! `crm_attribute`, and `crm_master`, which is the same for promotion scores.

use clap::Parser;

use super::{Call, Fault, node, parse, refuse_words, value};
use crate::attributes::{AttributeChange, AttributeKey, Membership, NodeAttributes, Scope};

/// The set in which properties of the cluster are when none is given.
const PROPERTIES: &str = "cib-bootstrap-options";

/// Reads and changes attributes of nodes and properties of the cluster.
#[derive(Debug, Parser)]
#[command(name = "crm_attribute", disable_version_flag = true, args_override_self = true)]
#[expect(clippy::struct_excessive_bools, reason = "the program's own options")]
struct Options {
    /// The attribute.
    #[arg(short, long, visible_alias = "attr-name")]
    name: Option<String>,
    /// Not supported.
    #[arg(short = 'P', long)]
    pattern: Option<String>,
    /// The promotion score of this resource, or of the one whose agent calls.
    #[arg(short, long, num_args = 0..=1, default_missing_value = "")]
    promotion: Option<String>,
    /// The set of a property.
    #[arg(short, long, visible_alias = "set-id")]
    set_name: Option<String>,
    /// Sets the value.
    #[arg(short = 'v', long, visible_alias = "attr-value", allow_hyphen_values = true)]
    update: Option<String>,
    /// Prints the value; also done when nothing else is asked for.
    #[arg(short = 'G', long, visible_alias = "get-value")]
    query: bool,
    /// Takes the attribute away.
    #[arg(short = 'D', long, visible_alias = "delete-attr")]
    delete: bool,
    /// What to print when it is not set.
    #[arg(short, long, allow_hyphen_values = true)]
    default: Option<String>,
    /// `reboot`: until the node leaves; `forever`.
    #[arg(short, long)]
    lifetime: Option<String>,
    /// Whose attribute.
    #[arg(short = 'N', short_alias = 'U', long, visible_alias = "uname")]
    node: Option<String>,
    /// `crm_config`, `nodes` or `status`.
    #[arg(short, long)]
    r#type: Option<String>,
    /// A capacity of the node.
    #[arg(short = 'z', long)]
    utilization: bool,
    /// Prints the value alone.
    #[arg(short, short_alias = 'Q', long)]
    quiet: bool,
    /// Passed over.
    #[arg(short = 'V', long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[arg(hide = true)]
    words: Vec<String>,
}

/// Reads and changes the promotion score of a resource on a node.
#[derive(Debug, Parser)]
#[command(name = "crm_master", disable_version_flag = true, args_override_self = true)]
struct Master {
    /// Prints the value; also done when nothing else is asked for.
    #[arg(short = 'G', long, visible_alias = "get-value")]
    query: bool,
    /// Sets the value.
    #[arg(short = 'v', long, visible_alias = "attr-value", allow_hyphen_values = true)]
    update: Option<String>,
    /// Takes the score away.
    #[arg(short = 'D', long, visible_alias = "delete-attr")]
    delete: bool,
    /// `reboot`: until the node leaves; `forever`.
    #[arg(short, long)]
    lifetime: Option<String>,
    /// On which node.
    #[arg(short = 'N', short_alias = 'U', long, visible_alias = "uname")]
    node: Option<String>,
    /// Of which resource; that whose agent calls by default.
    #[arg(short, long)]
    resource: Option<String>,
    /// Prints the value alone.
    #[arg(short, short_alias = 'Q', long)]
    quiet: bool,
    /// Passed over.
    #[arg(short = 'V', long, action = clap::ArgAction::Count)]
    verbose: u8,
    #[arg(hide = true)]
    words: Vec<String>,
}

pub(super) async fn run(call: &Call, attributes: &dyn NodeAttributes) -> Result<String, Fault> {
    act(parse(call)?, call, attributes).await
}

pub(super) async fn run_master(
    call: &Call,
    attributes: &dyn NodeAttributes,
) -> Result<String, Fault> {
    let Master { query, update, delete, lifetime, node, resource, quiet, verbose, words } =
        parse(call)?;
    let options = Options {
        name: None,
        pattern: None,
        promotion: Some(resource.unwrap_or_default()),
        set_name: None,
        update,
        query,
        delete,
        default: None,
        lifetime,
        node,
        r#type: None,
        utilization: false,
        quiet,
        verbose,
        words,
    };
    act(options, call, attributes).await
}

async fn act(
    options: Options,
    call: &Call,
    attributes: &dyn NodeAttributes,
) -> Result<String, Fault> {
    refuse_words(&options.words)?;
    if options.pattern.is_some() {
        return Err(Fault::Unsupported("--pattern is not supported; name each attribute".into()));
    }
    let name = options.attribute(call)?;
    let (section, scope) = options.scope(call, &attributes.membership().await?)?;
    let key = AttributeKey::new(scope, name)?;
    if let Some(value) = options.update {
        attributes.put(AttributeChange::set(key, value)).await?;
    } else if options.delete {
        attributes.put(AttributeChange::delete(key)).await?;
    } else {
        let value = value(attributes, &key, options.default).await?;
        return Ok(if options.quiet {
            format!("{value}\n")
        } else {
            format!("scope={section}  name={} value={value}\n", key.name())
        });
    }
    Ok(String::new())
}

impl Options {
    fn attribute(&self, call: &Call) -> Result<String, Fault> {
        match (&self.promotion, &self.name) {
            (Some(resource), _) => {
                let given = Some(resource.as_str()).filter(|resource| !resource.is_empty());
                let resource = given.or(call.resource.as_deref()).ok_or_else(|| {
                    Fault::Usage("cannot tell whose promotion score: name the resource".into())
                })?;
                Ok(format!("master-{resource}"))
            }
            (None, Some(name)) => Ok(name.clone()),
            (None, None) => {
                Err(Fault::Usage("cannot tell which attribute: give its --name".into()))
            }
        }
    }

    /// Where the attribute is, also by the name that Pacemaker prints.
    fn scope(&self, call: &Call, members: &Membership) -> Result<(&'static str, Scope), Fault> {
        let node = || node(self.node.as_deref(), call, members);
        let lifetime = match (self.lifetime.as_deref(), self.r#type.as_deref()) {
            (Some("reboot"), _) | (None, Some("status")) => Some(false),
            (Some("forever"), _) | (None, Some("nodes")) => Some(true),
            (Some(other), _) => {
                let why = format!("cannot use --lifetime {other:?}: give reboot or forever");
                return Err(Fault::Usage(why));
            }
            (None, Some("crm_config")) => return Ok(self.property()),
            (None, Some(other)) => {
                let why = format!("--type {other} is not supported; there are crm_config, nodes");
                return Err(Fault::Unsupported(why));
            }
            (None, None) if self.promotion.is_some() => Some(false),
            (None, None) => None,
        };
        Ok(match lifetime {
            _ if self.utilization => ("nodes", Scope::Utilization(node()?)),
            Some(false) => ("status", Scope::Transient(node()?)),
            Some(true) => ("nodes", Scope::Permanent(node()?)),
            None if self.node.is_some() => ("nodes", Scope::Permanent(node()?)),
            None => self.property(),
        })
    }

    fn property(&self) -> (&'static str, Scope) {
        let set = self.set_name.clone().unwrap_or_else(|| PROPERTIES.to_owned());
        ("crm_config", Scope::Cluster { set })
    }
}
