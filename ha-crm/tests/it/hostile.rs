//! What no cluster would write: the reader, the checker and the scheduler neither panic nor hang.
//!
//! The folder `fuzz/` has the same for `cargo fuzz`, which goes on for as long as one likes.

#[path = "../../../benches/src/clusters.rs"]
#[expect(unreachable_pub, reason = "what benches need besides")]
mod clusters;

use clusters::{Activity, Clusters, Shape};
use ha_core::time::WallTime;
use ha_crm::check::check;
use ha_crm::cib::Cib;
use ha_crm::scheduler::Scheduler;
use proptest::prelude::*;

/// Values that are at an end of something.
const EDGES: [&str; 16] = [
    "",
    "0",
    "-1",
    "1",
    "INFINITY",
    "-INFINITY",
    "4294967295",
    "18446744073709551615",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "true",
    "Stopped",
    "P99999Y",
    "2024-02-30T25:61:61Z",
    "r00000",
];

/// Reads, checks, decides, explains and writes; whatever the text is.
fn survive(text: &str) {
    let Ok((cib, notes)) = Cib::parse(text) else { return };
    let findings = check(&cib, &notes);
    let now = cib.execution_date.unwrap_or(WallTime::from_micros(1_700_000_000_000_000));
    let decided = Scheduler::new().decide(&cib, now);
    let terse = Scheduler::terse().decide(&cib, now).map(|decided| decided.changes);
    assert_eq!(decided.as_ref().map(|decided| &decided.changes), terse.as_ref());
    drop((decided.map(|decided| decided.transition.to_svg()), findings));
    let written = cib.to_xml();
    Cib::parse(&written).expect("what is written can be read");
    if let Ok(json) = cib.to_json() {
        drop(Cib::from_json(&json));
    }
}

fn cluster() -> impl Strategy<Value = String> {
    let shape = (0..Shape::ALL.len()).prop_map(|index| Shape::ALL[index]);
    let activity = prop_oneof![
        Just(Activity::Fresh),
        Just(Activity::Clean),
        Just(Activity::Running),
        Just(Activity::Lost),
    ];
    (1_usize..4, 1_usize..12, shape, activity, any::<u64>()).prop_map(
        |(nodes, primitives, shape, activity, seed)| {
            let made = Clusters::new(nodes, primitives).shape(shape).activity(activity);
            made.seed(seed).xml()
        },
    )
}

/// A change of a text that leaves it XML most of the time.
#[derive(Debug, Clone)]
enum Change {
    /// The value of an attribute is one at an edge.
    Edge(usize, usize),
    /// The value of an attribute is that of another one.
    Copy(usize, usize),
    /// An element without others in it is there once more, or not at all.
    Element(usize, bool),
    /// A byte is another one.
    Byte(usize, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<usize>;
    prop_oneof![
        4 => (index(), index()).prop_map(|(at, edge)| Change::Edge(at, edge)),
        4 => (index(), index()).prop_map(|(at, from)| Change::Copy(at, from)),
        2 => (index(), proptest::bool::ANY).prop_map(|(at, twice)| Change::Element(at, twice)),
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ]
}

/// The ranges of the values of attributes.
fn values(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut quotes = text.match_indices('"').map(|(at, _)| at);
    let mut found = Vec::new();
    while let (Some(from), Some(to)) = (quotes.next(), quotes.next()) {
        found.push(from + 1..to);
    }
    found
}

fn apply(text: &mut String, change: &Change) {
    let ranges = values(text);
    if ranges.is_empty() {
        return;
    }
    let at = |index: usize| ranges[index % ranges.len()].clone();
    match change {
        Change::Edge(index, edge) => {
            text.replace_range(at(*index), EDGES[edge % EDGES.len()]);
        }
        Change::Copy(index, from) => {
            let value = text[at(*from)].to_owned();
            text.replace_range(at(*index), &value);
        }
        Change::Element(index, twice) => {
            let near = at(*index).start;
            let Some(from) = text[..near].rfind('<') else { return };
            let Some(to) = text[near..].find("/>").map(|to| near + to + 2) else { return };
            if text[near..to].contains('<') {
                return;
            }
            let element = if *twice { text[from..to].repeat(2) } else { String::new() };
            text.replace_range(from..to, &element);
        }
        Change::Byte(index, byte) => {
            let near = index % text.len();
            if text.is_char_boundary(near) && text.is_char_boundary(near + 1) {
                text.replace_range(near..=near, &char::from(*byte).to_string());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn mutated_clusters_are_decided_on(
        text in cluster(),
        changes in proptest::collection::vec(change(), 0..12),
    ) {
        let mut text = text;
        for change in &changes {
            apply(&mut text, change);
        }
        survive(&text);
    }

    #[test]
    fn arbitrary_text_is_refused_or_read(text in "(<cib|<|/>|[a-z ]|=\"|\"|>|\\PC){0,200}") {
        survive(&text);
        drop(Cib::from_toml(&text));
        drop(Cib::from_json(&text));
    }
}

/// What fuzzing found once stays mended.
#[test]
fn the_corpus_of_the_fuzzer_is_survived() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/cib");
    let entries = std::fs::read_dir(folder).expect("the corpus is there");
    let mut any = false;
    for entry in entries {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        survive(&String::from_utf8_lossy(&bytes));
        any = true;
    }
    assert!(any, "{folder} is empty");
}

#[test]
fn a_made_up_cluster_is_one_that_works() {
    for shape in Shape::ALL {
        for activity in [Activity::Clean, Activity::Running, Activity::Lost, Activity::Sparse] {
            let text = Clusters::new(3, 20).shape(shape).activity(activity).xml();
            let (cib, notes) = Cib::parse(&text).expect("a CIB");
            assert_eq!(notes, [], "{shape}");
            let now = cib.execution_date.expect("a time");
            let changes = Scheduler::terse().decide(&cib, now).expect("it is small").changes;
            // Copies are promoted later, and those of the lost node are not needed elsewhere.
            let is_quiet = match (activity, shape) {
                (Activity::Running | Activity::Sparse, _) => shape != Shape::Promotable,
                (Activity::Lost, _) => shape == Shape::Clones,
                (Activity::Clean | Activity::Fresh, _) => false,
            };
            assert_eq!(changes.is_empty(), is_quiet, "{shape} {activity:?}: {changes:?}");
        }
    }
}

fn primitives(count: usize) -> String {
    let one = |at| format!("<primitive id=\"r{at}\" class=\"ocf\" provider=\"p\" type=\"t\"/>");
    (0..count).map(one).collect::<Vec<String>>().concat()
}

/// A cluster of two nodes, one of which is there.
fn whole(resources: &str, constraints: &str) -> String {
    format!(
        "<cib have-quorum=\"1\" execution-date=\"1700000000\"><configuration><crm_config/>\
         <nodes><node id=\"1\" uname=\"n1\"/><node id=\"2\" uname=\"n2\"/></nodes>\
         <resources>{resources}</resources><constraints>{constraints}</constraints>\
         </configuration><status>\
         <node_state id=\"1\" uname=\"n1\" in_ccm=\"true\" crmd=\"online\" join=\"member\" \
         expected=\"member\"/></status></cib>"
    )
}

#[test]
fn everyone_with_everyone_and_before_everyone_ends() {
    let mut clique = String::new();
    for one in 0..40 {
        for other in (0..40).filter(|other| *other != one) {
            let score = one * other;
            let pair = format!(
                "<rsc_colocation id=\"c{one}-{other}\" rsc=\"r{one}\" with-rsc=\"r{other}\" \
                 score=\"{score}\"/><rsc_order id=\"o{one}-{other}\" first=\"r{one}\" \
                 then=\"r{other}\"/>",
            );
            clique.push_str(&pair);
        }
    }
    survive(&whole(&primitives(40), &clique));
}

#[test]
fn a_large_group_ends() {
    let group = format!("<group id=\"g\">{}</group>", primitives(100));
    survive(&whole(&group, ""));
}

#[test]
fn large_sets_end() {
    let one = |at| format!("<resource_ref id=\"r{at}\"/>");
    let members: Vec<String> = (0..100).map(one).collect();
    let members = members.concat();
    let set = format!(
        "<rsc_order id=\"o\"><resource_set id=\"s1\" sequential=\"false\">{members}\
         </resource_set><resource_set id=\"s2\" sequential=\"false\">{members}</resource_set>\
         </rsc_order><rsc_colocation id=\"c\" score=\"1\"><resource_set id=\"s3\">{members}\
         </resource_set></rsc_colocation>"
    );
    survive(&whole(&primitives(100), &set));
}

#[test]
fn far_more_copies_than_can_be_end() {
    let clone = format!(
        "<clone id=\"c\"><meta_attributes id=\"m\">\
         <nvpair id=\"m1\" name=\"clone-max\" value=\"4294967295\"/>\
         <nvpair id=\"m2\" name=\"clone-node-max\" value=\"4294967295\"/>\
         <nvpair id=\"m3\" name=\"globally-unique\" value=\"true\"/></meta_attributes>{}</clone>",
        primitives(1)
    );
    survive(&whole(&clone, ""));
}

#[test]
fn far_more_containers_than_can_be_end() {
    let bundle = "<bundle id=\"b\"><podman image=\"i\" replicas=\"4294967295\" \
                  replicas-per-host=\"4294967295\"/></bundle>";
    survive(&whole(bundle, ""));
}
