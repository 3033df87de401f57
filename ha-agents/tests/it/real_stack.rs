//! Debian's agents through all of this crate: registry, executor and fence device.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::executor::{Action, Answer, ExecutorHandle, Limits, Order, Output, Service};
use ha_agents::fence::{Device, FenceAgent, Power};
use ha_agents::registry::Registry;
use ha_agents::{Check, OpContext, Outcome};
use ha_core::driver::Task;
use ha_core::id::{NodeName, OpId, ResourceName};
use ha_lab::Lab;
use tokio::sync::mpsc;

use super::block_on;

fn is_installed(provider: &str, kind: &str) -> bool {
    let here = Path::new("/usr/lib/ocf/resource.d").join(provider).join(kind).exists();
    if !here {
        ha_lab::skip(format_args!(
            "ocf:{provider}:{kind} is not here; install it (Debian: resource-agents, pacemaker-resource-agents)"
        ));
    }
    here
}

/// A node's executor with the agents of its registry.
struct Stack {
    handle: ExecutorHandle,
    results: mpsc::Receiver<Output>,
    task: Task<std::io::Result<()>>,
    ops: u64,
}

impl Stack {
    fn new() -> Self {
        let (service, results) = Service::new(Limits::default()).expect("an executor");
        Self { handle: service.handle(), results, task: service.spawn(), ops: 0 }
    }

    /// Adds a resource as a configuration would name it.
    async fn add(&self, resource: &str, agent: &str, parameters: &BTreeMap<String, String>) {
        let resource: ResourceName = resource.parse().expect("a name");
        let registry = Registry::new();
        let doubts = registry.check(&resource, agent, parameters).await.expect("right");
        assert_eq!(doubts, Vec::<String>::new());
        let agent = registry.resolve(&resource, agent, parameters).await.expect("made");
        self.handle.add(resource, agent);
    }

    /// Gives an order and waits for its end.
    async fn act(
        &mut self,
        resource: &str,
        action: Action,
        parameters: &BTreeMap<String, String>,
    ) -> Outcome {
        self.ops += 1;
        let op = OpId::new(self.ops);
        let mut context = OpContext::new(resource.parse().expect("a name"), op);
        context.parameters.clone_from(parameters);
        let context = context.meta("fencing-token", "1").timeout(Duration::from_mins(1));
        self.handle.submit(Order { term: None, action, context }).await.expect("it runs");
        loop {
            let output = self.results.recv().await.expect("it runs");
            if let Output::Ended { op: ended, answer, .. } = output
                && ended == op
            {
                let told = format!("{answer:?}");
                let report = if let Answer::Report(report) = answer { Some(report) } else { None };
                return report.expect(&told).outcome;
            }
        }
    }

    async fn end(self) {
        self.task.stop().await.expect("no panic").expect("no error");
    }
}

fn given<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

const PROBE: Action = Action::Monitor(Check::PROBE);

#[test]
fn the_real_dummy_and_stateful_live_in_the_executor() {
    if !is_installed("heartbeat", "Dummy") || !is_installed("pacemaker", "Stateful") {
        return;
    }
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut stack = Stack::new();
        for (resource, agent) in [("d1", "ocf:heartbeat:Dummy"), ("s1", "ocf:pacemaker:Stateful")] {
            let state = dir.path().join(resource).display().to_string();
            let parameters = given([("state", &state)]);
            stack.add(resource, agent, &parameters).await;
            let expected = [
                (PROBE, Outcome::NotRunning),
                (Action::Start, Outcome::Success),
                (Action::Start, Outcome::Success),
                (Action::Monitor(Check::STARTED), Outcome::Success),
                (Action::Stop, Outcome::Success),
                (Action::Stop, Outcome::Success),
                (PROBE, Outcome::NotRunning),
            ];
            for (action, outcome) in expected {
                let told = stack.act(resource, action, &parameters).await;
                assert_eq!(told, outcome, "{action:?} of {resource}");
            }
        }
        stack.end().await;
    });
}

#[test]
fn the_real_ipaddr2_serves_an_address_of_a_host() {
    if !is_installed("heartbeat", "IPaddr2") {
        return;
    }
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = lab.host("n1").expect("a host").join(&lan, "10.66.0.1/24").expect("joined");
        let ip = "10.66.0.100".parse().expect("an address");
        let holds = || host.holds(ip).expect("the kernel's word");
        let work = || {
            block_on(async {
                let mut stack = Stack::new();
                let parameters = given([
                    ("ip", "10.66.0.100"),
                    ("cidr_netmask", "24"),
                    ("arp_count", "1"),
                    ("arp_interval", "50"),
                ]);
                stack.add("vip", "ocf:heartbeat:IPaddr2", &parameters).await;
                assert_eq!(stack.act("vip", PROBE, &parameters).await, Outcome::NotRunning);
                assert_eq!(stack.act("vip", Action::Start, &parameters).await, Outcome::Success);
                assert!(holds());
                assert_eq!(stack.act("vip", PROBE, &parameters).await, Outcome::Success);
                assert_eq!(stack.act("vip", Action::Stop, &parameters).await, Outcome::Success);
                assert!(!holds());
                // What a stopped resource's host had is gone with its power, too.
                assert_eq!(stack.act("vip", Action::Start, &parameters).await, Outcome::Success);
                stack.end().await;
            });
        };
        host.run(work).expect("a worker");
        assert!(holds());
        host.power_off().expect("off");
        host.power_on().expect("on");
        assert!(!holds(), "a floating address is lost with the power");
    });
}

#[test]
fn a_native_process_and_the_real_fence_dummy_work_side_by_side() {
    if ha_lab::require_program("fence_dummy").is_none() {
        return;
    }
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let n1: NodeName = "n1".parse().expect("a name");
        let device = Device::new("dummy", "fence_dummy")
            .node(n1.clone(), "1")
            .parameter("status_file", dir.path().join("status").display().to_string());
        let fence: Arc<dyn FenceAgent> = device.resolve().await.expect("made");
        let mut stack = Stack::new();
        let parameters = given([("program", "sleep"), ("args", "1000"), ("stop_grace", "2s")]);
        stack.add("web", "native:process", &parameters).await;
        assert_eq!(stack.act("web", Action::Start, &parameters).await, Outcome::Success);
        let (fenced, told) = tokio::join!(fence.reboot(&n1), stack.act("web", PROBE, &parameters));
        fenced.expect("confirmed");
        assert_eq!(told, Outcome::Success);
        assert_eq!(fence.status(&n1).await.expect("told"), Power::On);
        assert_eq!(stack.act("web", Action::Stop, &parameters).await, Outcome::Success);
        assert_eq!(stack.act("web", PROBE, &parameters).await, Outcome::NotRunning);
        stack.end().await;
    });
}
