//! What stands for an agent that cannot be had, asked through a real executor.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ha_agents::executor::{Action, Answer, Limits, Order, Output, Service};
use ha_core::id::OpId;
use tokio::sync::mpsc;

use super::*;

use Action::{Start, Stop};
use Outcome::{GenericError, NotConfigured, NotInstalled, NotRunning, Success};

const PROBE: Action = Action::Monitor(Check::PROBE);

/// A node with its agents.
struct Node {
    agents: Agents,
    results: mpsc::Receiver<Output>,
    ops: u64,
}

impl Node {
    fn new(registry: Registry) -> Self {
        let (service, results) = Service::new(Limits::default()).expect("an executor");
        let agents = Agents::new(registry, service.handle(), None);
        #[expect(clippy::disallowed_methods, reason = "a test's own task")]
        tokio::spawn(async move { service.spawn().ended().await });
        Self { agents, results, ops: 0 }
    }

    /// What an agent with these parameters answers.
    async fn ask(&mut self, agent: &str, given: &[(&str, &Path)], action: Action) -> Outcome {
        self.ops += 1;
        let mut context = OpContext::new("r1".parse().expect("a name"), OpId::new(self.ops));
        for (name, value) in given {
            context = context.parameter(*name, value.display().to_string());
        }
        // Another for other parameters.
        let name = given.first().and_then(|(name, _)| name.bytes().last()).unwrap_or_default();
        let digest = u64::from(name);
        let order = Order { term: None, action, context };
        self.agents.execute(Execution { agent: agent.to_owned(), digest, order }).await;
        loop {
            let output = self.results.recv().await.expect("it runs");
            let Output::Ended { answer, .. } = output else { continue };
            let Answer::Report(report) = answer else { panic!("no answer: {answer:?}") };
            let fine = matches!(report.outcome, Success | NotRunning);
            assert!(fine || report.reason.len() > 20, "no reason: {report:?}");
            return report.outcome;
        }
    }
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

/// Two nodes that serve one disk, because one was told of a slip and took it for stopped, destroy
/// it.
#[test]
fn what_runs_is_not_taken_for_stopped_when_its_parameters_become_wrong() {
    block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let (right, slip) = ([("state", &*state)], [("stats", &*state)]);
        let mut node = Node::new(Registry::new());
        let agent = "native:stateful";
        assert_eq!(node.ask(agent, &right, PROBE).await, NotRunning);
        assert_eq!(node.ask(agent, &right, Start).await, Success);
        assert_eq!(node.ask(agent, &slip, PROBE).await, NotConfigured);
        assert_eq!(node.ask(agent, &slip, Stop).await, NotConfigured, "it runs");
        assert!(state.exists());
        assert_eq!(node.ask(agent, &right, Stop).await, Success);
        assert!(!state.exists());
        // Now nothing of it was started.
        assert_eq!(node.ask(agent, &slip, PROBE).await, NotConfigured);
        assert_eq!(node.ask(agent, &slip, Stop).await, Success);
    });
}

#[test]
fn a_slip_in_what_is_new_is_an_error_and_fences_nobody() {
    block_on(async {
        let slip = [("stats", Path::new("/x"))];
        let mut node = Node::new(Registry::new());
        let agent = "native:stateful";
        assert_eq!(node.ask(agent, &slip, Stop).await, NotConfigured, "nobody has looked");
        assert_eq!(node.ask(agent, &slip, PROBE).await, NotConfigured, "nobody can look");
        assert_eq!(node.ask(agent, &slip, Stop).await, Success);
        assert_eq!(node.ask(agent, &slip, Start).await, NotInstalled);
        assert_eq!(node.ask(agent, &slip, Stop).await, Success, "the start did nothing");
    });
}

const SCRIPT: &str = "#!/bin/sh
case $1 in
meta-data) echo '<resource-agent name=\"x\"><parameters><parameter name=\"a\"/></parameters>\
    </resource-agent>';;
start) touch \"$0.runs\";;
stop) rm -f \"$0.runs\";;
monitor) [ -e \"$0.runs\" ] || exit 7;;
esac
";

fn script(root: &Path, text: &str) {
    let folder = root.join("resource.d/test");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("x.new"), text).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.join("x.new"), mode).expect("a program");
    std::fs::rename(folder.join("x.new"), folder.join("x")).expect("there");
}

#[test]
fn a_script_is_asked_whatever_its_parameters_and_missed_when_it_has_gone() {
    block_on(async {
        let root = tempfile::tempdir().expect("a folder");
        let mut registry = Registry::new();
        registry.ocf_root(root.path());
        let (mut node, agent) = (Node::new(registry), "ocf:test:x");
        let (right, slip) = ([("a", Path::new("/1"))], [("b", Path::new("/2/3"))]);
        // It was never there.
        assert_eq!(node.ask(agent, &right, PROBE).await, NotInstalled);
        assert_eq!(node.ask(agent, &right, Stop).await, Success);
        assert_eq!(node.ask(agent, &right, Start).await, NotInstalled);

        script(root.path(), SCRIPT);
        assert_eq!(node.ask(agent, &right, PROBE).await, NotRunning);
        assert_eq!(node.ask(agent, &right, Start).await, Success);
        assert_eq!(node.ask(agent, &slip, PROBE).await, Success, "it runs");
        assert_eq!(node.ask(agent, &slip, Stop).await, Success);
        assert_eq!(node.ask(agent, &slip, PROBE).await, NotRunning);

        // It goes while it runs.
        assert_eq!(node.ask(agent, &right, Start).await, Success);
        std::fs::remove_file(root.path().join("resource.d/test/x")).expect("removed");
        for _ in 0..2 {
            assert_eq!(node.ask(agent, &slip, PROBE).await, GenericError, "nobody can look");
            assert_eq!(node.ask(agent, &slip, Stop).await, GenericError);
        }
        script(root.path(), SCRIPT);
        assert_eq!(node.ask(agent, &slip, Stop).await, Success);
        assert!(!root.path().join("resource.d/test/x.runs").exists());
    });
}

#[test]
fn of_a_script_that_is_broken_nobody_knows() {
    block_on(async {
        let root = tempfile::tempdir().expect("a folder");
        script(root.path(), "#!/bin/sh\nexit 1\n");
        let mut registry = Registry::new();
        registry.ocf_root(root.path());
        let (mut node, agent) = (Node::new(registry), "ocf:test:x");
        assert_eq!(node.ask(agent, &[], PROBE).await, GenericError);
        assert_eq!(node.ask(agent, &[], Stop).await, GenericError);
        assert_eq!(node.ask(agent, &[], Start).await, NotInstalled);
    });
}
