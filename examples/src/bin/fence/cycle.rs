//! A test of a device: off, on and reboot, with a look after each.

use std::process::ExitCode;

use ha_agents::fence::FenceAction;
use ha_examples::cli::{self, FAILURE};
use serde::Serialize;

use crate::Asked;
use crate::act::{Report, report};
use crate::target::Target;

/// What is asked, what must be answered, and why.
const STEPS: [(Asked, &str, &str); 11] = [
    (Asked::Monitor, "done", "the device answers"),
    (Asked::Act(FenceAction::On), "done", "on"),
    (Asked::Status, "on", "on is seen"),
    (Asked::Act(FenceAction::On), "done", "on what is on"),
    (Asked::Act(FenceAction::Off), "done", "off"),
    (Asked::Status, "off", "off is seen"),
    (Asked::Act(FenceAction::Off), "done", "off what is off"),
    (Asked::Act(FenceAction::On), "done", "on again"),
    (Asked::Status, "on", "on is seen again"),
    (Asked::Act(FenceAction::Reboot), "done", "reboot"),
    (Asked::Status, "on", "on after the reboot"),
];

#[derive(Debug, Serialize)]
struct Step {
    what: &'static str,
    passed: bool,
    #[serde(flatten)]
    report: Report,
}

/// Goes through all steps, also after one that failed: the node is not left off if it can be
/// helped.
pub(crate) async fn test(target: &Target, json: bool) -> Result<ExitCode, String> {
    let (mut failed, mut steps) = (0, Vec::new());
    for (asked, wanted, what) in STEPS {
        let report = report(target, asked).await;
        let passed = report.result == wanted;
        failed += u32::from(!passed);
        if !json {
            let mark = if passed { "ok    " } else { "FAILED" };
            let words = match &report.error {
                Some(error) => error.clone(),
                None => report.words(),
            };
            // A node that is off now must come on again, whether anybody reads this or not.
            let _unread = cli::show(&format!("{mark} {what}: {words}\n"));
        }
        let is_there = passed || asked != Asked::Monitor;
        steps.push(Step { what, passed, report });
        if !is_there {
            break; // a device that does not answer is not asked to switch anything
        }
    }
    let text = if json {
        serde_json::to_string(&steps).map_err(|error| error.to_string())?
    } else {
        format!("{} steps of {}, {failed} failed", steps.len(), STEPS.len())
    };
    let shown = cli::show(&(text + "\n"));
    Ok(if failed == 0 { shown } else { ExitCode::from(FAILURE) })
}
