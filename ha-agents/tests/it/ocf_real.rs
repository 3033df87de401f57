//! Debian's real agents; each test is skipped by name where its agent is not installed.

use std::path::Path;
use std::time::Duration;

use ha_agents::ocf::Ocf;
use ha_agents::{Check, OpContext, ResourceAgent};
use ha_lab::Lab;

use super::{block_on, context, runs};

pub(super) async fn load(provider: &str, kind: &str) -> Option<Ocf> {
    if !Path::new("/usr/lib/ocf/resource.d").join(provider).join(kind).exists() {
        ha_lab::skip(format_args!(
            "ocf:{provider}:{kind} is not here; install it (Debian: resource-agents, pacemaker-resource-agents)"
        ));
        return None;
    }
    Some(Ocf::builder(provider, kind).load().await.expect("an agent"))
}

/// Runs operations, named by letters as in tables of agents, and returns their codes.
pub(super) async fn cycle(agent: &Ocf, context: &OpContext, operations: &str) -> String {
    let mut told = Vec::new();
    for letter in operations.chars() {
        let report = match letter {
            'V' => agent.validate(context).await,
            'M' => agent.monitor(context, Check::PROBE).await,
            'm' => agent.monitor(context, Check { depth: 10, ..Check::STARTED }).await,
            'W' => agent.monitor(context, Check { depth: 20, ..Check::STARTED }).await,
            'S' => agent.start(context).await,
            'P' => agent.promote(context).await,
            'D' => agent.demote(context).await,
            _ => agent.stop(context).await,
        };
        let report = report.expect("an answer");
        told.push(format!("{letter}{}", report.code.expect("a code")));
    }
    told.join(" ")
}

#[test]
fn the_real_dummies_start_and_stop() {
    block_on(async {
        for provider in ["heartbeat", "pacemaker"] {
            let Some(agent) = load(provider, "Dummy").await else { return };
            let dir = tempfile::tempdir().expect("a directory");
            let state = dir.path().join("state").display().to_string();
            let context = context().parameter("state", state);
            let told = cycle(&agent, &context, "VMSMSXMX").await;
            assert_eq!(told, "V0 M7 S0 M0 S0 X0 M7 X0", "{provider}");
            assert_eq!(agent.metadata().name, "Dummy");
        }
    });
}

/// The parameters of a resource.
pub(super) fn with(parameters: &[(&str, &str)]) -> OpContext {
    let begin = context().timeout(Duration::from_mins(1));
    parameters.iter().fold(begin, |context, (name, value)| context.parameter(*name, *value))
}

#[test]
fn the_real_agents_that_need_nothing_go_through_their_cycle() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (state, pid, link, target) = (path("state"), path("pid"), path("link"), path("target"));
        std::fs::write(&target, "x").expect("a file");
        let delays = [("startdelay", "1"), ("stopdelay", "1"), ("mondelay", "1")];
        let sleep =
            [("binfile", "/bin/sleep"), ("cmdline_options", "100"), ("pidfile", pid.as_str())];
        let links = [("link", link.as_str()), ("target", target.as_str())];
        let states = [("state", state.as_str())];
        for (kind, parameters) in [
            ("dummypy", &states[..]),
            ("Stateful", &states),
            ("Delay", &delays),
            ("anything", &sleep),
            ("symlink", &links),
        ] {
            let Some(agent) = load("heartbeat", kind).await else { return };
            let context = with(parameters);
            let told = cycle(&agent, &context, "VMSMSXMX").await;
            assert_eq!(told, "V0 M7 S0 M0 S0 X0 M7 X0", "{kind}");
            let told = cycle(&agent, &context, "S").await;
            assert_eq!(told, "S0", "{kind}");
            match kind {
                "anything" => {
                    let id = std::fs::read_to_string(&pid).expect("a pid file");
                    assert!(runs(id.trim()));
                    assert_eq!(cycle(&agent, &context, "X").await, "X0");
                    assert!(!runs(id.trim()));
                }
                "symlink" => {
                    assert_eq!(std::fs::read_link(&link).expect("a link"), Path::new(&target));
                    assert_eq!(cycle(&agent, &context, "X").await, "X0");
                    assert!(!Path::new(&link).exists());
                }
                _ => assert_eq!(cycle(&agent, &context, "X").await, "X0", "{kind}"),
            }
        }
    });
}

/// Its promotion score goes nowhere, as Pacemaker's `crm_attribute` is not there: it works on.
#[test]
fn the_real_stateful_goes_through_its_roles() {
    block_on(async {
        let Some(agent) = load("pacemaker", "Stateful").await else { return };
        let dir = tempfile::tempdir().expect("a directory");
        let state = dir.path().join("state").display().to_string();
        let context = context().parameter("state", state);
        let told = cycle(&agent, &context, "VMSMPMPDMDXMX").await;
        assert_eq!(told, "V0 M7 S0 M0 P0 M8 P0 D0 M0 D0 X0 M7 X0");
        assert!(agent.metadata().promotable);
    });
}

/// The agent must run in the host's network: it is started from a thread of the host.
#[test]
fn the_real_ipaddr2_moves_an_address() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = lab.host("n1").expect("a host").join(&lan, "10.66.0.1/24").expect("joined");
        let ip = "10.66.0.100".parse().expect("an address");
        let told = host.run(|| {
            block_on(async {
                let agent = load("heartbeat", "IPaddr2").await?;
                let context = context()
                    .parameter("ip", "10.66.0.100")
                    .parameter("cidr_netmask", "24")
                    .parameter("arp_count", "2")
                    .parameter("arp_interval", "100");
                let mut told = vec![cycle(&agent, &context, "VMSMS").await];
                told.push(format!("held: {}", host.holds(ip).expect("the kernel's word")));
                told.push(cycle(&agent, &context, "XMX").await);
                let bogus = self::context().parameter("ip", "bogus");
                told.push(cycle(&agent, &bogus, "VMSX").await);
                let report = agent.start(&self::context()).await.expect("an answer");
                told.push(format!("{}", report.outcome));
                Some(told)
            })
        });
        let Some(told) = told.expect("a worker") else { return };
        assert_eq!(
            told,
            [
                "V0 M7 S0 M0 S0",
                "held: true",
                "X0 M7 X0",
                "V6 M7 S6 X0",
                "not configured", // by us: nothing ran
            ]
        );
        assert!(!host.holds(ip).expect("the kernel's word"));
    });
}
