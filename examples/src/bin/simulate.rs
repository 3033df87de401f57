//! Decides on a Pacemaker CIB: what would be done, why, and what if something were different.
//!
//! ```text
//! simulate CASE.xml                         the decision, as JSON
//! simulate CASE.xml --explain [RESOURCE]    why each resource is where it is
//! simulate CASE.xml --graph out.svg         what is done in which order (out.dot for Graphviz)
//! simulate CASE.xml --what-if node-down=n1  the same, had n1 been lost
//! simulate CASE.xml --settle                what would follow, until nothing more would be done
//! simulate check CASE.xml                   what is wrong with the configuration
//! simulate write CASE.xml --to toml         the same in TOML (or json, xml) on stdout
//! ```
//!
//! In place of Pacemaker's XML there may be TOML or JSON: what it is tells the ending of the name,
//! or else the first character. A description in TOML or JSON that has no `node-states` is decided
//! on as if all its nodes were up and had quorum.
//!
//! The JSON has `actions`, one entry for each instance that changes, and `final`, what is active
//! afterwards. Ends with 0, with 1 if `check` finds an error, and with 2 if there is nothing to
//! decide on: no such file, or no CIB in it.
#![expect(clippy::print_stdout, reason = "this program's output is its result")]

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use ha_core::role::Role;
use ha_core::time::{BootClock, Clock, WallTime};
use ha_crm::check::{Severity, check};
use ha_crm::cib::{Cib, ConfiguredNode, NodeKind, Note};
use ha_crm::scheduler::{Schedule, Scheduler, WhatIf};
use serde_json::{Map, Value, json};

/// What has not come to rest by then goes in circles.
const MAX_TRANSITIONS: usize = 50;

/// Decides on a Pacemaker CIB without doing anything.
#[derive(Parser)]
#[command(name = "simulate", args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// The CIB, as `cibadmin -Q` or `pcs cluster cib` writes it
    #[arg(required = true)]
    cib: Option<PathBuf>,
    /// Says why each resource, or one, is where it is
    #[arg(long, value_name = "RESOURCE", num_args = 0..=1, default_missing_value = "")]
    explain: Option<String>,
    /// Writes the transition as a picture (.svg) or for Graphviz (.dot)
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Something that is different: node-down=N, node-up=N, standby=N, quorum=yes|no,
    /// attribute=N:NAME=VALUE, failure=N/RESOURCE/OPERATION, later=10min; may be repeated
    #[arg(long, value_name = "CHANGE")]
    what_if: Vec<WhatIf>,
    /// Takes each decision for done and decides again, until nothing more would be done; one
    /// document a transition
    #[arg(long, conflicts_with_all = ["explain", "graph"])]
    settle: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Says what is wrong with a configuration, one finding a line
    Check {
        /// The CIB
        cib: PathBuf,
    },
    /// Writes a configuration, with its status, in another form
    Write {
        /// The CIB
        cib: PathBuf,
        /// The form
        #[arg(long, value_name = "FORM")]
        to: Form,
    },
}

/// How a configuration is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A table of names and values
    Json,
    /// The same, to be written by hand
    Toml,
    /// As Pacemaker has it
    Xml,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Box<dyn Error>> {
    match &args.command {
        Some(Command::Check { cib }) => return report(cib),
        Some(Command::Write { cib, to }) => return write(cib, *to),
        None => {}
    }
    let path = args.cib.as_deref().ok_or("say which CIB to read")?;
    let (mut cib, _, form) = read(path)?;
    cib.execution_date.get_or_insert_with(|| BootClock::new().wall());
    if form != Form::Xml && cib.node_states.is_empty() {
        start_all(&mut cib);
    }
    for change in &args.what_if {
        change.apply(&mut cib);
    }
    let now = cib.execution_date.unwrap_or_else(|| BootClock::new().wall());
    if args.settle {
        return settle(&cib, now);
    }
    let wants_reasons = args.explain.is_some() || args.graph.is_some();
    let scheduler = if wants_reasons { Scheduler::new() } else { Scheduler::terse() };
    let decided = scheduler.decide(&cib, now)?;
    for remark in &decided.remarks {
        eprintln!("simulate: {remark}");
    }
    if let Some(file) = &args.graph {
        let is_dot = file.extension().is_some_and(|extension| extension == "dot");
        let transition = &decided.transition;
        let text = if is_dot { transition.to_dot() } else { transition.to_svg() };
        std::fs::write(file, text)
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    match &args.explain {
        Some(resource) => explain(&decided, resource)?,
        None => println!("{}", document(&decided)),
    }
    Ok(ExitCode::SUCCESS)
}

fn settle(cib: &Cib, now: WallTime) -> Result<ExitCode, Box<dyn Error>> {
    let simulation = Scheduler::simulate(cib, now, MAX_TRANSITIONS)?;
    for decided in &simulation.schedules {
        for remark in &decided.remarks {
            eprintln!("simulate: {remark}");
        }
        println!("{}", document(decided));
    }
    if simulation.settled {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(format!("it did not come to rest within {MAX_TRANSITIONS} transitions").into())
    }
}

fn read(path: &Path) -> Result<(Cib, Vec<Note>, Form), Box<dyn Error>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let form = form(path, &text);
    let read = match form {
        Form::Json => Cib::from_json(&text),
        Form::Toml => Cib::from_toml(&text),
        Form::Xml => Cib::parse(&text),
    };
    let (cib, notes) = read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((cib, notes, form))
}

/// The form of a text: what the ending of its name says, or else its first character.
fn form(path: &Path, text: &str) -> Form {
    match path.extension().and_then(OsStr::to_str) {
        Some("json") => return Form::Json,
        Some("toml") => return Form::Toml,
        Some("xml") => return Form::Xml,
        Some(_) | None => {}
    }
    match text.trim_start().bytes().next() {
        Some(b'{') => Form::Json,
        Some(b'<') | None => Form::Xml,
        Some(_) => Form::Toml,
    }
}

/// What a description without a status is decided on: all nodes are there.
fn start_all(cib: &mut Cib) {
    let remote = |node: &&ConfiguredNode| node.kind != Some(NodeKind::Remote);
    let names = cib.nodes.iter().filter(remote).filter_map(|node| node.uname.as_deref());
    let mut changes: Vec<WhatIf> = names.map(|name| WhatIf::NodeUp(name.to_owned())).collect();
    if cib.have_quorum.is_none() {
        changes.push(WhatIf::Quorum(true));
    }
    for change in changes {
        change.apply(cib);
    }
}

fn write(path: &Path, to: Form) -> Result<ExitCode, Box<dyn Error>> {
    let (cib, notes, _) = read(path)?;
    for note in notes {
        eprintln!("simulate: {note}");
    }
    let text = match to {
        Form::Json => cib.to_json()?,
        Form::Toml => cib.to_toml()?,
        Form::Xml => cib.to_xml(),
    };
    println!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn report(path: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let (cib, notes, _) = read(path)?;
    let findings = check(&cib, &notes);
    for finding in &findings {
        println!("{finding}");
    }
    let is_wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The decision as one document.
fn document(decided: &Schedule) -> Value {
    let mut last = Map::new();
    for (resource, roles) in &decided.outcome {
        let mut places = Map::new();
        for (role, nodes) in roles {
            let word = if *role == Role::Promoted { "Promoted" } else { "Started" };
            places.insert(word.to_owned(), json!(nodes));
        }
        last.insert(resource.to_string(), places.into());
    }
    json!({ "actions": decided.changes, "final": last })
}

fn explain(decided: &Schedule, resource: &str) -> Result<(), Box<dyn Error>> {
    let wanted = |account: &&ha_crm::scheduler::Account| {
        resource.is_empty() || *account.resource == *resource || *account.base == *resource
    };
    let mut any = false;
    for account in decided.accounts.iter().filter(wanted) {
        println!("{account}");
        for (index, step) in decided.transition.steps.iter().enumerate() {
            if step.resource.as_ref() != Some(&account.resource) {
                continue;
            }
            let node = step.node.as_deref().unwrap_or("");
            let why = step.reason.as_deref().unwrap_or("");
            let blocked = if step.blocked { ", blocked" } else { "" };
            println!("   {} on {node}{blocked}: {why}", step.task);
            let waits = decided.transition.waits.iter().filter(|wait| wait.then == index);
            for wait in waits {
                let Some(first) = decided.transition.steps.get(wait.first) else { continue };
                let (what, at) = (first.resource.as_deref(), first.node.as_deref());
                let (what, at) = (what.unwrap_or(""), at.unwrap_or(""));
                println!("      after {} {what} on {at}: {}", first.task, wait.reason);
            }
        }
        any = true;
    }
    if any {
        Ok(())
    } else {
        let mut names: Vec<&str> = decided.accounts.iter().map(|one| &*one.base).collect();
        names.dedup();
        Err(format!("there is no resource {resource}; there are {}", names.join(", ")).into())
    }
}
