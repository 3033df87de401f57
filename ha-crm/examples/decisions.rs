//! Walks through a failover, decision by decision, and asks why.
//!
//! Run: `cargo run -p ha-crm --example decisions`
//! The last line is `db: n1 -> n2, started only after n1 was fenced`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use ha_core::id::{NodeName, ResourceName};
use ha_core::time::WallTime;
use ha_crm::model::{ClusterState, FenceDevice, Fencing, NodeStatus, Resource, Score, VoteRules};
use ha_crm::{ActionKind, Cluster, Decision, PolicyEngine, ScorePolicy};

fn show(title: &str, state: &ClusterState, db: &ResourceName) -> Decision {
    let decision = ScorePolicy::new().decide(state, WallTime::from_micros(0));
    println!("== {title}");
    if decision.graph.is_empty() {
        println!("nothing to do");
    }
    print!("{}", decision.graph);
    print!("{}", decision.explain(db).unwrap_or_default());
    decision
}

fn main() -> Result<(), Box<dyn Error>> {
    let names = ["n1".parse()?, "n2".parse()?, "n3".parse()?];
    let [n1, n2, _]: &[NodeName; 3] = &names;
    let db: ResourceName = "db".parse()?;
    let config = Cluster::builder()
        .nodes(names.clone())
        .quorum(VoteRules::majority())
        .fencing(Fencing::device("pdu", FenceDevice::new("fence_apc", names.clone())))
        .at_most_one(
            Resource::new(db.clone(), "ocf:heartbeat:pgsql").location(n1.clone(), Score::new(50)),
        )
        .build()?;

    show("all nodes are up, nothing runs", &ClusterState::new(config.clone()), &db);

    let running = ClusterState::new(config).with_active(db.clone(), n1.clone());
    let lost = running.with_node(n1.clone(), NodeStatus::Unclean);
    let decision = show("n1 is not heard any more", &lost, &db);
    let kinds: Vec<_> = decision.graph.actions().iter().map(|action| &action.kind).collect();
    assert!(matches!(kinds[..], [ActionKind::Fence { .. }, ActionKind::Start { .. }]));
    assert_eq!(decision.graph.edges().len(), 1);

    let mut back = lost.with_node(n1.clone(), NodeStatus::Online);
    back.forget_node(n1);
    let back = back.with_active(db.clone(), n2.clone());
    let decision = show("n1 is back: the database stays (100 is more than 50)", &back, &db);
    assert!(decision.graph.is_empty());

    println!("db: n1 -> n2, started only after n1 was fenced");
    Ok(())
}
