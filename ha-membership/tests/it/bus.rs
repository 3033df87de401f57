//! Members in one process see joins, failures and leaves. No time is asserted: only what comes.

use std::sync::Arc;
use std::time::Duration;

use ha_core::id::NodeName;
use ha_membership::quorum::VoteQuorum;
use ha_membership::roster::RosterConfig;
use ha_membership::{
    Bus, BusMembership, Membership, MembershipError, Standing, StaticMembership, View,
};

use super::{block_on, name};

fn quorum(two_node: bool) -> VoteQuorum {
    let count = if two_node { 2 } else { 3 };
    let builder = (0..count).fold(VoteQuorum::builder(), |b, index| b.voter(name(index)));
    builder.two_node(two_node).build().expect("valid")
}

fn join(bus: &Bus, node: usize, quorum: VoteQuorum) -> BusMembership {
    let config = RosterConfig::builder(name(node), quorum).interval(Duration::from_millis(10));
    bus.join(config.build().expect("valid")).expect("a timer")
}

/// Waits for a view that pleases; a test that hangs has failed.
async fn until(member: &dyn Membership, pleases: impl Fn(&View) -> bool) -> Arc<View> {
    let mut view = member.view();
    while !pleases(&view) {
        view = member.changed(view.id()).await.expect("still a member");
    }
    view
}

fn alive(view: &View, nodes: &[usize]) -> bool {
    let names: Vec<NodeName> = nodes.iter().copied().map(name).collect();
    names.iter().all(|name| view.standing(name) == Some(Standing::Alive))
}

#[test]
fn joins_failures_and_leaves_are_seen() {
    block_on(async {
        let bus = Bus::new();
        let a = join(&bus, 0, quorum(false));
        assert!(!a.view().is_quorate(), "alone");
        let (b, c) = (join(&bus, 1, quorum(false)), join(&bus, 2, quorum(false)));
        for member in [&a, &b, &c] {
            let view = until(member, |view| alive(view, &[0, 1, 2])).await;
            assert!(view.is_quorate());
        }
        b.leave().await.expect("told");
        b.leave().await.expect("twice is well");
        until(&a, |view| view.standing(&name(1)).is_none()).await;
        assert!(matches!(b.changed(b.view().id()).await, Err(MembershipError::Ended { .. })));

        drop(c); // a crash
        let view = until(&a, |view| view.standing(&name(2)) == Some(Standing::Unreachable)).await;
        assert!(!view.is_quorate());
        // A new life of the same name is taken up.
        let c = join(&bus, 2, quorum(false));
        until(&a, |view| alive(view, &[2]) && view.is_quorate()).await;
        until(&c, |view| alive(view, &[0])).await;
    });
}

#[test]
fn a_cut_is_seen_on_one_side_only_if_it_is_one_way() {
    block_on(async {
        let bus = Bus::new();
        let (a, b) = (join(&bus, 0, quorum(false)), join(&bus, 1, quorum(false)));
        until(&a, |view| alive(view, &[1])).await;
        bus.cut(&name(1), &name(0));
        until(&a, |view| view.standing(&name(1)) == Some(Standing::Unreachable)).await;
        until(&b, |view| alive(view, &[0])).await;
        bus.heal();
        until(&a, |view| alive(view, &[1])).await;
    });
}

#[test]
fn one_of_two_is_quorate_again_when_the_other_is_confirmed_off() {
    block_on(async {
        let bus = Bus::new();
        let (a, b) = (join(&bus, 0, quorum(true)), join(&bus, 1, quorum(true)));
        until(&a, View::is_quorate).await;
        drop(b);
        until(&a, |view| view.standing(&name(1)) == Some(Standing::Unreachable)).await;
        assert!(!a.view().is_quorate(), "it may still run");
        a.confirm_fenced(name(1)).await.expect("a member");
        let view = until(&a, View::is_quorate).await;
        assert_eq!(view.standing(&name(1)), None);
    });
}

#[test]
fn a_membership_is_used_through_any_pointer() {
    block_on(async {
        let fixed = StaticMembership::new(name(0), [name(0), name(1)], true);
        let members: [Box<dyn Membership>; 2] =
            [Box::new(fixed.clone()), Box::new(Arc::new(fixed))];
        for member in members {
            assert_eq!((member.me(), member.view().members().len()), (&name(0), 2));
            assert!(member.leave().await.is_ok());
        }
    });
}
