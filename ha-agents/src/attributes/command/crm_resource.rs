//! `crm_resource`: the utilization of a resource, and a ban.

use clap::Parser;
use ha_core::id::ResourceName;

use super::{Call, Fault, node, parse, refuse_words, value};
use crate::attributes::{AttributeChange, AttributeKey, NodeAttributes, Scope};

/// Reads and changes the utilization of a resource; keeps it away from a node.
#[derive(Debug, Parser)]
#[command(name = "crm_resource", disable_version_flag = true, args_override_self = true)]
struct Options {
    /// The resource; that whose agent calls by default.
    #[arg(short, long)]
    resource: Option<String>,
    /// The parameters are those of its utilization; others are not supported.
    #[arg(short = 'z', long)]
    utilization: bool,
    /// Prints a parameter.
    #[arg(short, long)]
    get_parameter: Option<String>,
    /// Sets a parameter to --parameter-value.
    #[arg(short = 'p', long)]
    set_parameter: Option<String>,
    /// The value.
    #[arg(short = 'v', long, allow_hyphen_values = true)]
    parameter_value: Option<String>,
    /// Takes a parameter away.
    #[arg(short, long)]
    delete_parameter: Option<String>,
    /// Keeps the resource away from the node.
    #[arg(short = 'B', long)]
    ban: bool,
    /// The node; this one by default.
    #[arg(short = 'N', long)]
    node: Option<String>,
    /// Passed over.
    #[arg(short, short_alias = 'Q', long)]
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
    let name = options.resource.as_deref().or(call.resource.as_deref()).unwrap_or_default();
    let wrong = |error| Fault::Usage(format!("cannot tell which resource: {error}"));
    let resource: ResourceName = name.parse().map_err(wrong)?;
    if options.ban {
        let members = attributes.membership().await?;
        attributes.ban(&resource, &node(options.node.as_deref(), call, &members)?).await?;
        return Ok(String::new());
    }
    if !options.utilization {
        let why = "only --utilization and --ban are supported; change the resource elsewhere";
        return Err(Fault::Unsupported(why.into()));
    }
    let key = |name| AttributeKey::new(Scope::ResourceUtilization(resource.clone()), name);
    if let Some(name) = options.get_parameter {
        return Ok(format!("{}\n", value(attributes, &key(name)?, None).await?));
    }
    let change = match (options.set_parameter, options.parameter_value, options.delete_parameter) {
        (Some(name), Some(value), _) => AttributeChange::set(key(name)?, value),
        (None, _, Some(name)) => AttributeChange::delete(key(name)?),
        _ => {
            let why = "cannot tell what to do: give --get-parameter, --set-parameter with \
                       --parameter-value, or --delete-parameter";
            return Err(Fault::Usage(why.into()));
        }
    };
    attributes.put(change).await?;
    Ok(String::new())
}
