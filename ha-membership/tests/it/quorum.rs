//! Two parts of a cluster never both act.

use std::collections::BTreeSet;

use ha_core::id::NodeName;
use ha_membership::quorum::{Census, Quorum, QuorumPolicy, TieBreaker, VoteQuorum};
use proptest::prelude::*;

use super::name;

fn names(indices: impl IntoIterator<Item = usize>) -> BTreeSet<NodeName> {
    indices.into_iter().map(name).collect()
}

fn tie_breaker() -> impl Strategy<Value = TieBreaker> {
    prop_oneof![Just(TieBreaker::None), Just(TieBreaker::LowestNode), Just(TieBreaker::HighestNode)]
}

/// Any valid policy over up to seven nodes with up to three votes each.
fn any_policy() -> impl Strategy<Value = VoteQuorum> {
    let votes = prop::collection::vec(0u32..4, 1..8);
    let usual = (votes, any::<bool>(), tie_breaker()).prop_filter_map(
        "somebody must vote",
        |(votes, wait_for_all, tie)| {
            let mut builder = VoteQuorum::builder().wait_for_all(wait_for_all).tie_breaker(tie);
            for (index, votes) in votes.into_iter().enumerate() {
                builder = builder.voter_with(name(index), votes);
            }
            builder.build().ok()
        },
    );
    prop_oneof![6 => usual, 1 => Just(two())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn two_disjoint_parts_are_never_both_quorate(
        policy in any_policy(),
        // Where each node is: 0 in one part, 1 in the other, 2 down.
        places in prop::collection::vec(0u8..3, 8),
        // Whom each part has fenced: only nodes that are not running elsewhere.
        fenced in prop::collection::vec(any::<bool>(), 8),
        seen_all: [bool; 2],
    ) {
        let part = |place| names((0..8).filter(|index| places[*index] == place));
        let off = names((0..8).filter(|index| places[*index] == 2 && fenced[*index]));
        let decide = |place: u8| policy.decide(&Census {
            present: part(place), fenced: off.clone(), seen_all: seen_all[usize::from(place)],
        });
        prop_assert!(!(decide(0).is_quorate() && decide(1).is_quorate()));
    }

    #[test]
    fn more_nodes_never_take_quorum_away(policy in any_policy(), some in 0usize..256, more in 0usize..256) {
        let census = |bits: usize| Census {
            present: names((0..8).filter(|index| bits >> index & 1 == 1)),
            fenced: BTreeSet::new(),
            seen_all: true,
        };
        if policy.decide(&census(some)).is_quorate() {
            prop_assert!(policy.decide(&census(some | more)).is_quorate());
        }
        let nobody = Census { seen_all: true, ..Census::default() };
        prop_assert!(!policy.decide(&nobody).is_quorate());
    }
}

fn two() -> VoteQuorum {
    VoteQuorum::builder().voter(name(0)).voter(name(1)).two_node(true).build().expect("valid")
}

fn census(present: &[usize], fenced: &[usize], seen_all: bool) -> Census {
    Census {
        present: names(present.iter().copied()),
        fenced: names(fenced.iter().copied()),
        seen_all,
    }
}

#[test]
fn one_of_two_nodes_acts_only_after_it_has_fenced_the_other() {
    let policy = two();
    assert_eq!(policy.decide(&census(&[0, 1], &[], true)), Quorum::Quorate);
    assert_eq!(policy.decide(&census(&[0], &[], true)), Quorum::AfterFencing);
    assert_eq!(policy.decide(&census(&[0], &[1], true)), Quorum::Quorate);
    // Wait for all: two nodes that start cut off do not shoot each other.
    assert_eq!(policy.decide(&census(&[0], &[], false)), Quorum::Lost);
    assert_eq!(policy.decide(&census(&[0], &[1], false)), Quorum::Lost);
}

#[test]
fn the_lowest_node_breaks_a_tie_only_where_that_is_asked_for() {
    let four = |tie| {
        let builder = (0..4).fold(VoteQuorum::builder(), |b, index| b.voter(name(index)));
        builder.tie_breaker(tie).build().expect("valid")
    };
    let half = census(&[0, 3], &[], false);
    let other = census(&[1, 2], &[], false);
    assert_eq!(four(TieBreaker::None).decide(&half), Quorum::Lost);
    assert_eq!(four(TieBreaker::LowestNode).decide(&half), Quorum::Quorate);
    assert_eq!(four(TieBreaker::LowestNode).decide(&other), Quorum::Lost);
    assert_eq!(four(TieBreaker::HighestNode).decide(&half), Quorum::Quorate);
}

#[test]
fn strangers_have_no_votes() {
    let policy = VoteQuorum::builder().voter(name(0)).voter(name(1)).voter(name(2)).build();
    let policy = policy.expect("valid");
    assert_eq!(policy.decide(&census(&[0, 7, 8, 9], &[], true)), Quorum::Lost);
}

#[test]
fn wrong_votes_are_told_all_at_once() {
    let error = VoteQuorum::builder()
        .voter_with(name(0), 2)
        .voter(name(0))
        .two_node(true)
        .tie_breaker(TieBreaker::LowestNode)
        .build()
        .expect_err("three mistakes");
    assert_eq!(error.problems().len(), 3, "{error}");
    assert!(VoteQuorum::builder().voter_with(name(0), 0).build().is_err());
    let many = (0..1025).fold(VoteQuorum::builder(), |builder, index| builder.voter(name(index)));
    assert!(many.build().is_err());
}
