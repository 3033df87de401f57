//! Three members in one process: one leaves, one dies, and the rest sees the difference.
//!
//! Run: `cargo run -p ha-membership --example members`
//! The last line is `a saw b leave at once and c fail, and lost quorum`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ha_core::id::NodeName;
use ha_membership::quorum::VoteQuorum;
use ha_membership::roster::RosterConfig;
use ha_membership::{Bus, BusMembership, Change, Membership, View};

/// Prints what `member` sees after the view `before`, until `last` has happened.
async fn follow(
    member: &BusMembership,
    before: &mut Arc<View>,
    last: &Change,
) -> Result<(), Box<dyn Error>> {
    loop {
        let view = member.changed(before.id()).await?;
        let changes = view.changes_since(before);
        *before = view;
        for change in &changes {
            println!("{} sees: {change}", member.me());
        }
        if changes.contains(last) {
            return Ok(());
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let names: [NodeName; 3] = ["a".parse()?, "b".parse()?, "c".parse()?];
    let [a, b, c] = names.clone();
    let mut quorum = VoteQuorum::builder();
    for name in names {
        quorum = quorum.voter(name);
    }
    let quorum = quorum.build()?;
    let bus = Bus::new();
    let join = |name: &NodeName| -> Result<BusMembership, Box<dyn Error>> {
        let config = RosterConfig::builder(name.clone(), quorum.clone())
            .interval(Duration::from_millis(50))
            .build()?;
        Ok(bus.join(config)?)
    };

    let member = join(&a)?;
    let mut seen = member.view();
    let leaver = join(&b)?;
    follow(&member, &mut seen, &Change::Joined(b.clone())).await?;
    let victim = join(&c)?;
    follow(&member, &mut seen, &Change::Joined(c.clone())).await?;

    leaver.leave().await?;
    follow(&member, &mut seen, &Change::Left(b)).await?;
    drop(victim); // no goodbye: its heartbeats just stop
    follow(&member, &mut seen, &Change::Failed(c)).await?;
    assert!(!member.view().is_quorate());
    println!("a saw b leave at once and c fail, and lost quorum");
    Ok(())
}
