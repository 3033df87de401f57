//! `agent list` and `agent metadata`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ha_agents::ocf::{AgentMetadata, Ocf, OcfError, ParameterMetadata};
use ha_agents::registry::Registry;
use ha_examples::cli::{self, FAILURE};
use serde_json::{Value, json};

use super::{Flags, WRONG};

pub(super) fn list(registry: &Registry, as_json: bool) -> ExitCode {
    let names = registry.installed();
    cli::show(&if as_json { format!("{}\n", json!(names)) } else { names.join("\n") + "\n" })
}

/// The script, if the name is that of one.
pub(super) async fn script(
    agent: &str,
    root: &Path,
    helpers: Option<&ha_agents::attributes::Helpers>,
) -> Option<Result<Ocf, OcfError>> {
    let (provider, kind) = agent.strip_prefix("ocf:")?.split_once(':')?;
    let mut builder = Ocf::builder(provider, kind).root(root);
    if let Some(helpers) = helpers {
        builder = builder.helpers(helpers);
    }
    Some(builder.load().await)
}

pub(super) async fn metadata(registry: &Registry, agent: &str, flags: &Flags) -> ExitCode {
    match script(agent, &flags.ocf_root, None).await {
        Some(Ok(script)) => {
            let metadata = script.agent_metadata();
            cli::show(&if flags.json { format!("{}\n", object(metadata)) } else { text(metadata) })
        }
        Some(Err(error)) => cli::fail(FAILURE, &cli::chain(&error)),
        None => {
            let name = match "metadata".parse() {
                Ok(name) => name,
                Err(error) => return cli::fail(WRONG, &cli::chain(&error)),
            };
            match registry.resolve(&name, agent, &BTreeMap::new()).await {
                Ok(found) => {
                    let found = found.metadata();
                    let (name, summary) = (found.name, found.summary);
                    cli::show(&if flags.json {
                        format!("{}\n", json!({ "name": name, "summary": summary }))
                    } else {
                        format!("{name}: {summary}\n")
                    })
                }
                // What a native agent needs it tells as what is missing.
                Err(error) => cli::fail(FAILURE, &cli::chain(&error)),
            }
        }
    }
}

fn marks(parameter: &ParameterMetadata) -> String {
    let mut marks = Vec::new();
    if parameter.must_be_given() {
        marks.push("required".to_owned());
    }
    if let Some(default) = parameter.default.as_ref().filter(|default| !default.is_empty()) {
        marks.push(format!("default {default}"));
    }
    if let Some(group) = &parameter.unique_group {
        marks.push(format!("unique in {group}"));
    }
    if parameter.reloadable {
        marks.push("reloadable".to_owned());
    }
    if parameter.deprecated {
        marks.push(format!("deprecated; use {}", parameter.replaced_with.join(" or ")));
    }
    if !parameter.options.is_empty() {
        marks.push(format!("one of {}", parameter.options.join(", ")));
    }
    marks.join(", ")
}

fn text(metadata: &AgentMetadata) -> String {
    let mut text = format!("{}: {}\n\n", metadata.name, metadata.summary);
    if !metadata.description.is_empty() {
        text.push_str(&metadata.description);
        text.push_str("\n\n");
    }
    text.push_str("Parameters\n");
    for parameter in &metadata.parameters {
        let ParameterMetadata { name, kind, summary, .. } = parameter;
        // Writing to a string cannot fail.
        writeln!(text, "  {name:24} {kind:8} {summary}").unwrap_or_default();
        let marks = marks(parameter);
        if !marks.is_empty() {
            writeln!(text, "  {:24} {marks}", "").unwrap_or_default();
        }
    }
    text.push_str("\nActions\n");
    let seconds = |time: Option<Duration>| time.map_or_else(String::new, |it| format!("{it:?}"));
    for action in &metadata.actions {
        let role = action.role.map_or_else(String::new, |role| role.to_string());
        let depth = action.depth.map_or_else(String::new, |depth| format!("depth {depth}"));
        let (timeout, every) = (seconds(action.timeout), seconds(action.interval));
        let line = format!("  {:16} {timeout:8} {every:8} {depth} {role}", action.name);
        writeln!(text, "{}", line.trim_end()).unwrap_or_default();
    }
    text
}

fn object(metadata: &AgentMetadata) -> Value {
    let parameters = metadata.parameters.iter().map(|it| {
        json!({
            "name": it.name, "type": it.kind, "default": it.default, "options": it.options,
            "required": it.must_be_given(), "unique_group": it.unique_group,
            "reloadable": it.reloadable, "deprecated": it.deprecated,
            "replaced_with": it.replaced_with, "summary": it.summary,
            "description": it.description,
        })
    });
    let parameters: Vec<Value> = parameters.collect();
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let actions = metadata.actions.iter().map(|it| {
        json!({
            "name": it.name, "timeout_s": seconds(it.timeout),
            "interval_s": seconds(it.interval), "depth": it.depth,
            "role": it.role.map(|role| role.to_string()),
        })
    });
    let actions: Vec<Value> = actions.collect();
    json!({
        "name": metadata.name, "version": metadata.version, "standard": metadata.standard,
        "summary": metadata.summary, "description": metadata.description,
        "parameters": parameters, "actions": actions,
    })
}
