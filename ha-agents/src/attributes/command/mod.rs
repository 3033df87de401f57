//! What the stand-ins understand, on the side of the server.

mod attrd_updater;
mod crm_attribute;
mod crm_mon;
mod crm_node;
mod crm_resource;

use clap::Parser;
use clap::error::ErrorKind;
use ha_core::id::NodeName;
use serde::{Deserialize, Serialize};

use super::{AttributeError, AttributeKey, Membership, NodeAttributes};

/// The programs that there is a stand-in for. `pacemakerd` only tells a version: by it agents see
/// that they may ask `crm_node` for the node's name, instead of taking the machine's.
pub(super) const PROGRAMS: [&str; 7] = [
    "attrd_updater",
    "crm_attribute",
    "crm_master",
    "crm_mon",
    "crm_node",
    "crm_resource",
    "pacemakerd",
];

/// All went well.
const OK: u8 = 0;
/// Something else went wrong.
const ERROR: u8 = 1;
/// It is not done here.
const UNIMPLEMENTED: u8 = 3;
/// The words of the call make no sense.
const USAGE: u8 = 64;
/// The cluster cannot be reached.
pub(super) const DISCONNECTED: u8 = 102;
/// There is no such thing.
const NO_SUCH: u8 = 105;
/// No answer in time.
pub(super) const TIMEOUT: u8 = 124;

/// A call of one of the programs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    /// The resource for whose agent it was called.
    pub(super) resource: Option<String>,
    /// The node on which that is, where it is another one, as a guest.
    pub(super) node: Option<String>,
}

/// What the program says and how it ends.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) code: u8,
    pub(super) output: String,
    pub(super) errors: String,
}

/// Why a call was not done.
#[derive(Debug)]
enum Fault {
    /// `--help`.
    Help(String),
    NoSuch(String),
    Other(AttributeError),
    Unsupported(String),
    Usage(String),
}

impl From<AttributeError> for Fault {
    fn from(error: AttributeError) -> Self {
        Self::Other(error)
    }
}

/// Does what a program was called for; the codes are those of Pacemaker's programs.
pub(super) async fn run(call: &Call, attributes: &dyn NodeAttributes) -> Reply {
    let program = call.program.as_str();
    let done = match program {
        "attrd_updater" => attrd_updater::run(call, attributes).await,
        "crm_attribute" => crm_attribute::run(call, attributes).await,
        "crm_master" => crm_attribute::run_master(call, attributes).await,
        "crm_mon" => crm_mon::run(call, attributes).await,
        "crm_node" => crm_node::run(call, attributes).await,
        "crm_resource" => crm_resource::run(call, attributes).await,
        "pacemakerd" => {
            Ok(concat!("Pacemaker 2.1.5 (ha-agents ", env!("CARGO_PKG_VERSION"), ")\n").to_owned())
        }
        _ => Err(Fault::Unsupported(format!("it is none of {}", PROGRAMS.join(", ")))),
    };
    let (code, errors) = match done {
        Ok(output) | Err(Fault::Help(output)) => {
            return Reply { code: OK, output, errors: String::new() };
        }
        Err(Fault::NoSuch(why)) => (NO_SUCH, why),
        Err(Fault::Other(AttributeError::Unreachable { why })) => (DISCONNECTED, why),
        Err(Fault::Other(error @ AttributeError::UnknownNode { .. })) => {
            (NO_SUCH, error.to_string())
        }
        Err(Fault::Other(error @ AttributeError::Unsupported { .. })) => {
            (UNIMPLEMENTED, error.to_string())
        }
        Err(Fault::Other(error)) => (ERROR, error.to_string()),
        Err(Fault::Unsupported(why)) => (UNIMPLEMENTED, why),
        Err(Fault::Usage(why)) => (USAGE, why),
    };
    Reply { code, output: String::new(), errors: format!("{program}: {errors}\n") }
}

/// Reads the words of a call.
fn parse<P: Parser>(call: &Call) -> Result<P, Fault> {
    let words = std::iter::once(&call.program).chain(&call.arguments);
    P::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        if error.kind() == ErrorKind::DisplayHelp {
            Fault::Help(text)
        } else {
            Fault::Usage(text.trim_end().to_owned())
        }
    })
}

/// Agents write `$option` with nothing in it in quotes; other words have no place.
fn refuse_words(words: &[String]) -> Result<(), Fault> {
    match words.iter().find(|word| !word.is_empty()) {
        Some(word) => Err(Fault::Usage(format!("cannot understand {word:?}: it is no option"))),
        None => Ok(()),
    }
}

/// The node that is meant: the one given, that of the resource, or this one.
fn node(given: Option<&str>, call: &Call, members: &Membership) -> Result<NodeName, Fault> {
    let given = given.or(call.node.as_deref()).filter(|name| !name.is_empty());
    let Some(name) = given else { return Ok(members.local.clone()) };
    let known = members.members.iter().map(|member| &member.name);
    let known = known.chain(std::iter::once(&members.local)).find(|known| known.as_str() == name);
    let unknown = || AttributeError::UnknownNode { node: name.chars().take(80).collect() };
    Ok(known.cloned().ok_or_else(unknown)?)
}

/// The value of an attribute that must be set, or the default.
async fn value(
    attributes: &dyn NodeAttributes,
    key: &AttributeKey,
    default: Option<String>,
) -> Result<String, Fault> {
    let value = attributes.get(key).await?.or(default);
    value.ok_or_else(|| Fault::NoSuch(format!("cannot find attribute {key}: it is not set")))
}
