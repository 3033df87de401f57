use ha_core::guarantee::Guarantee;
use proptest::prelude::*;

use super::*;
use crate::model::{FenceMethod, OperationName, Score};

const TEN_LINES: &str = r#"name = "n1"
key = "/etc/ha/key"
data = "/var/lib/ha"
nodes = { n1 = "10.0.0.1", n2 = "10.0.0.2", n3 = "10.0.0.3" }
[fencing.pdu]
agent = "fence_apc"
parameters = { ip = "10.0.0.9", login = "ha", password = "…" }
[resources.vip]
agent = "ocf:heartbeat:IPaddr2"
parameters = { ip = "10.0.0.100", cidr_netmask = "24" }
"#;

const LARGE: &str = r#"
name = "w"
key = "key"
data = "data"
self_fence = "reboot"
quorum = "majority"
[nodes]
n1 = { address = "10.0.0.1", second = "10.1.0.1" }
n2 = { address = "10.0.0.2:7000", second = "10.1.0.2:7001" }
w = { address = "[2001:db8::1]:7405", witness = true }
[timing]
interval = "50ms"
stop_within = "2s"
[fencing.pdu]
agent = "fence_apc"
nodes = ["n1", "n2"]
plugs = { n1 = 3, n2 = "4" }
timeout = "30s"
attempts = 3
[fencing.board]
agent = "fence_ipmilan"
[fencing]
action = "off"
timeout = "10min"
levels = { n1 = ["board", ["pdu"]] }
[resources.fs]
agent = "ocf:heartbeat:Filesystem"
monitor = "20s"
timeout = "40s"
[resources.db]
agent = "ocf:heartbeat:pgsql"
with = "fs"
after = ["fs"]
locations = { n1 = "infinity" }
parameters = { port = 5432, debug = true }
operations = [{ name = "stop", timeout = "5min", on_fail = "fence" }]
monitor = false
[resources.proxy]
agent = "native:process"
guarantee = "at-least-one"
[resources.a]
agent = "dummy"
[resources.b]
agent = "dummy"
[groups.ab]
members = ["a", "b"]
[[constraints.locations]]
resource = "ab"
node = "n2"
score = -50
[[constraints.colocations]]
resource = "ab"
with = "db"
score = "-infinity"
[[constraints.orders]]
first = "db"
then = "ab"
kind = "optional"
[options]
stickiness = 200
"#;

fn problems(text: &str) -> Vec<String> {
    let error = NodeFile::parse(text).expect_err("wrong");
    error.problems().iter().map(ToString::to_string).collect()
}

/// The text with one line for another.
fn with(from: &str, to: &str) -> String {
    assert!(TEN_LINES.contains(from), "{from}");
    TEN_LINES.replace(from, to)
}

#[test]
fn ten_lines_are_a_cluster_with_fencing() {
    assert_eq!(TEN_LINES.lines().count(), 10);
    let file = NodeFile::parse(TEN_LINES).expect("right");
    assert_eq!(file.socket, Path::new("/var/lib/ha/ha.sock"));
    assert_eq!(file.timing.dead_after, Duration::from_millis(700));
    assert_eq!(file.self_fence, SelfFence::None);
    let pdu = &file.cluster.fencing().expect("given").devices["pdu"];
    assert_eq!((pdu.nodes.len(), pdu.timeout), (3, None));
    let vip = &file.cluster.resources()[&"vip".parse().expect("a name")];
    assert_eq!(vip.guarantee, Guarantee::AtMostOne);
    let monitor = vip.operation(OperationName::Monitor);
    assert_eq!(monitor.interval, Duration::from_secs(10));
    let mesh = file.mesh().build().expect("checked");
    assert_eq!(mesh.addresses(), ["10.0.0.1:7405".parse().expect("an address")]);
    assert_eq!(file.manager().build().expect("checked").me(), &file.name);
    let other = NodeFile::parse_as(TEN_LINES, &"n2".parse().expect("a name")).expect("right");
    assert_eq!(other.name.as_str(), "n2");
}

#[test]
fn everything_that_a_file_can_say_is_heard() {
    let file = NodeFile::parse(LARGE).expect("right");
    let text = |name: &str| file.addresses[&name.parse().expect("a name")];
    assert_eq!(text("n1").second, Some("10.1.0.1:7405".parse().expect("an address")));
    assert_eq!(text("n2").address, "10.0.0.2:7000".parse().expect("an address"));
    assert!(text("w").witness && file.cluster.is_witness(&file.name));
    assert_eq!(file.self_fence, SelfFence::Reboot);
    assert_eq!(file.timing.dead_after, Duration::from_millis(350));
    assert_eq!(file.timing.fence_delay, Duration::from_secs(2));
    let pdu = &file.cluster.fencing().expect("given").devices["pdu"];
    assert_eq!(pdu.plugs.values().collect::<Vec<_>>(), ["3", "4"]);
    assert_eq!((pdu.timeout, pdu.attempts), (Some(Duration::from_secs(30)), Some(3)));
    let fencing = file.cluster.fencing().expect("given");
    assert_eq!(fencing.levels.values().collect::<Vec<_>>(), [&[["board"], ["pdu"]]]);
    assert_eq!(
        (fencing.action, fencing.timeout),
        (FenceMethod::Off, Some(Duration::from_mins(10)))
    );
    let resource = |name: &str| &file.cluster.resources()[&name.parse().expect("a name")];
    let fs = resource("fs");
    for name in [OperationName::Start, OperationName::Stop, OperationName::Monitor] {
        assert_eq!(fs.operation(name).timeout, Duration::from_secs(40), "{name}");
    }
    assert_eq!(fs.operation(OperationName::Monitor).interval, Duration::from_secs(20));
    let db = resource("db");
    assert_eq!((db.with.len(), db.after.len(), db.operations.len()), (1, 1, 1));
    assert_eq!(db.locations.values().collect::<Vec<_>>(), [&Score::INFINITY]);
    assert_eq!(db.parameters["port"], "5432");
    assert_eq!(db.parameters["debug"], "true");
    assert_eq!(resource("proxy").guarantee, Guarantee::AtLeastOne);
    let constraints = file.cluster.constraints();
    assert_eq!(constraints.colocations[0].score, Score::NEVER);
    assert_eq!((constraints.locations.len(), constraints.orders.len()), (1, 1));
    assert_eq!(file.cluster.options().stickiness, Score::new(200));
    assert_eq!(parse_cluster(LARGE).expect("right"), file.cluster);
}

#[test]
fn a_cluster_to_apply_needs_no_name_but_is_checked_all_the_same() {
    let text = TEN_LINES.split_once("nodes").map(|(_, rest)| format!("nodes{rest}"));
    let text = text.expect("it has nodes");
    assert!(parse_cluster(&text).is_ok());
    assert_eq!(problems(&text).len(), 3);
    assert!(parse_cluster(&with("\"n1\"", "17")).is_err());
}

#[test]
fn all_problems_are_told_at_once_with_path_value_and_remedy() {
    let text = r#"
name = "n9"
nodes = { n1 = "10.0.0.1", n2 = "host", n3 = { adress = "10.0.0.1" }, "n 4" = "10.0.0.4" }
data = 7
self_fence = "panic"
timing = { interval = "1", stop_within = "1ms" }
[fencing]
action = "on"
levels = { n1 = "pdu", n2 = [["nobody"]] }
[fencing.pdu]
agent = "fence_apc"
nodes = "n7"
parameters = { action = "off", password = ["a"] }
[resources.vip]
agnet = "ocf:heartbeat:IPaddr2"
timeout = "10x"
with = ["db", 5]
[constraints]
locations = [{ resource = "ghost", node = "n1", score = "high" }]
orders = 5
"#;
    let problems = problems(text);
    for wanted in [
        "name: n9 is not allowed: a name that stands in `nodes`",
        "key: nothing is not allowed: the path",
        "data: 7 is not allowed",
        "self_fence: \"panic\" is not allowed: none or reboot",
        "nodes: \"n 4\" is not allowed: 1 to 253",
        "nodes.n2: \"host\" is not allowed: \"IP\" or \"IP:PORT\"",
        "nodes.n3.address: nothing is not allowed",
        "nodes.n3.adress: this key is not allowed: did you mean `address`?",
        "timing.stop_within: 1ms is not allowed: 10 ms to 1 h",
        "fencing.action: \"on\" is not allowed: reboot or off",
        "fencing.levels.n1: \"pdu\" is not allowed: a list of levels",
        "fencing.levels.n2.1: nobody is not allowed: known devices: pdu",
        "fencing.pdu.nodes: n7 is not allowed: names that stand in `nodes`",
        "fencing.pdu.parameters: action is not allowed",
        "fencing.pdu.parameters.password: a list is not allowed",
        "resources.vip.agent: nothing is not allowed",
        "resources.vip.agnet: this key is not allowed: did you mean `agent`? keys here: agent",
        "resources.vip.timeout: \"10x\" is not allowed: a whole number with ms",
        "resources.vip.with: 5 is not allowed",
        "resources.vip.with: db is not allowed: the name of a resource or group; `vip with db`",
        "constraints.locations[0].score: \"high\" is not allowed",
        "constraints.orders: 5 is not allowed: a list of tables",
    ] {
        assert!(problems.iter().any(|told| told.starts_with(wanted)), "{wanted}\n{problems:#?}");
    }
}

#[test]
fn at_most_one_without_fencing_is_refused_and_both_needs_are_named() {
    let (before, _) = TEN_LINES.split_once("[fencing").expect("it has");
    let text = format!("{before}[resources.vip]\nagent = \"ocf:heartbeat:IPaddr2\"\n");
    let problems = problems(&text);
    let told = problems.first().expect("a problem");
    assert!(told.starts_with("resources.vip.guarantee: at-most-one"), "{told}");
    assert!(told.contains("quorum and fencing is missing"), "{told}");
    let twice = text.replace("agent =", "guarantee = \"at-least-one\"\nagent =");
    assert!(NodeFile::parse(&twice).is_ok());
}

#[test]
fn two_nodes_need_a_witness() {
    let two = with(", n3 = \"10.0.0.3\"", "");
    let told = problems(&two);
    assert!(told.iter().any(|told| told.contains("add a witness")), "{told:?}");
    let third = "n3 = { address = \"10.0.0.3\", witness = true }";
    let file = NodeFile::parse(&with("n3 = \"10.0.0.3\"", third)).expect("right");
    assert_eq!(file.cluster.fencing().expect("given").devices["pdu"].nodes.len(), 2);
}

#[test]
fn what_is_not_toml_is_told_with_line_and_column() {
    let told = problems(&with("agent = \"fence_apc\"", "agent = fence_apc"));
    assert!(told[0].starts_with("line 6, column 9: \"agent = fence_apc\""), "{told:?}");
    let told = problems(&with("key =", "name = 'n1'\nkey ="));
    assert!(told[0].starts_with("line 2"), "{told:?}");
}

#[test]
fn files_that_are_missing_too_large_or_not_text_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ha.toml");
    let told = |path: &Path| NodeFile::read(path).expect_err("wrong").to_string();
    assert!(told(&path).contains("ha.toml is not allowed: a file of TOML that can be read"));
    std::fs::write(&path, vec![b'#'; MAX_FILE + 1]).expect("written");
    assert!(told(&path).contains("more than 1048576 bytes"));
    std::fs::write(&path, [0xff]).expect("written");
    assert!(told(&path).contains("not UTF-8"));
    std::fs::write(&path, LARGE).expect("written");
    let file = NodeFile::read(&path).expect("right");
    assert_eq!(file.socket, folder.path().join("data/ha.sock"));
}

/// One of the lines of the large file, or something else.
fn line() -> impl Strategy<Value = String> {
    let lines: Vec<String> = LARGE.lines().map(str::to_owned).collect();
    let changed =
        (prop::sample::select(lines.clone()), any::<prop::sample::Index>(), any::<char>());
    let changed = changed.prop_map(|(mut line, index, letter)| {
        let places: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
        if !places.is_empty() {
            line.insert(places[index.index(places.len())], letter);
        }
        line
    });
    prop_oneof![6 => prop::sample::select(lines), 3 => changed, 1 => any::<String>()]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _is_no_panic = NodeFile::parse(&text);
    }

    #[test]
    fn no_file_of_known_lines_makes_it_panic(lines in prop::collection::vec(line(), 0..40)) {
        let text = lines.join("\n");
        if NodeFile::parse(&text).is_ok() {
            prop_assert!(parse_cluster(&text).is_ok());
        }
    }
}
