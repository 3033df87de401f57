//! The test doubles: Stateful beside Pacemaker's, Delay, and both from their parameters.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ha_agents::native::{Delay, Stateful};
use ha_agents::registry::Registry;
use ha_agents::{AgentError, Check, Outcome, ResourceAgent};

use super::{block_on, context};

/// The agent's answers as exit codes, each operation a letter: V, M, S, P, D, X.
async fn codes(agent: &dyn ResourceAgent, operations: &str) -> Vec<i32> {
    let mut codes = Vec::new();
    let context = context();
    for operation in operations.chars() {
        let result = match operation {
            'V' => agent.validate(&context).await,
            'M' => agent.monitor(&context, Check::PROBE).await,
            'S' => agent.start(&context).await,
            'P' => agent.promote(&context).await,
            'D' => agent.demote(&context).await,
            _ => agent.stop(&context).await,
        };
        codes.push(result.expect("an answer").outcome.code());
    }
    codes
}

/// What Pacemaker's agent answers.
fn real(state: &Path, action: &str) -> Option<i32> {
    let agent = "/usr/lib/ocf/resource.d/pacemaker/Stateful";
    let mut command = Command::new(agent);
    command.arg(action).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("OCF_ROOT", "/usr/lib/ocf").env("OCF_RESKEY_state", state);
    let names = [("INSTANCE", "s1"), ("TYPE", "Stateful"), ("PROVIDER", "pacemaker")];
    command.envs(names.map(|(name, value)| (format!("OCF_RESOURCE_{name}"), value)));
    command.output().expect("run").status.code()
}

#[test]
fn stateful_answers_as_pacemakers_does() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let agent = Stateful::new(dir.path().join("state"));
        let told = codes(&agent, "VMPDSMSPMPSDMDXMX").await;
        assert_eq!(told, [0, 7, 7, 7, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 7, 0]);
        assert_eq!(codes(&agent, "SPXM").await, [0, 0, 0, 7], "a stop of a promoted one, too");
    });
}

#[test]
fn stateful_and_pacemakers_find_what_the_other_has_started() {
    ha_lab::run_test(|| {
        if !Path::new("/usr/lib/ocf/resource.d/pacemaker/Stateful").exists() {
            return ha_lab::skip("needs Debian's pacemaker-resource-agents");
        }
        block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let state = dir.path().join("state");
            let agent = Stateful::new(&state);
            assert_eq!(real(&state, "start"), Some(0));
            assert_eq!(codes(&agent, "MP").await, [0, 0]);
            assert_eq!(real(&state, "monitor"), Some(8));
            assert_eq!(real(&state, "demote"), Some(0));
            assert_eq!(codes(&agent, "M").await, [0]);
            assert_eq!(real(&state, "promote"), Some(0));
            assert_eq!(codes(&agent, "MDX").await, [8, 0, 0]);
            assert_eq!(real(&state, "monitor"), Some(7));
        });
    });
}

#[test]
fn stateful_says_how_well_it_would_do_and_what_has_become_of_its_file() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let agent = Stateful::new(dir.path().join("state"));
        agent.start(&context()).await.expect("an answer");
        let score =
            async || agent.monitor(&context(), Check::STARTED).await.expect("an answer").promotion;
        assert_eq!(score().await, Some(5));
        agent.promote(&context()).await.expect("an answer");
        assert_eq!(score().await, Some(10));
        std::fs::write(agent.state(), "nonsense".repeat(10_000)).expect("written");
        let report = agent.monitor(&context(), Check::STARTED).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::GenericError);
        assert!(report.reason.contains("no role") && report.reason.len() < 300, "{report:?}");
        std::fs::remove_file(agent.state()).expect("removed");
        assert_eq!(codes(&agent, "MX").await, [7, 0]);
        let lost = Stateful::new(dir.path().join("no/such"));
        assert_eq!(codes(&lost, "VSMX").await, [2, 2, 7, 0]);
    });
}

#[test]
fn delay_takes_its_time_and_does_nothing_in_a_hurry() {
    block_on(async {
        let agent = Delay::new(Duration::from_millis(2));
        assert_eq!(codes(&agent, "MSMSXMX").await, [7, 0, 0, 0, 0, 7, 0]);
        let slow = Delay::new(Duration::from_mins(10));
        let hurry = context().timeout(Duration::from_millis(2));
        for result in [slow.start(&hurry).await, slow.monitor(&hurry, Check::PROBE).await] {
            assert!(matches!(result, Err(AgentError::TimedOut { .. })), "{result:?}");
        }
        assert_eq!(slow.stop(&hurry).await.expect("stopped").outcome.code(), 0);
    });
}

#[test]
fn doubles_are_made_from_their_parameters() {
    block_on(async {
        let registry = Registry::new();
        let make = async |agent: &str, pairs: &[(&str, &str)]| {
            let given: BTreeMap<String, String> =
                pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
            registry.resolve(&"r1".parse().expect("a name"), agent, &given).await
        };
        let agent = make("native:delay", &[("start_delay", "1ms")]).await.expect("made");
        assert_eq!(codes(&agent, "SMX").await, [0, 0, 0]);
        assert!(make("native:delay", &[("start_delay", "late")]).await.is_err());
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("state").display().to_string();
        let agent = make("native:stateful", &[("state", &state)]).await.expect("made");
        assert_eq!(codes(&agent, "SPMX").await, [0, 0, 8, 0]);
        assert!(agent.metadata().promotable);
        assert!(make("native:stateful", &[("state", "here")]).await.is_err());
    });
}
