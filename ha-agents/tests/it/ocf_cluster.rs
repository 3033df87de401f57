//! A promotable resource on several nodes, for agents that talk to one another through the
//! cluster: it calls them, notifies them and tells of them as Pacemaker does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_agents::attributes::{
    AttributeChange, AttributeError, AttributeKey, AttributeServer, Member, Membership,
    MemoryAttributes, NodeAttributes, ResourceState, Scope,
};
use ha_agents::ocf::Ocf;
use ha_agents::{Check, OpContext, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_core::id::NodeName;
use ha_core::role::Role;

use super::ocf_real::load;
use super::ocf_servers::prepare;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ha-attribute-helper");

/// How long an operation may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// The cluster as one of its nodes sees it.
#[derive(Debug)]
struct Seat {
    local: NodeName,
    cluster: Arc<MemoryAttributes>,
}

#[async_trait]
impl NodeAttributes for Seat {
    async fn get(&self, key: &AttributeKey) -> Result<Option<String>, AttributeError> {
        self.cluster.get(key).await
    }

    async fn put(&self, change: AttributeChange) -> Result<(), AttributeError> {
        self.cluster.put(change).await
    }

    async fn membership(&self) -> Result<Membership, AttributeError> {
        let mut membership = self.cluster.membership().await?;
        membership.local.clone_from(&self.local);
        Ok(membership)
    }

    async fn resources(&self) -> Result<Vec<ResourceState>, AttributeError> {
        self.cluster.resources().await
    }
}

/// What a node gets of its own.
pub(super) struct Site {
    pub(super) context: OpContext,
    pub(super) env: Vec<(&'static str, String)>,
}

struct Node {
    name: NodeName,
    agent: Ocf,
    context: OpContext,
    role: Role,
    server: AttributeServer,
}

/// An operation that changes a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Start,
    Promote,
    Demote,
    Stop,
}

impl Step {
    const ALL: [Self; 4] = [Self::Start, Self::Promote, Self::Demote, Self::Stop];

    const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Stop => "stop",
        }
    }

    const fn role(self) -> Role {
        match self {
            Self::Start | Self::Demote => Role::Unpromoted,
            Self::Promote => Role::Promoted,
            Self::Stop => Role::Stopped,
        }
    }
}

fn with_notes(context: &OpContext, told: &BTreeMap<String, String>) -> OpContext {
    let begin = context.clone();
    told.iter().fold(begin, |context, (name, value)| context.meta(name.as_str(), value))
}

/// Kills processes as the kernel does when memory is short, and waits until they are gone: agents
/// take one that nobody has waited for yet for one that runs.
pub(super) fn kill(ids: &[&str]) {
    prepare(Path::new("kill"), &[&["-KILL"][..], ids].concat());
    while ids.iter().any(|id| Path::new("/proc").join(id).exists()) {
        std::thread::yield_now();
    }
}

/// The copies of a resource, one on each of the nodes n1, n2 and so on.
pub(super) struct Cluster {
    attributes: Arc<MemoryAttributes>,
    nodes: Vec<Node>,
}

impl Cluster {
    /// The nodes with a copy each, all stopped; `None`: the agent is not installed.
    pub(super) async fn new(
        dir: &Path,
        kind: &str,
        promoted: usize,
        sites: Vec<Site>,
    ) -> Option<Self> {
        load("heartbeat", kind).await?;
        let all = 1..=u32::try_from(sites.len()).expect("a few");
        let members: Vec<Member> =
            all.map(|i| Member::new(i, format!("n{i}").parse().expect("a name"))).collect();
        let names: Vec<NodeName> = members.iter().map(|member| member.name.clone()).collect();
        let membership = Membership::new(names[0].clone(), members);
        let attributes = Arc::new(MemoryAttributes::new(membership));
        let copies = sites.len().to_string();
        let mut nodes = Vec::new();
        for (name, site) in names.into_iter().zip(sites) {
            let seat = Seat { local: name.clone(), cluster: Arc::clone(&attributes) };
            let home = dir.join(format!("helpers-{name}"));
            let server = AttributeServer::start(&home, Path::new(PROGRAM), Arc::new(seat)).await;
            let server = server.expect("a server");
            let builder = Ocf::builder("heartbeat", kind).helpers(server.helpers());
            let builder = site.env.into_iter().fold(builder, |b, (name, value)| b.env(name, value));
            let agent = builder.load().await.expect("an agent");
            let context = site.context.timeout(PATIENCE);
            let context = context.meta("promotable", "true").meta("notify", "true");
            let context = context.meta("clone-max", &copies).meta("clone-node-max", "1");
            let context = context.meta("promoted-max", promoted.to_string());
            let context = context.meta("master-max", promoted.to_string());
            nodes.push(Node { name, agent, context, role: Role::Stopped, server });
        }
        Some(Self { attributes, nodes })
    }

    /// Looks whether there is something.
    pub(super) async fn probe(&self, node: usize) -> Option<i32> {
        let Node { agent, context, .. } = &self.nodes[node];
        agent.monitor(context, Check::PROBE).await.expect("an answer").code
    }

    /// Looks again, as is done every ten seconds.
    pub(super) async fn monitor(&self, node: usize) -> Option<i32> {
        let Node { agent, context, role, .. } = &self.nodes[node];
        let context = context.clone().every(Duration::from_secs(10));
        let check = Check { depth: 0, role: Some(*role) };
        agent.monitor(&context, check).await.expect("an answer").code
    }

    /// Looks at all that run, again and again, until an attribute is so.
    pub(super) async fn monitor_until(&self, node: usize, attribute: &str, value: &str) {
        while self.attribute(node, attribute).await.as_deref() != Some(value) {
            for at in (0..self.nodes.len()).filter(|&at| self.nodes[at].role.is_active()) {
                let expected = if self.nodes[at].role == Role::Promoted { 8 } else { 0 };
                assert_eq!(self.monitor(at).await, Some(expected), "n{}", at + 1);
            }
            pause(Duration::from_millis(50)).await.expect("a timer");
        }
    }

    pub(super) async fn start(&mut self, node: usize) {
        self.succeeds(Step::Start, node).await;
    }

    pub(super) async fn promote(&mut self, node: usize) {
        self.succeeds(Step::Promote, node).await;
    }

    pub(super) async fn demote(&mut self, node: usize) {
        self.succeeds(Step::Demote, node).await;
    }

    pub(super) async fn stop(&mut self, node: usize) {
        self.succeeds(Step::Stop, node).await;
    }

    /// Starts one that refuses; what it says.
    pub(super) async fn fails_to_start(&mut self, node: usize) -> Report {
        let report = self.step(Step::Start, node).await;
        assert_ne!(report.code, Some(0), "{report:?}");
        report
    }

    async fn succeeds(&mut self, step: Step, node: usize) {
        let report = self.step(step, node).await;
        assert_eq!(report.code, Some(0), "{step:?} on n{}: {report:?}", node + 1);
    }

    /// Notifies all that run, acts, tells of it, and notifies those that run then.
    async fn step(&mut self, step: Step, node: usize) -> Report {
        let told = self.notes(step, node);
        self.notify(&told, "pre").await;
        let Node { agent, context, .. } = &self.nodes[node];
        let context = with_notes(context, &told);
        let report = match step {
            Step::Start => agent.start(&context).await,
            Step::Promote => agent.promote(&context).await,
            Step::Demote => agent.demote(&context).await,
            Step::Stop => agent.stop(&context).await,
        };
        let report = report.expect("an answer");
        if report.code == Some(0) {
            let Node { name, context, role, agent, .. } = &mut self.nodes[node];
            *role = step.role();
            let resource = context.resource.clone();
            let clone = format!("{resource}-clone").parse().expect("a name");
            let state = ResourceState::new(resource, agent.to_string(), name.clone(), *role);
            self.attributes.set_resource(state.in_clone(clone));
            self.notify(&told, "post").await;
        }
        report
    }

    async fn notify(&self, told: &BTreeMap<String, String>, when: &str) {
        let nodes = self.nodes.iter().filter(|node| node.role.is_active());
        for Node { name, agent, context, .. } in nodes {
            if agent.agent_metadata().knows("notify") {
                let context = with_notes(context, told).meta("notify-type", when);
                let report = agent.notify(&context).await.expect("an answer");
                assert_eq!(report.code, Some(0), "{when} on {name}: {report:?}");
            }
        }
    }

    /// What agents are told: who was what before the step, and whom it is about. A list of nobody
    /// is a space.
    fn notes(&self, step: Step, node: usize) -> BTreeMap<String, String> {
        let resource = &self.nodes[node].context.resource;
        let mut told = BTreeMap::from([
            ("notify-operation".to_owned(), step.name().to_owned()),
            ("notify-type".to_owned(), "pre".to_owned()),
        ]);
        let mut list = |what: &str, who: &dyn Fn(usize, &Node) -> bool| {
            let who = self.nodes.iter().enumerate().filter(|(at, node)| who(*at, node));
            let names: Vec<&str> = who.map(|(_, node)| node.name.as_str()).collect();
            let copies = vec![resource.as_str(); names.len()];
            for (kind, words) in [("uname", names), ("resource", copies)] {
                let words = if words.is_empty() { " ".to_owned() } else { words.join(" ") };
                told.insert(format!("notify-{what}-{kind}"), words);
            }
        };
        for name in ["promoted", "master"] {
            list(name, &|_, node| node.role == Role::Promoted);
        }
        for name in ["unpromoted", "slave"] {
            list(name, &|_, node| node.role == Role::Unpromoted);
        }
        list("active", &|_, node| node.role.is_active());
        list("inactive", &|_, node| !node.role.is_active());
        for about in Step::ALL {
            list(about.name(), &|at, _| about == step && at == node);
        }
        told
    }

    fn key(&self, node: usize, name: &str, scope: fn(NodeName) -> Scope) -> AttributeKey {
        AttributeKey::new(scope(self.nodes[node].name.clone()), name).expect("a name")
    }

    /// The value of a node's attribute, whether it lives until the node leaves or for ever.
    pub(super) async fn attribute(&self, node: usize, name: &str) -> Option<String> {
        for scope in [Scope::Transient, Scope::Permanent] {
            let key = self.key(node, name, scope);
            if let Some(value) = self.attributes.get(&key).await.expect("told") {
                return Some(value);
            }
        }
        None
    }

    /// How much the copy there wants to be promoted.
    pub(super) async fn score(&self, node: usize) -> Option<i32> {
        let Node { name, context, .. } = &self.nodes[node];
        self.attributes.promotion_score(&context.resource, name).await.expect("told")
    }

    /// Ends the stand-ins.
    pub(super) async fn end(self) {
        for node in self.nodes {
            node.server.stop().await;
        }
    }
}
