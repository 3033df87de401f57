//! Agents: ours asked by us, ours asked by a real HAProxy, hostile ones.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use ha_core::health::Health;
use ha_core::id::EndpointName;
use ha_core::timeline::Timeline;
use ha_lb::algorithm::Algorithm;
use ha_lb::balancer::PickContext;
use ha_lb::endpoint::{Endpoint, Weight};
use ha_lb::health::agent::{
    AgentCheck, AgentHandle, AgentHealth, AgentReport, AgentServer, AgentState, AgentWeight,
};
use ha_lb::health::monitor::{Monitor, ShutSessions};
use ha_lb::health::schedule::Pace;
use ha_lb::health::{FnCheck, Passed, Target};
use ha_lb::pool::Pool;
use ha_lb::state::{Admin, EndpointState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::support::{Server, nobody};

const MS: fn(u64) -> std::time::Duration = std::time::Duration::from_millis;

fn name() -> EndpointName {
    "web".parse().expect("a name")
}

fn weight(number: u16) -> Weight {
    Weight::new(number).expect("in range")
}

/// One endpoint of weight 10 with room for 100, and a second one so that picks have a choice.
fn pool_of_two() -> Pool {
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let web = Endpoint::new(name(), local(9)).with_weight(weight(10)).with_max_connections(100);
    let other = Endpoint::new("other".parse().expect("a name"), local(10)).with_weight(weight(10));
    Pool::new(&Algorithm::RoundRobin, vec![web, other]).expect("unique")
}

fn asks(port: u16) -> AgentCheck {
    AgentCheck::builder(port)
        .send("web\n")
        .interval(MS(5))
        .timeout(MS(5_000))
        .build()
        .expect("fine")
}

/// Waits until the state of the first endpoint is so.
async fn until(pool: &Pool, wanted: impl Fn(&EndpointState) -> bool) {
    let mut changes = pool.changes();
    loop {
        changes.borrow_and_update();
        let snapshot = pool.snapshot();
        let (_, state) = snapshot.iter().next().expect("in the pool");
        if wanted(state) {
            return;
        }
        changes.changed().await.expect("the pool lives");
    }
}

async fn agent() -> (AgentHandle, ha_core::driver::Task<()>) {
    let server = AgentServer::bind("127.0.0.1:0".parse().expect("an address")).await;
    let server = server.expect("a free port");
    (server.handle(), server.spawn())
}

/// How many of 1000 picks go to the first endpoint.
fn picks(pool: &Pool) -> usize {
    let picked =
        |_: &usize| pool.pick(&PickContext::new()).is_ok_and(|pick| pick.name() == &name());
    (0..1000).filter(picked).count()
}

#[tokio::test]
async fn an_agent_steers_its_endpoint_beside_the_operator() {
    let (handle, task) = agent().await;
    let pool = pool_of_two();
    let check = FnCheck::new(|_: Target| async { Ok(Passed::because("fine")) });
    let pace = Pace::builder().interval(MS(5)).build().expect("in range");
    let timeline = Arc::new(std::sync::Mutex::new(Timeline::default()));
    // The other endpoint has no agent: nobody listens at its port.
    let gone = nobody().await.port().to_string();
    let agents = AgentCheck::builder(handle.local_addr().port()).port_tag("agent").interval(MS(5));
    let monitor = Monitor::new(pool.clone(), Arc::new(check), pace)
        .with_agent(agents.build().expect("in range"))
        .with_observer(Arc::clone(&timeline) as _)
        .spawn();
    let snapshot = pool.snapshot();
    let endpoints = snapshot.iter().map(|(endpoint, _)| {
        let is_web = endpoint.name() == &name();
        let endpoint = endpoint.clone();
        if is_web { endpoint } else { endpoint.with_tag("agent", gone.as_str()) }
    });
    pool.update(endpoints.collect()).expect("unique");

    handle.report(AgentReport::new().with_weight(AgentWeight::Percent(50)));
    until(&pool, |state| state.share().parts() == 128).await;
    let half = picks(&pool);
    assert!((250..420).contains(&half), "a third, not {half}");

    handle.report(AgentReport::new().with_weight(AgentWeight::Percent(300)));
    until(&pool, |state| state.share().parts() == 256).await;
    let more = picks(&pool);
    assert!((740..=760).contains(&more), "three quarters, not {more}");

    handle.report(AgentReport::new().with_max_connections(1).with_weight(AgentWeight::Percent(90)));
    until(&pool, |state| state.share().parts() == 230).await;
    let held: Vec<_> = (0..4).filter_map(|_| pool.pick(&PickContext::new()).ok()).collect();
    assert_eq!(held.iter().filter(|pick| pick.name() == &name()).count(), 1, "it is full");
    drop(held);

    let drain = AgentReport::new().with_admin(Admin::Drain).with_reason("batch job");
    handle.report(drain);
    until(&pool, |state| state.agent_admin() == Admin::Drain).await;
    assert_eq!(picks(&pool), 0);
    // The agent's ready is not the operator's.
    pool.set_admin(&name(), Admin::Drain);
    handle.report(AgentReport::new().with_admin(Admin::Ready));
    until(&pool, |state| state.agent_admin() == Admin::Ready).await;
    assert_eq!(picks(&pool), 0);
    pool.set_admin(&name(), Admin::Ready);
    assert!(picks(&pool) > 0);

    handle.report(AgentReport::new().with_health(AgentHealth::Down).with_reason("disk full"));
    until(&pool, EndpointState::is_agent_down).await;
    until(&pool, |state| state.health() == Health::Healthy).await;
    assert_eq!(picks(&pool), 0, "the checks pass, and the agent says that it is down");
    let explained = pool.explain(&PickContext::new()).to_string();
    assert!(explained.contains("not web: down, says its agent"), "{explained}");
    handle.report(AgentReport::new().with_health(AgentHealth::Up));
    until(&pool, |state| !state.is_agent_down()).await;
    assert!(picks(&pool) > 0);

    monitor.stop().await.expect("no panic").expect("a timer");
    task.stop().await.expect("no panic");
    let timeline = timeline.lock().expect("no panic");
    let told: Vec<_> = timeline.events().filter(|event| event.subject == "web").collect();
    let told = told.iter().fold(String::new(), |mut text, event| {
        let _ok = writeln!(text, "{} ({})", event.kind, event.reason);
        text
    });
    assert!(told.contains("ready → drain (agent: batch job)"), "{told}");
    assert!(told.contains("healthy → unhealthy (agent: down, disk full)"), "{told}");
}

#[tokio::test]
async fn an_agent_s_maintenance_stops_checks_and_ends_with_ready() {
    let (handle, task) = agent().await;
    let pool = pool_of_two();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let check = FnCheck::new(move |_: Target| {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async { Ok(Passed::because("fine")) }
    });
    let pace = Pace::builder().interval(MS(1)).build().expect("in range");
    handle.report(AgentReport::new().with_admin(Admin::Maintenance));
    let monitor = Monitor::new(pool.clone(), Arc::new(check), pace)
        .with_agent(asks(handle.local_addr().port()))
        .with_hook(Arc::new(ShutSessions::new()))
        .spawn();
    until(&pool, |state| state.agent_admin() == Admin::Maintenance).await;
    let second = |pool: &Pool| pool.snapshot().iter().nth(1).map(|(_, state)| state.agent_admin());
    while second(&pool) != Some(Admin::Maintenance) {
        pool.changes().changed().await.expect("the pool lives");
    }
    tokio::task::yield_now().await;
    let before = asked.load(std::sync::atomic::Ordering::SeqCst);
    // Agents are asked on, so that one can say ready; checks of both would be due many times.
    handle.report(AgentReport::new().with_weight(AgentWeight::Percent(20)));
    until(&pool, |state| state.share().parts() == 51).await;
    let during = asked.load(std::sync::atomic::Ordering::SeqCst);
    assert!(during <= before + 2, "{before}, then {during}");
    handle.report(AgentReport::new().with_admin(Admin::Ready));
    until(&pool, |state| state.agent_admin() == Admin::Ready).await;
    while asked.load(std::sync::atomic::Ordering::SeqCst) < during + 5 {
        tokio::task::yield_now().await;
    }
    monitor.stop().await.expect("no panic").expect("a timer");
    task.stop().await.expect("no panic");
}

#[tokio::test]
async fn answers_that_are_none_change_nothing() {
    for (answer, complaint) in [
        (&b""[..], "the agent said nothing"),
        (b"down", "the agent's line has no end"),
        (&[b'x'; 10_000], "the agent's line has no end"),
    ] {
        let server = Server::start(move |mut stream| async move {
            let mut sent = [0; 4];
            stream.read_exact(&mut sent).await.expect("what agents are sent");
            assert_eq!(&sent, b"web\n");
            let _gone = stream.write_all(answer).await;
        })
        .await;
        let asked = asks(server.address.port()).ask(&server.address.into()).await;
        let failed = asked.expect_err("no line");
        assert!(failed.reason().starts_with(complaint), "{failed}");
    }
    // A line is taken at once, though the agent does not close; and after a reset as well.
    let open = Server::start(|mut stream| async move {
        stream.write_all(b"drain\nup\n").await.expect("sent");
        std::future::pending::<()>().await;
    })
    .await;
    let report = asks(open.address.port()).ask(&open.address.into()).await.expect("a line");
    assert_eq!((report.admin(), report.health()), (Some(Admin::Drain), None));
    let refused = asks(nobody().await.port()).ask(&nobody().await.into()).await;
    assert!(refused.expect_err("refused").reason().starts_with("cannot connect to the agent"));
    let tagged = AgentCheck::builder(1).port_tag("agent").build().expect("in range");
    let target = Target::from(Endpoint::new(name(), open.address).with_tag("agent", "many"));
    let failed = tagged.ask(&target).await.expect_err("not a port");
    assert_eq!(failed.reason(), "the agent's port is many, not 1 to 65535");
    let wrong = AgentCheck::builder(0).send("x".repeat(1025)).interval(MS(0)).build();
    let wrong = wrong.expect_err("all wrong").to_string();
    for path in ["agent.port: 0", "agent.send: xxx", "agent.interval: 0ns"] {
        assert!(wrong.contains(path), "{path} is missing in {wrong}");
    }
}

/// Whether HAProxy is there; fails instead of a skip where all must run.
fn has_haproxy() -> bool {
    let found = std::process::Command::new("haproxy").arg("-v").stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    let must = std::env::var_os("HA_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(found || !must, "haproxy is not installed");
    found
}

/// A running HAProxy whose one server is steered by an agent.
struct Haproxy {
    folder: tempfile::TempDir,
    process: tokio::process::Child,
}

impl Haproxy {
    async fn start(agent_port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            "global\n stats socket {} level admin\ndefaults\n timeout connect 1s\n \
             timeout client 1s\n timeout server 1s\nbackend pool\n server web 127.0.0.1:9 weight \
             10 maxconn 100 agent-check agent-port {agent_port} agent-inter 10ms agent-send web\\n\n",
            folder.path().join("socket").display()
        );
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).expect("written");
        let mut command = tokio::process::Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file).kill_on_drop(true);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("haproxy starts");
        while UnixStream::connect(folder.path().join("socket")).await.is_err() {
            assert!(process.try_wait().expect("a child").is_none(), "haproxy ended");
            tokio::task::yield_now().await;
        }
        Self { folder, process }
    }

    /// Status, weight and maxconn of the server, as its statistics have them.
    async fn server(&self) -> (String, String, String) {
        let stream = UnixStream::connect(self.folder.path().join("socket")).await;
        let mut stream = stream.expect("its socket");
        stream.write_all(b"show stat\n").await.expect("sent");
        let mut table = String::new();
        stream.read_to_string(&mut table).await.expect("answered");
        let mut lines = table.lines();
        let columns = lines.next().expect("a head").trim_start_matches("# ");
        let row = lines.find(|line| line.starts_with("pool,web,")).expect("the server");
        let cell = |column: &str| {
            let mut cells = columns.split(',').zip(row.split(','));
            cells.find(|(name, _)| *name == column).expect("a column").1.to_owned()
        };
        (cell("status"), cell("weight"), cell("slim"))
    }
}

/// What the statistics should have.
fn expected(ours: &AgentState) -> (String, String, String) {
    let weight = ours.weight().map_or(weight(10), |reported| reported.of(weight(10)));
    let limit = match ours.max_connections() {
        None => "100".to_owned(),
        Some(0) => String::new(),
        Some(limit) => limit.to_string(),
    };
    let status = match (ours.admin(), ours.is_down()) {
        (Admin::Maintenance, _) => "MAINT",
        (_, true) => "DOWN (agent)",
        (Admin::Drain, false) => "DRAIN (agent)",
        (_, false) => "no check",
    };
    (status.to_owned(), weight.to_string(), limit)
}

#[tokio::test]
async fn haproxy_and_we_make_the_same_of_our_agent() {
    if !has_haproxy() {
        eprintln!("skipped: haproxy is not installed (package haproxy)");
        return;
    }
    let (handle, task) = agent().await;
    let port = handle.local_addr().port();
    let mut haproxy = Haproxy::start(port).await;
    let mut ours = AgentState::default();
    let pool = pool_of_two();
    let monitor = Monitor::of_agents(pool.clone(), asks(port)).spawn();
    let percent = |percent| AgentReport::new().with_weight(AgentWeight::Percent(percent));
    for report in [
        AgentReport::new().with_health(AgentHealth::Down).with_reason("disk full"),
        AgentReport::new().with_health(AgentHealth::Up),
        percent(70),
        percent(0),
        percent(250).with_max_connections(7),
        AgentReport::new().with_admin(Admin::Drain),
        AgentReport::new().with_health(AgentHealth::Stopped),
        AgentReport::new().with_health(AgentHealth::Up),
        AgentReport::new().with_admin(Admin::Maintenance),
        AgentReport::new().with_admin(Admin::Ready).with_max_connections(0),
        percent(100).with_health(AgentHealth::Fail),
        AgentReport::new().with_health(AgentHealth::Up),
    ] {
        handle.report(report.clone());
        ours.apply(&report);
        let mut seen = haproxy.server().await;
        // HAProxy's next questions are on their way.
        for _ in 0..2_000 {
            if seen == expected(&ours) {
                break;
            }
            seen = haproxy.server().await;
        }
        assert_eq!(seen, expected(&ours), "after {report}");
        let wanted = (ours.effective_admin(), ours.is_down());
        until(&pool, |state| (state.agent_admin(), state.is_agent_down()) == wanted).await;
    }
    monitor.stop().await.expect("no panic").expect("a timer");
    haproxy.process.kill().await.expect("killed");
    task.stop().await.expect("no panic");
    drop(TcpStream::connect(handle.local_addr()).await.expect_err("it listens no longer"));
}
