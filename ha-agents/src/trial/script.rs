//! What is tried of scripts besides: wrong parameters, unknown actions, and their metadata.

use ha_core::time::{BootClock, Clock};

use super::{Bench, Finding, Gravity, Trial};
use crate::agent::OpContext;
use crate::ocf::{AgentMetadata, Ocf, ParameterMetadata, ParameterType};
use crate::outcome::Outcome;

/// How many parameters are given wrong values, one after the other.
const MAX_WRONG: usize = 10;
/// A value that is neither a number, nor yes or no, nor in a selection.
const NONSENSE: &str = "no such value";

const FENCED: &str = "let the stop return 0 where nothing runs, whatever the parameters are: \
    anything else has the node fenced for a typing error";
const REFUSE: &str = "let validate-all answer 6 for what is wrong on every node, 2 for this one";
const UNKNOWN: &str = "answer 3 to an action that the agent does not know";

/// Tries a script: the [cycle](super::run) of all agents, its [metadata](metadata_findings), and
/// the script's own answer to missing and wrong parameters and to an unknown action.
///
/// # Cancel safety
///
/// As [`run`](super::run).
pub async fn run_script(agent: &Ocf, context: &OpContext) -> Trial {
    let mut bench = Bench::new(agent, context);
    bench.trial.findings = metadata_findings(agent.agent_metadata());
    bench.cycle().await;
    // What is wrong is tried only where nothing runs.
    if bench.trial.steps.last().is_some_and(|step| !step.is_right) {
        return bench.trial;
    }
    let wanted = [Outcome::Unimplemented];
    let action = "no-such-action";
    bench.action(agent, action, (action, context), &wanted, (Gravity::Warning, UNKNOWN)).await;
    let refused = [Outcome::NotConfigured, Outcome::InvalidArguments];
    let validates = agent.agent_metadata().knows("validate-all");
    for parameter in agent.agent_metadata().parameters.iter().filter(|it| it.must_be_given()) {
        let mut without = context.clone();
        without.parameters.remove(&parameter.name);
        let name = &parameter.name;
        if validates {
            let what = format!("validate without {name}");
            let grade = (Gravity::Warning, REFUSE);
            bench.action(agent, "validate-all", (&what, &without), &refused, grade).await;
        }
        let what = format!("stop without {name}");
        let grade = (Gravity::Error, FENCED);
        bench.action(agent, "stop", (&what, &without), &[Outcome::Success], grade).await;
    }
    let typed = agent.agent_metadata().parameters.iter();
    let typed = typed.filter(|it| it.value_type() != ParameterType::String);
    for parameter in typed.take(MAX_WRONG).filter(|_| validates) {
        let wrong = context.clone().parameter(&parameter.name, NONSENSE);
        let what = format!("validate with a wrong {}", parameter.name);
        let grade = (Gravity::Note, REFUSE);
        bench.action(agent, "validate-all", (&what, &wrong), &refused, grade).await;
    }
    bench.trial
}

impl Bench<'_> {
    /// Tries an action of a script, past the check of parameters.
    async fn action(
        &mut self,
        agent: &Ocf,
        action: &str,
        (what, context): (&str, &OpContext),
        wanted: &[Outcome],
        grade: (Gravity, &str),
    ) {
        let context = context.clone().timeout_as(&self.metadata, action);
        let began = BootClock::new().now();
        let answer = agent.run_action(action, &context).await;
        let took = BootClock::new().now().since(began);
        self.note(what, answer, wanted, grade, took);
    }
}

/// What could be better in an agent's metadata.
#[must_use]
pub fn metadata_findings(metadata: &AgentMetadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |gravity, about: &str, found: &str, remedy: &str| {
        findings.push(Finding::new(gravity, about, found, remedy));
    };
    for action in ["start", "stop", "monitor", "meta-data"] {
        if !metadata.knows(action) {
            let remedy = "list it among the actions: the standard demands it";
            find(Gravity::Error, action, "the metadata has no such action", remedy);
        } else if metadata.timeout(action).is_none() {
            let remedy = "say how long it takes at most";
            find(Gravity::Warning, action, "the metadata advises no time-out", remedy);
        }
    }
    if !metadata.knows("validate-all") {
        let remedy = "add it, so that a wrong configuration is told before anything is started";
        find(Gravity::Note, "validate-all", "the metadata has no such action", remedy);
    }
    if metadata.knows("promote") != metadata.knows("demote") {
        let remedy = "list promote and demote, or neither";
        find(Gravity::Error, "promote", "there is one of promote and demote only", remedy);
    }
    if metadata.standard.is_empty() {
        let remedy = "say which version of the standard it keeps: <version>1.1</version>";
        find(Gravity::Note, "version", "the metadata claims no version of the standard", remedy);
    }
    if metadata.summary.is_empty() || metadata.description.is_empty() {
        let remedy = "say in one sentence, and in more, what it is for";
        find(Gravity::Note, "description", "a short or long description is missing", remedy);
    }
    for parameter in &metadata.parameters {
        for (gravity, found, remedy) in parameter_faults(parameter) {
            find(gravity, &format!("parameter {}", parameter.name), found, remedy);
        }
    }
    findings
}

fn parameter_faults(parameter: &ParameterMetadata) -> Vec<(Gravity, &'static str, &'static str)> {
    let mut faults = Vec::new();
    let default = parameter.default.as_deref().unwrap_or_default();
    let known = ["string", "integer", "boolean", "select", "second", "time"];
    if !known.contains(&parameter.kind.as_str()) {
        let remedy = "use string, integer, boolean or select";
        faults.push((Gravity::Note, "its type is none of the standard", remedy));
    } else if parameter.kind != "string" && parameter.value_type() == ParameterType::String {
        let remedy = "correct the type, or the default";
        faults.push((Gravity::Warning, "its default is not of its type", remedy));
    }
    if parameter.required && !default.is_empty() {
        let remedy = "take away one of the two";
        faults.push((Gravity::Note, "it is required and has a default", remedy));
    }
    if parameter.summary.is_empty() && parameter.description.is_empty() {
        faults.push((Gravity::Note, "nothing says what it is for", "describe it"));
    }
    if parameter.deprecated && parameter.replaced_with.is_empty() {
        let remedy = "say what to use instead";
        faults.push((Gravity::Note, "it is deprecated without a replacement", remedy));
    }
    faults
}
