//! A start that waits until the service answers.

use std::time::Duration;

use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock as _};

use super::ServiceCheck;
use crate::agent::{AgentError, Check, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// How often a start asks whether the service answers yet.
const POLL: Duration = Duration::from_millis(50);

/// Asks until the check is passed, or the operation must answer: the last answer then. `fallen`
/// ends it early, with the answer that it gives.
pub(crate) async fn until_passed<F>(
    check: &dyn ServiceCheck,
    context: &OpContext,
    fallen: impl Fn() -> F,
) -> OpResult
where
    F: Future<Output = Result<Option<Report>, AgentError>>,
{
    // The last answer says more than that the time was up.
    let end = BootClock::new().now() + context.timeout * 9 / 10;
    loop {
        let left = end.since(BootClock::new().now());
        let asked = tokio::select! { biased;
            report = check.check() => report,
            _late = pause(left) => {
                let reason = format!("{}: no answer until the start had to end", check.name());
                Report::new(Outcome::GenericError, reason)
            }
        };
        if serves(asked.outcome) {
            return Ok(Report { outcome: Outcome::Success, ..asked });
        }
        if let Some(report) = fallen().await? {
            return Ok(report);
        }
        let left = end.since(BootClock::new().now());
        if left.is_zero() {
            return Ok(Report { outcome: failure(asked.outcome), ..asked });
        }
        pause(POLL.min(left)).await.map_err(|source| AgentError::Io {
            resource: context.resource.clone(),
            what: "start",
            source,
        })?;
    }
}

/// Asks likewise, for as long as `agent` runs.
pub(crate) async fn until_served(
    agent: &impl ResourceAgent,
    check: &dyn ServiceCheck,
    context: &OpContext,
) -> OpResult {
    let fallen = async || {
        let report = agent.monitor(context, Check::PROBE).await?;
        Ok((!serves(report.outcome)).then(|| Report {
            outcome: failure(report.outcome),
            reason: format!("it has ended before it served: {}", report.reason),
            ..report
        }))
    };
    until_passed(check, context, fallen).await
}

/// A check's "not running" as the failure of something that runs.
pub(crate) fn failure(outcome: Outcome) -> Outcome {
    if outcome == Outcome::NotRunning { Outcome::GenericError } else { outcome }
}

/// Whether an answer says that it runs and is well.
pub(crate) const fn serves(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Success | Outcome::RunningPromoted | Outcome::Degraded | Outcome::DegradedPromoted
    )
}
