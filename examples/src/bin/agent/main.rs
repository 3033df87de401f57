//! Runs resource agents by hand, shows what they say of themselves, and tries them out.
//!
//! ```text
//! agent list
//! agent metadata ocf:heartbeat:IPaddr2
//! agent run ocf:heartbeat:Dummy state=/tmp/x start
//! agent run lsb:nginx status           (any action of an OCF script; else the operations)
//! agent test ocf:heartbeat:Dummy state=/tmp/x
//! ```
//!
//! Exit status of `run`: the code of OCF that the answer has, 1 when there was no answer in time.
//! Of `test`: 0 when no rule is broken, 1 when one is. 64: wrong words.
//!
//! What an agent sets with `attrd_updater`, `crm_attribute` and so on, `run` and `test` print:
//! this program is behind those names, and no cluster is asked.

mod call;
mod show;
mod try_out;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ha_agents::OpContext;
use ha_agents::attributes::act_as_helper;
use ha_agents::registry::Registry;
use ha_core::id::{OpId, ResourceName};
use ha_examples::cli::{self, FAILURE};

/// Exit status for wrong words; 2 is a code of OCF.
const WRONG: u8 = 64;

/// Runs resource agents by hand, shows what they say of themselves, and tries them out.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where the OCF agents are
    #[arg(long, value_name = "PATH", default_value = "/usr/lib/ocf", global = true)]
    ocf_root: PathBuf,
    /// As JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All agents that are installed
    List,
    /// What an agent says of itself
    Metadata {
        /// Such as ocf:heartbeat:IPaddr2
        agent: String,
    },
    /// Run one operation
    Run {
        #[command(flatten)]
        given: Given,
        /// How closely a monitor looks: 0, 10 or 20
        #[arg(long, value_name = "N")]
        depth: Option<u8>,
        /// Parameters as NAME=VALUE, and the operation: start, stop, monitor, …
        #[arg(required = true, value_name = "NAME=VALUE… OPERATION")]
        words: Vec<String>,
    },
    /// Try whether an agent keeps the rules; the resource must be stopped
    Test {
        #[command(flatten)]
        given: Given,
        /// Parameters
        #[arg(value_name = "NAME=VALUE")]
        words: Vec<String>,
    },
}

/// What `run` and `test` are given alike.
#[derive(Debug, clap::Args)]
struct Given {
    /// Such as ocf:heartbeat:Dummy, lsb:nginx, systemd:nginx, native:process
    agent: String,
    /// The resource's name
    #[arg(long, value_name = "NAME", default_value = "test")]
    resource: ResourceName,
    /// How long an operation may take, in seconds; at least what the agent advises
    #[arg(long, value_name = "S", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// A meta attribute, such as promotable=true
    #[arg(long, value_name = "NAME=VALUE")]
    meta: Vec<String>,
    /// The node that the agent is told it is on; the machine's name by default
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Given {
    /// The operation, with parameters from words.
    fn context(&self, words: &[String]) -> Result<OpContext, String> {
        let context = OpContext::new(self.resource.clone(), OpId::FIRST);
        let mut context = context.timeout(Duration::from_secs(self.timeout));
        context.parameters = pairs(words)?;
        context.meta = pairs(&self.meta)?;
        Ok(context)
    }
}

fn pairs(words: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("cannot read {word:?}: a parameter is NAME=VALUE")),
    };
    words.iter().map(pair).collect()
}

fn main() -> ExitCode {
    if let Some(code) = act_as_helper() {
        return code.into();
    }
    let flags: Flags = match cli::parse() {
        Ok(flags) => flags,
        Err(status) if status == ExitCode::SUCCESS => return status,
        Err(_) => return ExitCode::from(WRONG),
    };
    cli::log("warn");
    let mut registry = Registry::new();
    registry.ocf_root(&flags.ocf_root);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(FAILURE, &error.to_string()),
    };
    runtime.block_on(async {
        match &flags.command {
            Command::List => show::list(&registry, flags.json),
            Command::Metadata { agent } => show::metadata(&registry, agent, &flags).await,
            Command::Run { given, depth, words } => {
                call::run(registry, given, *depth, words, &flags).await
            }
            Command::Test { given, words } => try_out::test(registry, given, words, &flags).await,
        }
    })
}
