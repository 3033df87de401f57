//! The program `hactl`, run as a person runs it, against a node that is a test.
#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use ha_crm::control::{Handler, Server};
use ha_crm::manager::{Request, Response};
use serde_json::json;
use tempfile::TempDir;

const FILE: &str = r#"
name = "n1"
key = "/etc/ha/key"
data = "/var/lib/ha"
nodes = { n1 = "10.0.0.1", n2 = "10.0.0.2", n3 = "10.0.0.3" }
[fencing.pdu]
agent = "fence_apc"
[resources.vip]
agent = "ocf:heartbeat:IPaddr2"
"#;

/// Remembers what it was asked, and knows one cluster.
#[derive(Debug, Default)]
struct Node(Mutex<Vec<Request>>);

#[async_trait]
impl Handler for Node {
    async fn answer(&self, request: Request) -> Response {
        self.0.lock().expect("no panic").push(request.clone());
        let answer = match serde_json::to_value(&request).expect("plain data")["request"].as_str() {
            Some("status") => status(),
            Some("explain") => json!({"response": "text", "text": "vip: n1: best score\n"}),
            Some("move") => json!({"response": "refused", "reason": "there is no node n9"}),
            _ => json!({"response": "done"}),
        };
        serde_json::from_value(answer).expect("an answer")
    }
}

fn status() -> serde_json::Value {
    let line = |status: &str, witness: bool, present: bool| json!({"status": status, "witness": witness, "present": present});
    json!({
        "response": "status", "leader": "n1", "term": 3, "waits_for": "n3 to be fenced",
        "nodes": {
            "n1": line("online", false, true), "n2": line("standby", false, true),
            "n3": line("unclean", false, false), "w": line("offline", true, true),
        },
        "resources": {
            "vip": {"active": ["n1"], "busy": [], "failures": {"n2": 3}, "faults": {}, "token": 7, "reason": "best"},
            "db": {"active": [], "busy": ["n1"], "failures": {}, "faults": {"n2": "no \u{1b}[31mdisk"}, "token": null, "reason": "n3 is not fenced yet"},
        },
        "decision": {"number": 12, "term": 3, "by": "n1", "at": 0, "actions": []},
    })
}

/// A node that answers in a thread of its own.
struct Rig {
    folder: TempDir,
    node: Arc<Node>,
    _runtime: tokio::runtime::Runtime,
    _server: Server,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let node = Arc::new(Node::default());
        let handler: Arc<Node> = Arc::clone(&node);
        let server = runtime.block_on(Server::bind(folder.path().join("ha.sock"), handler));
        Self { folder, node, _runtime: runtime, _server: server.expect("bound") }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("ha.sock")
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hactl"));
        let output = command.args(arguments).env("HA_SOCKET", self.socket()).output();
        let Output { status, stdout, stderr } = output.expect("the program was built");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (status.code(), text(stdout), text(stderr))
    }

    fn asked(&self) -> Vec<Request> {
        std::mem::take(&mut *self.node.0.lock().expect("no panic"))
    }
}

#[test]
fn the_status_is_for_people_and_for_programs() {
    let rig = Rig::new();
    let (code, text, errors) = rig.run(&["status"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let wanted = "leader n1, term 3, decision 12\n\
                  waits for n3 to be fenced\n\
                  \n\
                  nodes\n\
                  \x20 n1   online\n\
                  \x20 n2   standby\n\
                  \x20 n3   unclean: to be fenced, not heard\n\
                  \x20 w    witness\n\
                  \n\
                  resources\n\
                  \x20 db   nowhere: n3 is not fenced yet (at work on n1)\n\
                  \x20      amiss on n2: no [31mdisk\n\
                  \x20 vip  on n1\n\
                  \x20      failed 3 times on n2\n";
    assert_eq!(text, wanted);
    let (code, text, _) = rig.run(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, status["resources"]["vip"]["token"].as_u64()), (Some(0), Some(7)));
    assert_eq!(rig.run(&["leader"]).1, "n1\n");
    assert_eq!(rig.run(&["nodes", "--online"]).1, "n1\n");
    assert_eq!(rig.run(&["nodes"]).1, "n1\nn2\nn3\nw\n");
    assert_eq!(rig.run(&["explain", "vip"]).1, "vip: n1: best score\n");
}

#[test]
fn wishes_are_passed_on_and_refusals_are_told() {
    let rig = Rig::new();
    for arguments in
        [&["standby", "n2"][..], &["online", "n2"], &["clear", "vip"], &["cleanup", "vip"]]
    {
        assert_eq!(rig.run(arguments), (Some(0), String::new(), String::new()), "{arguments:?}");
    }
    let asked = rig.asked();
    assert!(matches!(
        &asked[..],
        [
            Request::Standby { .. },
            Request::Online { .. },
            Request::Clear { .. },
            Request::CleanUp { .. },
        ]
    ));
    let (code, _, errors) = rig.run(&["move", "vip", "n9"]);
    assert_eq!((code, errors.as_str()), (Some(1), "hactl: there is no node n9\n"));
}

#[test]
fn a_file_is_applied_whole_or_not_at_all() {
    let rig = Rig::new();
    let path = rig.folder.path().join("ha.toml");
    let path = path.to_str().expect("text");
    std::fs::write(path, FILE).expect("written");
    assert_eq!(rig.run(&["config", "apply", path]).0, Some(0));
    let asked = rig.asked();
    let [Request::Apply { config }] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((config.nodes.len(), config.resources.len()), (3, 1));

    let wrong = FILE
        .replace("fence_apc", "")
        .replace("[resources.vip]\n", "[resources.vip]\nwith = 'ghost'\n");
    std::fs::write(path, wrong).expect("written");
    let (code, _, errors) = rig.run(&["config", "apply", path]);
    assert_eq!((code, errors.lines().count()), (Some(2), 2), "{errors}");
    assert!(errors.contains("fencing.pdu.agent: \"\" is not allowed"), "{errors}");
    assert!(errors.contains("resources.vip.with: ghost is not allowed"), "{errors}");
    assert!(rig.asked().is_empty());
}

#[test]
fn wrong_usage_and_a_node_that_is_not_there_are_told() {
    let rig = Rig::new();
    assert_eq!(rig.run(&["fly"]).0, Some(2));
    assert_eq!(rig.run(&["standby", "no name"]).0, Some(2));
    let (code, _, errors) = rig.run(&["--socket", "/nowhere/ha.sock", "status"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("/nowhere/ha.sock: is it running"), "{errors}");
}
