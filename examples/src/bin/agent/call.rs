//! `agent run`, and the attributes that agents set.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::attributes::{AttributeServer, Helpers, Membership, MemoryAttributes, Published};
use ha_agents::registry::{Registry, RegistryError};
use ha_agents::{AgentError, Check, OpContext, OpResult, ResourceAgent};
use ha_core::driver::pause;
use ha_core::role::Role;
use ha_examples::cli::{self, FAILURE};
use serde_json::{Value, json};

use super::show::script;
use super::{Flags, Given, WRONG};

/// A cluster of this node alone, for what agents tell it.
pub(super) struct Attributes {
    server: AttributeServer,
    memory: Arc<MemoryAttributes>,
    directory: PathBuf,
}

impl Attributes {
    pub(super) async fn serve(given: &Given) -> Result<Self, String> {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let node = given.node.clone().unwrap_or_else(|| host.trim().to_owned());
        let node = node.parse().map_err(|error| cli::chain(&error))?;
        let memory = Arc::new(MemoryAttributes::new(Membership::single(node)));
        let directory = private_directory()?;
        let program = std::env::current_exe().map_err(|error| cli::chain(&error))?;
        let attributes = Arc::<MemoryAttributes>::clone(&memory);
        let server = AttributeServer::start(&directory, &program, attributes).await;
        let server = server.map_err(|error| {
            fs::remove_dir_all(&directory).unwrap_or_default();
            cli::chain(&error)
        })?;
        Ok(Self { server, memory, directory })
    }

    pub(super) const fn helpers(&self) -> &Helpers {
        self.server.helpers()
    }

    /// What was set; what is still held back is not waited for.
    pub(super) async fn end(self) -> Vec<Published> {
        self.server.stop().await;
        fs::remove_dir_all(&self.directory).unwrap_or_default();
        tokio::select! { biased;
            published = self.memory.published() => published,
            _nothing = pause(Duration::from_millis(10)) => Vec::new(),
        }
    }
}

/// A directory that only this user can come into, and that was not there: agents run programs in
/// it, and others may write beside it.
fn private_directory() -> Result<PathBuf, String> {
    let directory = std::env::temp_dir().join(format!("ha-agent-{}", std::process::id()));
    let made = fs::DirBuilder::new().mode(0o700).create(&directory);
    made.map_err(|error| {
        let path = directory.display();
        format!("cannot make {path} for agents' programs: {error}; remove it or set TMPDIR")
    })?;
    Ok(directory)
}

/// The attributes as lines, such as `pingd of n1 = 1000`.
pub(super) fn attribute_lines(published: &[Published]) -> Vec<String> {
    let line = |it: &Published| format!("{} = {}", it.key, it.value.as_deref().unwrap_or("(gone)"));
    published.iter().map(line).collect()
}

pub(super) async fn run(
    mut registry: Registry,
    given: &Given,
    depth: Option<u8>,
    words: &[String],
    flags: &Flags,
) -> ExitCode {
    let Some((operation, parameters)) = words.split_last() else {
        return cli::fail(WRONG, "an operation is needed, such as start");
    };
    if operation.contains('=') {
        let why = format!("the last word must be an operation, such as start, not {operation:?}");
        return cli::fail(WRONG, &why);
    }
    let context = match given.context(parameters) {
        Ok(context) => context,
        Err(why) => return cli::fail(WRONG, &why),
    };
    let attributes = match Attributes::serve(given).await {
        Ok(attributes) => attributes,
        Err(why) => return cli::fail(FAILURE, &why),
    };
    registry.helpers(attributes.helpers());
    let answer = answer(&registry, given, operation, depth, &context, flags, &attributes).await;
    let set = attributes.end().await;
    match answer {
        Ok(answer) => tell(operation, answer, &set, flags.json),
        Err((code, why)) => cli::fail(code, &why),
    }
}

/// The agent; with wrong parameters only to look and to stop, which a script can do all the same.
pub(super) async fn agent(
    registry: &Registry,
    given: &Given,
    operation: &str,
    context: &OpContext,
) -> Result<Arc<dyn ResourceAgent>, RegistryError> {
    let begins = ["migrate_from", "migrate_to", "promote", "reload", "reload-agent", "start"];
    if begins.contains(&operation) {
        registry.check(&given.resource, &given.agent, &context.parameters).await?;
    }
    registry.resolve(&given.resource, &given.agent, &context.parameters).await
}

async fn answer(
    registry: &Registry,
    given: &Given,
    operation: &str,
    depth: Option<u8>,
    context: &OpContext,
    flags: &Flags,
    attributes: &Attributes,
) -> Result<OpResult, (u8, String)> {
    let agent = agent(registry, given, operation, context).await;
    let agent = agent.map_err(|error| {
        let code = u8::try_from(error.outcome().code()).unwrap_or(FAILURE);
        (code, cli::chain(&error))
    })?;
    let context = context.clone().timeout_as(&agent.metadata(), operation);
    if let Some(answer) = known(&*agent, operation, depth, &context).await {
        return Ok(answer);
    }
    match script(&given.agent, &flags.ocf_root, Some(attributes.helpers())).await {
        Some(Ok(script)) => Ok(script.run_action(operation, &context).await),
        Some(Err(error)) => Err((FAILURE, cli::chain(&error))),
        None => {
            let why = "start, stop, monitor, probe, validate, promote, demote, notify, reload, \
                       migrate_to, migrate_from";
            Err((WRONG, format!("cannot {operation} {}: it can do {why}", given.agent)))
        }
    }
}

/// The operations that all agents have; `None`: it is none of them.
async fn known(
    agent: &dyn ResourceAgent,
    operation: &str,
    depth: Option<u8>,
    context: &OpContext,
) -> Option<OpResult> {
    let depth = depth.unwrap_or_default();
    Some(match operation {
        "demote" => agent.demote(context).await,
        "migrate_from" => agent.migrate_from(context).await,
        "migrate_to" => agent.migrate_to(context).await,
        "monitor" | "status" => {
            let role = Some(Role::Started);
            agent.monitor(context, Check { depth, role }).await
        }
        "notify" => agent.notify(context).await,
        "probe" => agent.monitor(context, Check { depth, role: None }).await,
        "promote" => agent.promote(context).await,
        "reload" | "reload-agent" => agent.reload(context).await,
        "start" => agent.start(context).await,
        "stop" => agent.stop(context).await,
        "validate" | "validate-all" => agent.validate(context).await,
        _ => return None,
    })
}

fn tell(operation: &str, answer: OpResult, set: &[Published], as_json: bool) -> ExitCode {
    let report = match answer {
        Ok(report) => report,
        Err(error) => return no_answer(operation, &error, as_json),
    };
    let code = report.outcome.code();
    if as_json {
        let run = report.run.as_deref();
        let value = json!({
            "operation": operation, "outcome": report.outcome.to_string(), "code": code,
            "raw_code": report.code, "reason": report.reason,
            "seconds": run.map(|run| run.duration.as_secs_f64()),
            "output": run.map(|run| &run.output), "errors": run.map(|run| &run.errors),
            "attributes": attribute_lines(set),
        });
        let shown = cli::show(&format!("{value}\n"));
        if shown != ExitCode::SUCCESS {
            return shown;
        }
    } else {
        let mut lines = vec![format!("{operation}: {} ({code})", report.outcome)];
        lines.extend(report.code.filter(|raw| *raw != code).map(|raw| format!("own code: {raw}")));
        if !report.reason.is_empty() {
            lines.push(format!("reason: {}", report.reason));
        }
        lines.extend(attribute_lines(set).iter().map(|line| format!("attribute: {line}")));
        if let Some(run) = report.run {
            lines.extend(run.output.lines().map(|line| format!("output: {line}")));
            lines.extend(run.errors.lines().map(|line| format!("errors: {line}")));
            lines.push(format!("took: {:.1?}", run.duration));
        }
        let text = lines.join("\n") + "\n";
        let shown = cli::show(&text);
        if shown != ExitCode::SUCCESS {
            return shown;
        }
    }
    ExitCode::from(u8::try_from(code).unwrap_or(FAILURE))
}

fn no_answer(operation: &str, error: &AgentError, as_json: bool) -> ExitCode {
    if as_json {
        let value: Value = json!({ "operation": operation, "error": cli::chain(error) });
        let _reader_gone = cli::show(&format!("{value}\n"));
    }
    cli::fail(FAILURE, &cli::chain(error))
}
