//! `agent test`.

use std::process::ExitCode;

use ha_agents::attributes::Published;
use ha_agents::registry::Registry;
use ha_agents::trial::{self, Gravity, Trial};
use ha_examples::cli::{self, FAILURE};
use serde_json::{Value, json};

use super::call::{Attributes, agent, attribute_lines};
use super::show::script;
use super::{Flags, Given, WRONG};

pub(super) async fn test(
    mut registry: Registry,
    given: &Given,
    words: &[String],
    flags: &Flags,
) -> ExitCode {
    let context = match given.context(words) {
        Ok(context) => context,
        Err(why) => return cli::fail(WRONG, &why),
    };
    let attributes = match Attributes::serve(given).await {
        Ok(attributes) => attributes,
        Err(why) => return cli::fail(FAILURE, &why),
    };
    registry.helpers(attributes.helpers());
    let agent = agent(&registry, given, "start", &context).await;
    let done =
        match (agent, script(&given.agent, &flags.ocf_root, Some(attributes.helpers())).await) {
            (Err(error), _) => Err(cli::chain(&error)),
            (Ok(_), Some(Err(error))) => Err(cli::chain(&error)),
            (Ok(_), Some(Ok(script))) => Ok(trial::run_script(&script, &context).await),
            (Ok(agent), None) => Ok(trial::run(&*agent, &context).await),
        };
    let set = attributes.end().await;
    match done {
        Ok(trial) => tell(&given.agent, &trial, &set, flags.json),
        Err(why) => cli::fail(FAILURE, &why),
    }
}

fn word(gravity: Gravity) -> &'static str {
    match gravity {
        Gravity::Note => "note",
        Gravity::Warning => "warning",
        Gravity::Error => "error",
    }
}

fn tell(agent: &str, trial: &Trial, set: &[Published], as_json: bool) -> ExitCode {
    let text = if as_json { object(agent, trial, set) } else { lines(agent, trial, set) };
    let shown = cli::show(&text);
    if shown != ExitCode::SUCCESS || trial.is_passed() {
        return shown;
    }
    ExitCode::from(FAILURE)
}

fn object(agent: &str, trial: &Trial, set: &[Published]) -> String {
    let steps = trial.steps.iter().map(|step| {
        json!({
            "what": step.what, "outcome": step.outcome.map(|it| it.to_string()),
            "code": step.code.or_else(|| step.outcome.map(ha_agents::Outcome::code)),
            "reason": step.reason, "seconds": step.took.as_secs_f64(), "right": step.is_right,
        })
    });
    let steps: Vec<Value> = steps.collect();
    let findings = trial.findings.iter().map(|it| {
        json!({
            "gravity": word(it.gravity), "about": it.about, "found": it.found,
            "remedy": it.remedy,
        })
    });
    let findings: Vec<Value> = findings.collect();
    let value = json!({
        "agent": agent, "passed": trial.is_passed(), "steps": steps, "findings": findings,
        "attributes": attribute_lines(set),
    });
    format!("{value}\n")
}

fn lines(agent: &str, trial: &Trial, set: &[Published]) -> String {
    let mut lines = Vec::new();
    for step in &trial.steps {
        let sign = if step.is_right { "ok" } else { "!!" };
        let outcome = step.outcome.map_or_else(|| "no answer".to_owned(), |it| it.to_string());
        let took = format!("{:.1?}", step.took);
        lines.push(format!("{sign}  {:36} {outcome:18} {took:>9}", step.what));
    }
    let mut findings: Vec<_> = trial.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.gravity));
    for finding in findings {
        let gravity = word(finding.gravity);
        lines.push(format!("\n{gravity}: {}: {}", finding.about, finding.found));
        lines.push(format!("    {}", finding.remedy));
    }
    lines.extend(attribute_lines(set).iter().map(|line| format!("attribute: {line}")));
    let count = |gravity| trial.findings.iter().filter(|it| it.gravity == gravity).count();
    let [errors, warnings, notes] = [Gravity::Error, Gravity::Warning, Gravity::Note].map(count);
    let verdict = if trial.is_passed() { "passed" } else { "failed" };
    let operations = trial.steps.len();
    lines.push(format!(
        "\n{agent} {verdict}: {operations} operations, {errors} errors, {warnings} warnings, \
         {notes} notes\n"
    ));
    lines.join("\n")
}
