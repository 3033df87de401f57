//! Which agents there are, and what they want to know.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use ha_agents::fence::{FenceCommand, NativeAgent};
use ha_examples::cli;
use serde::Serialize;

/// Where fence agents are, besides on `PATH`.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

#[derive(Debug, Serialize)]
struct Agents {
    native: Vec<&'static str>,
    programs: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
struct Description {
    agent: String,
    summary: String,
    plug: Option<&'static str>,
    actions: Vec<String>,
    parameters: Vec<Parameter>,
}

#[derive(Debug, Serialize)]
struct Parameter {
    name: String,
    required: bool,
    secret: bool,
    default: Option<String>,
    summary: String,
}

/// The agents that are here.
pub(crate) fn agents(json: bool) -> Result<ExitCode, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.map(Into::into));
    let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let programs = files
        .filter_map(|file| file.file_name().into_string().ok())
        .filter(|name| name.starts_with("fence_") && !name.contains('.'))
        .collect();
    let native = NativeAgent::ALL.iter().map(|agent| agent.name).collect();
    let agents = Agents { native, programs };
    if json {
        return show(&agents);
    }
    let mut text = String::new();
    for agent in NativeAgent::ALL {
        // Writing to a string cannot fail.
        writeln!(text, "{}: {}", agent.name, agent.summary).unwrap_or_default();
    }
    for program in agents.programs {
        writeln!(text, "{program}").unwrap_or_default();
    }
    Ok(cli::show(&text))
}

/// What an agent says of itself.
pub(crate) async fn metadata(name: &str, json: bool) -> Result<ExitCode, String> {
    let agent = match NativeAgent::named(name) {
        Some(agent) => native(agent),
        None => program(name).await?,
    };
    if json {
        return show(&agent);
    }
    let mut text = format!("{}: {}\n", agent.agent, agent.summary);
    if let Some(plug) = agent.plug {
        writeln!(text, "plug: {plug}").unwrap_or_default();
    }
    writeln!(text, "actions: {}", agent.actions.join(", ")).unwrap_or_default();
    for Parameter { name, required, secret, default, summary } in agent.parameters {
        let default = default.map_or_else(String::new, |default| format!(", default {default}"));
        let required = if required { ", required" } else { "" };
        let secret = if secret { ", a secret" } else { "" };
        writeln!(text, "  {name}{required}{secret}{default}: {summary}").unwrap_or_default();
    }
    Ok(cli::show(&text))
}

fn native(agent: &NativeAgent) -> Description {
    let actions = ["list", "monitor", "off", "on", "reboot", "status"];
    let parameters = agent.parameters.iter().map(|one| Parameter {
        name: one.name.to_owned(),
        required: one.required,
        secret: one.secret,
        default: one.default.map(str::to_owned),
        summary: one.summary.to_owned(),
    });
    Description {
        agent: agent.name.to_owned(),
        summary: agent.summary.to_owned(),
        plug: Some(agent.plug),
        actions: actions.map(str::to_owned).into(),
        parameters: parameters.collect(),
    }
}

async fn program(name: &str) -> Result<Description, String> {
    let command = FenceCommand::builder(name, name).build().map_err(|error| error.to_string())?;
    let metadata = command.metadata().await.map_err(|error| cli::chain(&error))?;
    let actions: BTreeSet<String> = metadata.actions.into_iter().map(|one| one.name).collect();
    let parameters = metadata.parameters.into_iter().filter(|one| !one.deprecated);
    let parameters = parameters.map(|one| Parameter {
        secret: crate::target::is_secret(&one.name),
        name: one.name,
        required: one.required,
        default: one.default.filter(|default| !default.is_empty()),
        summary: one.summary,
    });
    Ok(Description {
        agent: metadata.name,
        summary: metadata.summary,
        plug: None,
        actions: actions.into_iter().collect(),
        parameters: parameters.collect(),
    })
}

fn show(answer: &impl Serialize) -> Result<ExitCode, String> {
    let text = serde_json::to_string_pretty(answer).map_err(|error| error.to_string())?;
    Ok(cli::show(&(text + "\n")))
}
