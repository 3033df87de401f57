//! One question to a device, and its answer.

use std::process::ExitCode;
use std::time::Duration;

use ha_agents::fence::{Evidence, FenceError, Power};
use ha_core::effect::Effect;
use ha_core::time::{BootClock, Clock};
use ha_examples::cli::{self, FAILURE};
use serde::Serialize;

use crate::Asked;
use crate::target::Target;

/// The exit status that says: the node has no power.
const OFF: u8 = 2;

/// What a device was asked and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    agent: String,
    pub(crate) action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    /// `done`, `on`, `off` or `failed`.
    pub(crate) result: &'static str,
    /// What a success is worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<String>>,
    /// Whether a failure may have done something all the same: `none` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    seconds: f64,
}

enum Answer {
    Done(Evidence),
    Listed(Vec<String>),
    Monitored,
    Power(Power),
}

/// Asks, and measures how long that takes.
pub(crate) async fn report(target: &Target, asked: Asked) -> Report {
    let (agent, node) = (&target.agent, &target.node);
    let began = BootClock::new().now();
    let answer = match asked {
        Asked::Act(action) => agent.perform(node, action).await.map(Answer::Done),
        Asked::List => agent
            .list()
            .await
            .map(|nodes| Answer::Listed(nodes.iter().map(ToString::to_string).collect())),
        Asked::Monitor => agent.monitor().await.map(|()| Answer::Monitored),
        Asked::Status | Asked::Test => agent.status(node).await.map(Answer::Power),
    };
    let took = BootClock::new().now().since(began);
    let is_about_node = matches!(asked, Asked::Act(_) | Asked::Status | Asked::Test);
    let mut report = Report {
        agent: target.kind.clone(),
        action: asked.name(),
        node: is_about_node.then(|| node.to_string()),
        result: "done",
        evidence: None,
        nodes: None,
        effect: None,
        error: None,
        seconds: seconds(took),
    };
    match answer {
        Ok(Answer::Done(evidence)) => {
            let fences = matches!(asked, Asked::Act(action) if action.fences());
            report.evidence = fences.then_some(evidence);
        }
        Ok(Answer::Listed(nodes)) => report.nodes = Some(nodes),
        Ok(Answer::Monitored) => {}
        Ok(Answer::Power(Power::On)) => report.result = "on",
        Ok(Answer::Power(Power::Off)) => report.result = "off",
        Err(error) => fail(&mut report, &error),
    }
    report
}

fn fail(report: &mut Report, error: &FenceError) {
    report.result = "failed";
    report.effect = Some(match error.effect() {
        Effect::None => "none",
        Effect::Unknown => "unknown",
    });
    report.error = Some(cli::chain(error));
}

/// To a millisecond.
fn seconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Asks once and tells the answer.
pub(crate) async fn ask(target: &Target, asked: Asked, json: bool) -> Result<ExitCode, String> {
    let report = report(target, asked).await;
    let status = match report.result {
        "failed" => FAILURE,
        "off" => OFF,
        _ => 0,
    };
    let shown = if json {
        let text = serde_json::to_string(&report).map_err(|error| error.to_string())?;
        cli::show(&(text + "\n"))
    } else if let Some(error) = &report.error {
        let more = match report.effect {
            Some("unknown") => "; it may have been done all the same: look before you go on",
            _ => "; nothing was done",
        };
        return Ok(cli::fail(status, &format!("{error}{more}")));
    } else {
        cli::show(&(report.words() + "\n"))
    };
    Ok(if shown == ExitCode::SUCCESS { ExitCode::from(status) } else { shown })
}

impl Report {
    /// The answer in a line, or in one for each node.
    pub(crate) fn words(&self) -> String {
        if let Some(nodes) = &self.nodes {
            return nodes.join("\n");
        }
        let node = self.node.as_deref().unwrap_or(&self.agent);
        let evidence = self.evidence.map_or_else(String::new, |worth| format!(", {worth}"));
        let answer = match self.result {
            "done" => format!("{} done", self.action),
            other => other.to_owned(),
        };
        format!("{node}: {answer}{evidence} ({:.3} s)", self.seconds)
    }
}
