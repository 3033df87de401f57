//! The stand-ins for Pacemaker's programs, called as agents call them, and by real agents.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use ha_agents::attributes::{
    AttributeChange, AttributeError, AttributeKey, AttributeServer, AttributeServerError, Helpers,
    Member, Membership, MemoryAttributes, NodeAttributes, Published, Scope,
};
use ha_agents::ocf::Ocf;
use ha_agents::{Check, ResourceAgent};
use ha_core::id::{NodeName, ResourceName};
use ha_lab::{Lab, require_program};

use super::block_on;
use super::mount::on_a_host;
use super::ocf_real::{cycle, load, with};
use super::ocf_servers::redis;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ha-attribute-helper");

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn transient(of: &str, name: &str) -> AttributeKey {
    AttributeKey::new(Scope::Transient(node(of)), name).expect("a name")
}

/// A cluster of the nodes n1, where this is, and n2, which is not there.
fn cluster() -> Arc<MemoryAttributes> {
    let mut gone = Member::new(2, node("n2"));
    gone.is_online = false;
    let members = vec![Member::new(1, node("n1")), gone];
    Arc::new(MemoryAttributes::new(Membership::new(node("n1"), members)))
}

async fn serve(dir: &Path, attributes: &Arc<MemoryAttributes>) -> AttributeServer {
    let attributes = Arc::clone(attributes);
    let directory = dir.join("helpers");
    AttributeServer::start(&directory, Path::new(PROGRAM), attributes).await.expect("a server")
}

/// Calls a stand-in as the agent of the resource `redis`; its code and what it says.
fn call(helpers: &Helpers, line: &str) -> (Option<i32>, String) {
    let mut words = line.split(' ').map(|word| if word == "''" { "" } else { word });
    let program = helpers.programs().join(words.next().expect("a program"));
    let output = Command::new(program)
        .args(words)
        .env_clear()
        .envs(helpers.environment())
        .env("OCF_RESOURCE_INSTANCE", "redis")
        .output()
        .expect("it runs");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Calls on a thread, while the server answers on this one.
async fn calls(helpers: &Helpers, lines: &[&str]) -> Vec<(Option<i32>, String)> {
    let (helpers, lines) = (helpers.clone(), lines.iter().map(|&line| line.to_owned()));
    let lines: Vec<String> = lines.collect();
    let work = move || lines.iter().map(|line| call(&helpers, line)).collect();
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

/// A call, its code, and what it says: all of it, or a part of an error.
type Expected = (&'static str, i32, &'static str);

/// `ping`, `SysInfo`, `attribute`, `mariadb`.
const ATTRD_UPDATER: &[Expected] = &[
    // ping, ethmonitor, SysInfo, attribute
    ("attrd_updater -n pingd -B 1000 -d 0 -q", 0, ""),
    ("attrd_updater -n pingd -Q", 0, "name=\"pingd\" host=\"n1\" value=\"1000\"\n"),
    ("attrd_updater -D -n pingd -d 5s", 0, ""),
    ("attrd_updater -n pingd -Q", 105, "not set"),
    ("attrd_updater -d 0 -S status -n cpu_load -v 0.5", 0, ""),
    ("attrd_updater -n x -U -5", 0, ""),
    ("attrd_updater -Q -A -n x", 0, "name=\"x\" host=\"n1\" value=\"-5\"\n"),
    ("attrd_updater -n openstack_id -N n2 --query", 105, "not set"),
    // mariadb: deleted without -p
    ("attrd_updater -p -n redis-gtid -U 0-1-2", 0, ""),
    (
        "attrd_updater -p -N n1 -n redis-gtid -Q",
        0,
        "name=\"redis-gtid\" host=\"n1\" value=\"0-1-2\"\n",
    ),
    ("attrd_updater -n redis-gtid -N n1 -D", 0, ""),
    ("attrd_updater -p -N n1 -n redis-gtid -Q", 105, "not set"),
];

/// `redis`, `Stateful`, `pgsql`.
const SCORES: &[Expected] = &[
    // redis, Stateful, pgsql
    ("crm_master -N n1 -l reboot -G --quiet", 105, "not set"),
    ("crm_master -N n1 -l reboot -v 1000", 0, ""),
    ("crm_attribute -l reboot -N n1 -n master-redis -G -q", 0, "1000\n"),
    ("crm_attribute --promotion -v -INFINITY", 0, ""),
    ("crm_master -l reboot -Q", 0, "-INFINITY\n"),
    ("crm_attribute --promotion -D", 0, ""),
    ("crm_attribute --promotion", 105, "not set"),
    ("crm_attribute --type crm_config --name redis_REPL_INFO -s redis_replication -v n1 -q", 0, ""),
    (
        "crm_attribute --type crm_config --name redis_REPL_INFO -s redis_replication --query -q",
        0,
        "n1\n",
    ),
    ("crm_attribute --type crm_config --name redis_REPL_INFO --query -q", 105, "not set"),
    ("crm_attribute -l forever -N n2 -n redis-data-status -v STREAMING|SYNC", 0, ""),
    (
        "crm_attribute -N n2 -n redis-data-status -G",
        0,
        "scope=nodes  name=redis-data-status value=STREAMING|SYNC\n",
    ),
];

/// `galera`, `sg_persist`, `NodeUtilization`, `VirtualDomain` and so on.
const OTHERS: &[Expected] = &[
    // galera, sg_persist, NodeUtilization, controld, azure-events
    ("crm_attribute -N n1 -l reboot --name galera-last-committed -v 42", 0, ""),
    ("crm_attribute -N n1 -l reboot --name galera-last-committed --quiet", 0, "42\n"),
    ("crm_attribute --lifetime=reboot --name=pending --node=n1 --update=", 0, ""),
    (
        "crm_attribute --lifetime=reboot --name=pending --node=n1 --query",
        0,
        "scope=status  name=pending value=\n",
    ),
    ("crm_attribute -t nodes --node n1 -z -n cpu -v 4", 0, ""),
    ("crm_attribute --quiet -t nodes --node n1 -z -n cpu", 0, "4\n"),
    (
        "crm_attribute --type=crm_config --name=stonith-enabled --query --quiet --default=true",
        0,
        "true\n",
    ),
    ("crm_attribute --name azure --query --quiet --default '' ''", 0, "\n"),
    ("crm_node -n", 0, "n1\n"),
    ("crm_node -l", 0, "1 n1 member\n2 n2 lost\n"),
    ("crm_node -p", 0, "n1\n"),
    ("crm_node -q", 0, "1\n"),
    ("crm_node -i", 0, "1\n"),
    // VirtualDomain, pgsql
    ("crm_resource -Q -r vm -z -g cpu", 105, "not set"),
    ("crm_resource -r vm -z -p cpu -v 2", 0, ""),
    ("crm_resource -Q -r vm -z -g cpu", 0, "2\n"),
    ("crm_resource --resource=vm --utilization --delete-parameter=cpu", 0, ""),
    ("crm_resource -B -r vm -N n1 -Q", 0, ""),
];

/// What makes no sense, and what is not done.
const WRONG: &[Expected] = &[
    // What makes no sense, and what is not done.
    ("crm_attribute -N n9 -l forever -n x -v 1", 105, "n9"),
    ("crm_attribute -N n1 -l sometimes -n x -v 1", 64, "sometimes"),
    ("crm_attribute --bogus", 64, "--bogus"),
    ("attrd_updater -n x", 64, "what to do"),
    ("attrd_updater -n x -U 1 -d soon", 64, "soon"),
    ("attrd_updater -P .* -U 1", 3, "--pattern"),
    ("crm_attribute -t tickets -n x", 3, "tickets"),
    ("crm_resource -r vm --cleanup", 64, "--cleanup"),
    ("crm_node", 64, "required"),
];

/// Each line as an agent of Debian's packages writes it.
#[test]
fn the_stand_ins_answer_as_agents_expect() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let server = serve(dir.path(), &cluster()).await;
        let expected = [ATTRD_UPDATER, SCORES, OTHERS, WRONG].concat();
        let lines: Vec<&str> = expected.iter().map(|(line, ..)| *line).collect();
        let told = calls(server.helpers(), &lines).await;
        for ((line, code, words), (got, said)) in expected.into_iter().zip(told) {
            assert_eq!(got, Some(code), "{line}: {said}");
            match code {
                0 => assert_eq!(said, words, "{line}"),
                _ => assert!(said.contains(words), "{line}: {said}"),
            }
        }
        server.stop().await;
        let server = serve(dir.path(), &cluster()).await;
        let told = calls(server.helpers(), &["crm_node -n"]).await;
        assert_eq!(told[0].0, Some(0), "a later life serves again: {told:?}");
    });
}

#[test]
fn a_server_that_is_mute_or_gone_is_an_error_of_the_call() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let server = serve(dir.path(), &cluster()).await;
        let helpers = server.helpers().clone();
        server.stop().await;
        let told = calls(&helpers, &["attrd_updater -n x -U 1"]).await;
        assert_eq!(told[0].0, Some(102), "{told:?}");
        let [_, (_, socket)] = helpers.environment();
        let listener = UnixListener::bind(socket).expect("a socket");
        let told = calls(&helpers, &["attrd_updater -n x -U 1"]).await;
        assert_eq!(told[0].0, Some(124), "{told:?}");
        let (mut connection, _) = listener.accept().expect("it had connected");
        let mut asked = String::new();
        connection.read_to_string(&mut asked).expect("it has ended");
        assert!(asked.contains("attrd_updater"));
    });
}

#[test]
fn only_the_owner_may_ask_and_a_directory_has_one_server() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let attributes = cluster();
        let server = serve(dir.path(), &attributes).await;
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let [_, (_, socket)] = server.helpers().environment();
        assert_eq!(mode(Path::new(&socket)), 0o600);
        assert_eq!(mode(&dir.path().join("helpers")), 0o700);
        let again = AttributeServer::start(
            dir.path().join("helpers"),
            Path::new(PROGRAM),
            Arc::clone(&attributes) as Arc<dyn NodeAttributes>,
        );
        let error = again.await.expect_err("in use");
        assert!(matches!(error, AttributeServerError::Socket(_)), "{error}");
        let nowhere = AttributeServer::start(dir.path(), Path::new("helper"), attributes);
        let error = nowhere.await.expect_err("no program");
        assert!(error.to_string().contains("helper"), "{error}");
    });
}

/// The agent, with the stand-ins in place of the programs.
async fn load_with(provider: &str, kind: &str, server: &AttributeServer) -> Option<Ocf> {
    load(provider, kind).await?;
    let builder = Ocf::builder(provider, kind).helpers(server.helpers());
    Some(builder.load().await.expect("an agent"))
}

#[test]
fn the_real_attribute_agent_keeps_its_attribute() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let attributes = cluster();
        let server = serve(dir.path(), &attributes).await;
        let Some(agent) = load_with("pacemaker", "attribute", &server).await else { return };
        let state = dir.path().join("state").display().to_string();
        let context = with(&[("state", &state), ("name", "opa-r1")]);
        let key = transient("n1", "opa-r1");
        assert_eq!(cycle(&agent, &context, "VMSM").await, "V0 M7 S0 M0");
        assert_eq!(attributes.get(&key).await.expect("told").as_deref(), Some("1"));
        // Changed behind its back: its monitor notices.
        attributes.put(AttributeChange::set(key.clone(), "odd")).await.expect("set");
        assert_eq!(cycle(&agent, &context, "M").await, "M1");
        assert_eq!(cycle(&agent, &context, "SMXMX").await, "S0 M0 X0 M7 X0");
        assert_eq!(attributes.get(&key).await.expect("told").as_deref(), Some("0"));
    });
}

#[test]
fn the_real_stateful_says_how_much_it_wants_to_be_promoted() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let attributes = cluster();
        let server = serve(dir.path(), &attributes).await;
        let Some(agent) = load_with("pacemaker", "Stateful", &server).await else { return };
        let state = dir.path().join("state").display().to_string();
        let context = with(&[("state", &state)]);
        let score = async || {
            let resource = &context.resource;
            attributes.promotion_score(resource, &node("n1")).await.expect("told")
        };
        assert_eq!(cycle(&agent, &context, "SM").await, "S0 M0");
        assert_eq!(score().await, Some(5));
        let report = agent.monitor(&context, Check::STARTED).await.expect("an answer");
        assert_eq!(report.promotion, Some(5), "its report says it, too");
        assert_eq!(cycle(&agent, &context, "PM").await, "P0 M8");
        assert_eq!(score().await, Some(10));
        assert_eq!(cycle(&agent, &context, "DX").await, "D0 X0");
        assert_eq!(score().await, None);
        let report = agent.monitor(&context, Check::PROBE).await.expect("an answer");
        assert!(report.promotion.is_some_and(|score| score < 0), "{report:?}: no more");
    });
}

/// Its first copy is wanted as the promoted one, and tells the others who it is.
#[test]
fn the_real_redis_says_how_much_it_wants_to_be_promoted() {
    on_a_host(async |dir| {
        let Some(context) = redis(dir) else { return };
        let attributes = cluster();
        let server = serve(dir, &attributes).await;
        let Some(agent) = load_with("heartbeat", "redis", &server).await else { return };
        let score = async || {
            let resource = &context.resource;
            attributes.promotion_score(resource, &node("n1")).await.expect("told")
        };
        assert_eq!(cycle(&agent, &context, "SM").await, "S0 M0");
        assert!(score().await.is_some_and(|score| score > 0));
        assert_eq!(cycle(&agent, &context, "PM").await, "P0 M8");
        let set = "redis_replication".to_owned();
        let name = format!("{}_REPL_INFO", context.resource);
        let info = AttributeKey::new(Scope::Cluster { set }, name).expect("a name");
        assert_eq!(attributes.get(&info).await.expect("told").as_deref(), Some("n1"));
        assert!(score().await.is_some_and(|score| score > 0));
        assert_eq!(cycle(&agent, &context, "DXM").await, "D0 X0 M7");
        assert_eq!(score().await, None);
    });
}

/// Whoever is reached counts; the value comes to the cluster when it has been steady.
#[test]
fn the_real_ping_tells_how_many_are_reached() {
    ha_lab::run_test(|| {
        let Some(_) = require_program("ping") else { return };
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let n1 = lab.host("n1").expect("a host").join(&lan, "10.66.0.1/24").expect("joined");
        let n2 = lab.host("n2").expect("a host").join(&lan, "10.66.0.2/24").expect("joined");
        let work = || {
            block_on(async {
                let dir = tempfile::tempdir().expect("a directory");
                let attributes = cluster();
                let server = serve(dir.path(), &attributes).await;
                let Some(agent) = load_with("pacemaker", "ping", &server).await else { return };
                let file = |name: &str| dir.path().join(name).display().to_string();
                let context = with(&[
                    ("host_list", "127.0.0.1 10.66.0.2"),
                    ("multiplier", "100"),
                    ("dampen", "500ms"),
                    ("attempts", "1"),
                    ("timeout", "1"),
                    ("pidfile", &file("ping.pid")),
                    ("name", "pingd"),
                ]);
                let told = |published: Vec<Published>| {
                    let last = published.into_iter().next_back().expect("something");
                    assert_eq!(last.key, transient("n1", "pingd"));
                    last.value
                };
                assert_eq!(cycle(&agent, &context, "VMSM").await, "V0 M7 S0 M0");
                assert_eq!(told(attributes.published().await).as_deref(), Some("200"));
                n2.cut().expect("cut");
                assert_eq!(cycle(&agent, &context, "M").await, "M0");
                assert_eq!(told(attributes.published().await).as_deref(), Some("100"));
                assert_eq!(cycle(&agent, &context, "XMX").await, "X0 M7 X0");
                assert_eq!(told(attributes.published().await), None);
            });
        };
        n1.run(work).expect("a worker");
    });
}

#[test]
fn the_real_agents_of_interfaces_tell_what_they_see() {
    on_a_host(async |dir| {
        let needed = ["ip", "mount", "arping", "bc"].map(require_program);
        let [Some(ip), Some(mount), Some(_), Some(_)] = needed else { return };
        let does = |program: &Path, args: &[&str]| {
            assert!(Command::new(program).args(args).status().expect("it runs").success());
        };
        does(&mount, &["-t", "sysfs", "sysfs", "/sys"]);
        does(&ip, &["link", "add", "base0", "type", "veth", "peer", "name", "peer0"]);
        for interface in ["base0", "peer0"] {
            does(&ip, &["link", "set", interface, "up"]);
        }
        let attributes = cluster();
        let server = serve(dir, &attributes).await;
        let value = async |name| attributes.get(&transient("n1", name)).await.expect("told");
        let Some(agent) = load_with("heartbeat", "ethmonitor", &server).await else { return };
        let context = with(&[
            ("interface", "base0"),
            ("name", "ethmonitor-base0"),
            ("repeat_count", "1"),
            ("repeat_interval", "1"),
            ("link_status_only", "true"),
        ]);
        assert_eq!(cycle(&agent, &context, "SM").await, "S0 M0");
        assert_eq!(value("ethmonitor-base0").await.as_deref(), Some("1"));
        does(&ip, &["link", "set", "peer0", "down"]);
        cycle(&agent, &context, "M").await;
        assert_eq!(value("ethmonitor-base0").await.as_deref(), Some("0"));
        assert_eq!(cycle(&agent, &context, "X").await, "X0");
        assert_eq!(value("ethmonitor-base0").await, None);

        does(&ip, &["link", "set", "peer0", "up"]);
        let Some(agent) = load_with("pacemaker", "ifspeed", &server).await else { return };
        let file = dir.join("ifspeed").display().to_string();
        let context =
            with(&[("iface", "base0"), ("name", "speed"), ("dampen", "0"), ("pidfile", &file)]);
        assert_eq!(cycle(&agent, &context, "SM").await, "S0 M0");
        let speed = value("speed").await.expect("set");
        assert!(speed.parse::<u64>().is_ok_and(|speed| speed > 0), "{speed}");
        assert_eq!(cycle(&agent, &context, "XM").await, "X0 M7");
        assert_eq!(value("speed").await, None);
    });
}

/// A cluster that knows scores otherwise than by their attributes.
#[derive(Debug)]
struct Scores;

#[async_trait]
impl NodeAttributes for Scores {
    async fn get(&self, _: &AttributeKey) -> Result<Option<String>, AttributeError> {
        Ok(None)
    }
    async fn put(&self, _: AttributeChange) -> Result<(), AttributeError> {
        Ok(())
    }
    async fn membership(&self) -> Result<Membership, AttributeError> {
        Ok(Membership::single(node("n1")))
    }
    async fn ban(&self, _: &ResourceName, _: &NodeName) -> Result<(), AttributeError> {
        Ok(())
    }
    async fn promotion_score(
        &self,
        _: &ResourceName,
        _: &NodeName,
    ) -> Result<Option<i32>, AttributeError> {
        Ok(Some(7))
    }
}

/// Behind a pointer a cluster's own answers, and not the trait's defaults, are given.
#[test]
fn pointers_to_attributes_leave_nothing_out() {
    async fn ask(attributes: impl NodeAttributes) {
        let resource = "r1".parse().expect("a name");
        let score = attributes.promotion_score(&resource, &node("n1")).await.expect("told");
        assert_eq!(score, Some(7));
        attributes.ban(&resource, &node("n1")).await.expect("banned");
    }
    block_on(async {
        ask(&Scores).await;
        ask(Box::new(Scores)).await;
        let shared: Arc<dyn NodeAttributes> = Arc::new(Scores);
        ask(shared).await;
    });
}
