//! Real managers on real stores, meshes and channels: three nodes in one process, each on a
//! runtime of its own that can be killed.
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests, too, may end a test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::time::Duration;

use ha_agents::executor::Limits;
use ha_agents::native::{Dummy, MemoryReplication, Promotable, Replication, ReplicationStatus};
use ha_agents::registry::Registry;
use ha_agents::{Check, Metadata, OpContext, OpResult, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_core::id::{Incarnation, NodeName};
use ha_core::time::{BootClock, Clock, Instant};
use ha_crm::Cluster;
use ha_crm::manager::{
    Ask, ManagerConfig, ManagerEvent, Parts, Request, Response, Service, Status, Told,
};
use ha_crm::model::{
    ClusterConfig, FenceDevice, Fencing, NodeStatus, Operation, OperationName, Resource, VoteRules,
    promoted_role,
};
use ha_membership::mesh::{MeshConfig, MeshService};
use ha_membership::store::{RaftStore, RaftStoreConfig};
use ha_membership::transport::channel::{Channels, ChannelsConfig};
use ha_membership::transport::{Sealed, SessionId, SharedKey};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(30);

fn name(index: usize) -> NodeName {
    format!("n{index}").parse().expect("a name")
}

/// A free port of both UDP and TCP, for one test.
fn free_address() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = tcp.local_addr().expect("bound");
        if std::net::UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// A power switch that says yes and writes down what it was asked.
fn switch(folder: &Path) -> PathBuf {
    let (path, log) = (folder.join("fence_yes"), folder.join("fenced"));
    let script = format!("#!/bin/sh\ncat >> {}\nexit 0\n", log.display());
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    path
}

fn cluster(folder: &Path) -> ClusterConfig {
    let nodes = || (0..3).map(name);
    let agent = switch(folder).display().to_string();
    let monitor = Operation::new(OperationName::Monitor).interval(Duration::from_millis(200));
    let dummy = |resource: &str| {
        Resource::new(resource.parse().expect("a name"), "native:dummy").operation(monitor.clone())
    };
    Cluster::builder()
        .nodes(nodes())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("switch", FenceDevice::new(agent, nodes())))
        .at_most_one(dummy("a"))
        .at_most_one(
            dummy("b").with("a".parse().expect("a name")).after("a".parse().expect("a name")),
        )
        .at_least_one(dummy("everywhere"))
        .build()
        .expect("valid")
}

/// Three copies of a database, and an address that goes where it is promoted.
fn database(folder: &Path) -> ClusterConfig {
    let nodes = || (0..3).map(name);
    let agent = switch(folder).display().to_string();
    let monitor = Operation::new(OperationName::Monitor).interval(Duration::from_millis(200));
    let db = Resource::new("db".parse().expect("a name"), "test:db").operation(monitor);
    let primary = promoted_role(db.name()).expect("short");
    let vip = Resource::new("vip".parse().expect("a name"), "native:dummy");
    Cluster::builder()
        .nodes(nodes())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("switch", FenceDevice::new(agent, nodes())))
        .at_most_one(db.promotable())
        .at_most_one(vip.with(primary.clone()).after(primary))
        .build()
        .expect("valid")
}

/// A server of a node whose copies are told whom to follow; the higher its number, the fitter.
#[derive(Debug, Clone)]
struct Server {
    index: usize,
    state: MemoryReplication,
    followed: Followed,
}

#[async_trait::async_trait]
impl Replication for Server {
    fn metadata(&self) -> Metadata {
        self.state.metadata()
    }

    async fn status(&self, depth: u8) -> Result<ReplicationStatus, Report> {
        let score = i32::try_from(self.index).ok();
        Ok(ReplicationStatus { score, ..self.state.status(depth).await? })
    }

    async fn promote(&self) -> Result<(), Report> {
        self.state.promote().await
    }

    async fn follow(&self, primary: Option<&str>) -> Result<(), Report> {
        self.state.follow(primary).await?;
        let followed = primary.unwrap_or("nobody").to_owned();
        self.followed.lock().expect("no panic").insert(name(self.index), followed);
        Ok(())
    }
}

/// Whom each node's copy was last told to follow.
type Followed = Arc<Mutex<BTreeMap<NodeName, String>>>;

fn databases(followed: &Followed) -> Scene {
    let followed = Arc::clone(followed);
    Scene { cluster: database, agents: Arc::new(move |index| servers(index, &followed)) }
}

fn servers(index: usize, followed: &Followed) -> Registry {
    let (state, followed) = (MemoryReplication::new(), Arc::clone(followed));
    let server = Server { index, state, followed };
    let agent = Arc::new(Promotable::new(Dummy::new(), server));
    let mut registry = Registry::new();
    registry.register("test:db", move |_, _| Ok(agent.clone()));
    registry
}

struct Running {
    ask: Ask,
    #[cfg(feature = "attributes")]
    attributes: Arc<ha_crm::attributes::ClusterAttributes>,
    runtime: Option<Runtime>,
    events: std_mpsc::Receiver<Told>,
}

/// What a test runs: the cluster, by the folder of its fence agent, and each node's agents.
#[derive(Clone)]
struct Scene {
    cluster: fn(&Path) -> ClusterConfig,
    agents: Arc<dyn Fn(usize) -> Registry + Send + Sync>,
}

struct Nodes {
    scene: Scene,
    folder: tempfile::TempDir,
    addresses: Vec<SocketAddr>,
    running: BTreeMap<usize, Running>,
}

impl Nodes {
    fn new(scene: Scene) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = (0..3).map(|_| free_address()).collect();
        let mut nodes = Self { scene, folder, addresses, running: BTreeMap::new() };
        for index in 0..3 {
            nodes.start(index);
        }
        nodes
    }

    fn start(&mut self, index: usize) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (told, events) = std_mpsc::channel();
        let (addresses, folder) = (self.addresses.clone(), self.folder.path().to_owned());
        let scene = self.scene.clone();
        let (ask, store) =
            runtime.block_on(async move { node(index, scene, (&addresses, &folder), told).await });
        #[cfg(feature = "attributes")]
        let attributes = {
            let attributes = ha_crm::attributes::ClusterAttributes::new(name(index));
            attributes.join(store.clone(), ask.clone());
            Arc::new(attributes)
        };
        drop(store);
        let running = Running {
            ask,
            #[cfg(feature = "attributes")]
            attributes,
            runtime: Some(runtime),
            events,
        };
        self.running.insert(index, running);
    }

    /// As a power cut: nothing is said any more.
    fn kill(&mut self, index: usize) {
        if let Some(mut running) = self.running.remove(&index)
            && let Some(runtime) = running.runtime.take()
        {
            runtime.shutdown_background();
        }
    }

    fn ask(&self, request: &Request) -> Option<Response> {
        let (_, running) = self.running.first_key_value()?;
        let runtime = running.runtime.as_ref()?;
        runtime.block_on(running.ask.ask(request.clone(), Duration::from_secs(2))).ok()
    }

    /// Asks until the answer is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let clock = BootClock::new();
        let end = clock.now() + PATIENCE;
        let mut last = None;
        while clock.now() < end {
            if let Some(Response::Status(status)) = self.ask(&Request::Status) {
                if wanted(&status) {
                    return *status;
                }
                last = Some(status);
            }
            let Some((_, running)) = self.running.first_key_value() else { break };
            let runtime = running.runtime.as_ref().expect("running");
            runtime.block_on(pause(Duration::from_millis(20))).expect("a timer");
        }
        panic!("{what}: not in {PATIENCE:?}: {last:#?}");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for index in 0..3 {
            self.kill(index);
        }
    }
}

async fn node(
    index: usize,
    scene: Scene,
    (addresses, folder): (&[SocketAddr], &Path),
    told: std_mpsc::Sender<Told>,
) -> (Ask, RaftStore) {
    let clock = BootClock::new();
    let (me, key) = (name(index), SharedKey::new([7; 32]));
    let life = u64::try_from(clock.wall().as_micros() / 1000).expect("after 1970");
    let cluster = (scene.cluster)(folder);
    let mut mesh = MeshConfig::lan(me.clone())
        .incarnation(Incarnation::new(life))
        .quorum(cluster.quorum().expect("given").clone())
        .link(addresses[index]);
    let mut channels = ChannelsConfig::builder(me.clone(), addresses[index]).key(key.clone());
    let mut store = RaftStoreConfig::builder(me.clone(), folder.join(format!("store-{index}")));
    for (peer, address) in addresses.iter().enumerate() {
        mesh = mesh.seed(*address);
        if peer != index {
            channels = channels.peer(name(peer), *address);
        }
        store = store.member(name(peer));
    }
    let sealed = Sealed::new([(1, key)], SessionId::random().expect("random")).expect("a key");
    let mesh = MeshService::spawn(mesh.build().expect("valid"), Some(sealed)).await;
    let channels = Channels::bind(channels.build().expect("valid")).await.expect("bound");
    let store = RaftStore::open(store.build().expect("valid"), &channels).await.expect("opened");
    let kept = store.clone();
    let config = ManagerConfig::builder(me, cluster).epoch(clock.now(), clock.wall());
    let parts = Parts {
        mesh: mesh.expect("bound"),
        store,
        channels,
        agents: (scene.agents)(index),
        limits: Limits::default(),
        mark: None,
        self_fence: None,
    };
    let service = Service::new(config.build().expect("valid"), parts).expect("started");
    let (ask, mut events) = (service.ask(), service.events());
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if std::env::var_os("HA_SHOW").is_some() {
                eprintln!("{} n{index} {}", event.at, event.event);
            }
            if told.send(event).is_err() {
                break;
            }
        }
    });
    let task = service.spawn();
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        let mut task = task;
        task.ended().await.expect("no panic").expect("no error");
    });
    (ask, kept)
}

fn active(status: &Status, resource: &str) -> Vec<NodeName> {
    let line = status.resources.iter().find(|(name, _)| name.as_str() == resource);
    line.map(|(_, line)| line.active.clone()).unwrap_or_default()
}

fn all_run(status: &Status) -> bool {
    active(status, "a").len() == 1
        && active(status, "b") == active(status, "a")
        && active(status, "everywhere").len() == 3
        && status.resources.values().all(|line| line.busy.is_empty())
}

#[test]
fn three_nodes_form_run_move_lose_one_and_take_it_back() {
    let start = BootClock::new().now();
    let mut nodes = Nodes::new(Scene { cluster, agents: Arc::new(|_| Registry::new()) });
    let status = nodes.wait("formed", all_run);
    let since = |at: Instant| BootClock::new().now().since(at);
    eprintln!("three nodes formed and all runs after {:?}", since(start));

    // A planned move takes what goes with it along.
    let here = active(&status, "a").remove(0);
    let there = (0..3).map(name).find(|name| *name != here).expect("another one");
    let request = Request::Move { resource: "a".parse().expect("a name"), node: there.clone() };
    assert_eq!(nodes.ask(&request), Some(Response::Done));
    nodes.wait("moved", |status| all_run(status) && active(status, "a") == [there.clone()]);

    // The node dies; what ran there runs elsewhere, after it was fenced.
    let index: usize = there.as_str()[1..].parse().expect("a number");
    let killed = BootClock::new().now();
    nodes.kill(index);
    nodes.wait("failed over", |status| {
        active(status, "b").len() == 1 && !active(status, "b").contains(&there)
    });
    eprintln!("failed over after {:?}", since(killed));
    let fenced = std::fs::read_to_string(nodes.folder.path().join("fenced")).expect("fenced");
    assert!(fenced.contains(there.as_str()), "{fenced}");

    // It returns, and nothing moves but what shall run everywhere... and the move that was asked.
    let request = Request::Clear { resource: "a".parse().expect("a name") };
    assert_eq!(nodes.ask(&request), Some(Response::Done));
    let status = nodes.wait("cleared", |status| active(status, "b").len() == 1);
    let before = active(&status, "a");
    nodes.start(index);
    let status = nodes.wait("whole again", all_run);
    assert_eq!(active(&status, "a"), before, "stickiness");
    assert_eq!(status.nodes[&there].status, NodeStatus::Online);

    // Standby empties a node.
    let node = before[0].clone();
    assert_eq!(nodes.ask(&Request::Standby { node: node.clone() }), Some(Response::Done));
    nodes.wait("standby", |status| {
        let everywhere = active(status, "everywhere");
        everywhere.len() == 2
            && !active(status, "b").contains(&node)
            && active(status, "b").len() == 1
    });
    let Some(Response::Text { text }) =
        nodes.ask(&Request::Explain { resource: "a".parse().expect("a name") })
    else {
        panic!("no explanation");
    };
    assert!(text.contains("the node is in standby"), "{text}");
    let refused = nodes.ask(&Request::CleanUp { resource: "nothing".parse().expect("a name") });
    assert!(matches!(refused, Some(Response::Refused { reason }) if reason.contains("nothing")));
    let decided = nodes.running.values().flat_map(|running| running.events.try_iter());
    let decided = decided.filter(|told| matches!(told.event, ManagerEvent::Decided { .. }));
    assert!(decided.count() > 3);
}

fn promoted(status: &Status) -> Vec<NodeName> {
    let line = status.resources.iter().find(|(name, _)| name.as_str() == "db");
    line.map(|(_, line)| line.promoted.clone()).unwrap_or_default()
}

/// Whether one is promoted, the address is with it, and all other copies follow it.
fn serves(status: &Status, followed: &Followed, copies: usize) -> bool {
    let [primary] = &promoted(status)[..] else { return false };
    let followed = followed.lock().expect("no panic");
    active(status, "vip") == [primary.clone()]
        && active(status, "db").len() == copies
        && status.resources.values().all(|line| line.busy.is_empty())
        && active(status, "db")
            .iter()
            .filter(|node| *node != primary)
            .all(|node| followed.get(node).is_some_and(|followed| followed == primary.as_str()))
}

#[test]
fn a_database_has_one_primary_that_its_copies_follow_through_a_move_and_a_crash() {
    let followed = Followed::default();
    let mut nodes = Nodes::new(databases(&followed));
    let status = nodes.wait("formed", |status| serves(status, &followed, 3));
    assert_eq!(promoted(&status), [name(2)], "the fittest");
    let Some(Response::Text { text }) =
        nodes.ask(&Request::Explain { resource: "db:promoted".parse().expect("a name") })
    else {
        panic!("no explanation");
    };
    assert!(text.contains("promotion score"), "{text}");

    let role = || "db:promoted".parse().expect("a name");
    let switchover = Request::Move { resource: role(), node: name(0) };
    assert_eq!(nodes.ask(&switchover), Some(Response::Done));
    nodes.wait("moved", |status| serves(status, &followed, 3) && promoted(status) == [name(0)]);
    assert_eq!(nodes.ask(&Request::Clear { resource: role() }), Some(Response::Done));

    nodes.kill(0);
    let status = nodes.wait("failed over", |status| {
        serves(status, &followed, 2) && promoted(status) != [name(0)]
    });
    assert_eq!(promoted(&status), [name(2)]);
    let fenced = std::fs::read_to_string(nodes.folder.path().join("fenced")).expect("fenced");
    assert!(fenced.contains("n0"), "{fenced}");
    nodes.start(0);
    let status = nodes.wait("whole again", |status| serves(status, &followed, 3));
    assert_eq!(promoted(&status), [name(2)], "who returns changes nothing");
}

/// A copy whose start does not end.
#[derive(Debug)]
struct Stuck;

#[async_trait::async_trait]
impl ResourceAgent for Stuck {
    async fn start(&self, _: &OpContext) -> OpResult {
        std::future::pending().await
    }

    async fn stop(&self, _: &OpContext) -> OpResult {
        Ok(Report::success())
    }

    async fn monitor(&self, _: &OpContext, _: Check) -> OpResult {
        Ok(Report::new(Outcome::NotRunning, ""))
    }
}

#[test]
fn a_copy_that_is_slow_to_start_holds_up_no_promotion_elsewhere() {
    let agents = |index| {
        let mut registry = servers(index, &Followed::default());
        if index == 1 {
            registry.register("test:db", |_, _| Ok(Arc::new(Stuck)));
        }
        registry
    };
    let nodes = Nodes::new(Scene { cluster: database, agents: Arc::new(agents) });
    let status = nodes.wait("promoted", |status| {
        promoted(status) == [name(2)] && active(status, "vip") == [name(2)]
    });
    let db = status.resources.iter().find(|(name, _)| name.as_str() == "db").expect("known").1;
    assert_eq!(db.busy, [name(1)], "it still starts");
}

#[cfg(feature = "attributes")]
mod attributes {
    use ha_agents::attributes::{
        AttributeChange, AttributeError, AttributeKey, NodeAttributes, Scope,
    };
    use ha_core::role::Role;

    use super::*;

    impl Nodes {
        /// Asks on a node until there is an answer: the store may be changing its leader.
        fn on<T>(
            &self,
            index: usize,
            work: &impl AsyncFn(&dyn NodeAttributes) -> Result<T, AttributeError>,
        ) -> T {
            let running = &self.running[&index];
            let runtime = running.runtime.as_ref().expect("running");
            let clock = BootClock::new();
            let end = clock.now() + PATIENCE;
            loop {
                match runtime.block_on(work(&*running.attributes)) {
                    Ok(answer) => return answer,
                    Err(error) => assert!(clock.now() < end, "{error}"),
                }
                runtime.block_on(pause(Duration::from_millis(20))).expect("a timer");
            }
        }

        fn get(&self, index: usize, key: &AttributeKey) -> Option<String> {
            self.on(index, &async |attributes| attributes.get(key).await)
        }

        fn set(&self, index: usize, key: &AttributeKey, value: &str) {
            let change = AttributeChange::set(key.clone(), value);
            self.on(index, &async |attributes| attributes.put(change.clone()).await);
        }
    }

    fn key(scope: Scope, name: &str) -> AttributeKey {
        AttributeKey::new(scope, name).expect("a name")
    }

    #[test]
    fn all_nodes_read_what_one_has_said_until_its_next_life() {
        let mut nodes = Nodes::new(databases(&Followed::default()));
        nodes.wait("formed", |status| promoted(status).len() == 1);
        let passing = key(Scope::Transient(name(0)), "pingd/with a slash");
        let lasting = key(Scope::Permanent(name(0)), "site");
        assert_eq!(nodes.get(1, &passing), None);
        nodes.set(0, &passing, "100");
        nodes.set(0, &lasting, "north east");
        // Others may speak of it, too.
        let by_other = key(Scope::Transient(name(0)), "seen");
        nodes.set(2, &by_other, "");
        for index in 0..3 {
            assert_eq!(nodes.get(index, &passing).as_deref(), Some("100"), "on n{index}");
            assert_eq!(nodes.get(index, &by_other).as_deref(), Some(""), "on n{index}");
        }
        let all = nodes.on(0, &async |attributes| attributes.node_attributes(&name(0)).await);
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(all, [("pingd/with a slash", "100"), ("seen", ""), ("site", "north east")]);
        let change = AttributeChange::delete(by_other.clone());
        nodes.on(1, &async |attributes| attributes.put(change.clone()).await);
        assert_eq!(nodes.get(0, &by_other), None);

        let status = nodes.wait("settled", |status| promoted(status).len() == 1);
        let primary = promoted(&status).remove(0);
        let resources = nodes.on(1, &async |attributes| attributes.resources().await);
        let roles: Vec<_> = resources.iter().filter(|r| r.resource.as_str() == "db").collect();
        assert_eq!(roles.len(), 3, "{resources:?}");
        for copy in roles {
            let role = if copy.node == primary { Role::Promoted } else { Role::Unpromoted };
            assert_eq!((copy.role, copy.agent.as_str()), (role, "test:db"), "{copy:?}");
        }
        let membership = nodes.on(1, &async |attributes| attributes.membership().await);
        assert_eq!(membership.local, name(1));
        assert!(membership.members.iter().all(|member| member.is_online), "{membership:?}");

        nodes.kill(0);
        nodes.wait("lost", |status| active(status, "db").len() == 2);
        nodes.start(0);
        nodes.wait("whole again", |status| active(status, "db").len() == 3);
        assert_eq!(nodes.get(0, &passing), None, "that was another life");
        assert_eq!(nodes.get(1, &passing), None);
        assert_eq!(nodes.get(1, &lasting).as_deref(), Some("north east"));
        nodes.set(0, &passing, "50");
        assert_eq!(nodes.get(2, &passing).as_deref(), Some("50"));
    }
}
