//! The stand-in for `crm_mon`: its XML by Pacemaker's own schema, and as agents look at it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use ha_agents::attributes::{
    AttributeChange, AttributeError, AttributeKey, AttributeServer, Member, Membership,
    MemoryAttributes, NodeAttributes, ResourceState, Scope,
};
use ha_core::id::NodeName;
use ha_core::role::Role;
use ha_lab::require_program;

use super::block_on;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ha-attribute-helper");
/// The schema of the results of Pacemaker's programs (Debian: pacemaker-common).
const SCHEMA: &str = "/usr/share/pacemaker/api/api-result-2.25.rng";
/// How `pgsql` finds out whether n2 is there, and whether somebody is promoted.
const PGSQL_ONLINE: &str = r#"<node name="n2" .* online="true""#;
const PGSQL_PROMOTED: &str = r#"<resource id="db" .* role="(Promoted|Master)""#;
/// How `galera` and `redis` find out whether somebody is promoted.
const GALERA_PROMOTED: &str = r#"resource.*id="db".*role="(Promoted|Master)".*active="true".*orphaned="false".*failed="false""#;
/// How `galera` counts the nodes that are clean, and `rabbitmq-cluster` those that run resources.
const CLEAN: &str = r#"count(//nodes/node[@type="member" and @unclean="false"])"#;
const RUNNING: &str = "count(//nodes//node[@online='true' and @standby='false'])";

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn state(resource: &str, on: &str, role: Role) -> ResourceState {
    let resource = resource.parse().expect("a name");
    ResourceState::new(resource, "ocf:heartbeat:pgsql", node(on), role)
}

fn copy(on: &str, role: Role) -> ResourceState {
    state("db", on, role).in_clone("db-clone".parse().expect("a name"))
}

/// The nodes n1 and n2, as `change` has them.
fn nodes(change: impl FnOnce(&mut Member, &mut Member)) -> Membership {
    let [mut n1, mut n2] = [Member::new(1, node("n1")), Member::new(2, node("n2"))];
    change(&mut n1, &mut n2);
    Membership::new(node("n1"), vec![n1, n2])
}

/// A cluster in which the database is promoted on n1 and copied on n2.
fn cluster() -> Arc<MemoryAttributes> {
    let cluster = MemoryAttributes::new(nodes(|_, _| {}));
    cluster.set_resource(state("ip", "n1", Role::Started));
    cluster.set_resource(copy("n1", Role::Promoted));
    cluster.set_resource(copy("n2", Role::Unpromoted));
    Arc::new(cluster)
}

/// What the stand-in says, if it succeeds; else its code.
async fn ask(cluster: Arc<dyn NodeAttributes>, words: &str) -> Result<String, i32> {
    let dir = tempfile::tempdir().expect("a directory");
    let server = AttributeServer::start(dir.path(), Path::new(PROGRAM), cluster).await;
    let server = server.expect("a server");
    let mut command = Command::new(server.helpers().programs().join("crm_mon"));
    command.args(words.split(' ')).env_clear().envs(server.helpers().environment());
    let output = tokio::task::spawn_blocking(move || command.output().expect("it runs")).await;
    let output = output.expect("no panic");
    let text = String::from_utf8(output.stdout).expect("text");
    if output.status.success() { Ok(text) } else { Err(output.status.code().expect("a code")) }
}

/// What a program says of a text.
fn filter(program: &str, words: &[&str], text: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    // It may have seen enough before the end.
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).unwrap_or_default();
    let output = child.wait_with_output().expect("it ends");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

fn finds(text: &str, pattern: &str) -> bool {
    filter("grep", &["-i", "-E", pattern], text).is_ok()
}

fn count(text: &str, xpath: &str) -> String {
    filter("xmllint", &["--xpath", xpath, "-"], text).expect("it is XML")
}

#[test]
fn its_xml_is_as_pacemakers_schema_has_it() {
    if require_program("xmllint").is_none() {
        return;
    }
    if !Path::new(SCHEMA).exists() {
        return ha_lab::skip("Pacemaker's schemas are not here; install Debian's pacemaker-common");
    }
    block_on(async {
        let cluster = cluster();
        let odd = "100 %s \\n \u{1} <&\"'>\n<node name=\"n2\" id=\"2\" online=\"true\"/>";
        for scope in [Scope::Transient(node("n1")), Scope::Permanent(node("n1"))] {
            let key = AttributeKey::new(scope, "odd %s").expect("a name");
            cluster.put(AttributeChange::set(key, odd)).await.expect("set");
        }
        cluster.set_resource(state("db:1", "n2", Role::Started));
        cluster.set_membership(nodes(|_, n2| (n2.is_online, n2.is_unclean) = (false, true)));
        for words in ["-1 --output-as=xml", "-1 --output-as xml -A", "-1n --output-as=xml -r -A"] {
            let text = ask(cluster.clone(), words).await.expect("an answer");
            let valid = filter("xmllint", &["--noout", "--relaxng", SCHEMA, "-"], &text);
            assert_eq!(valid, Ok(String::new()), "{words}: {text}");
            // As pgsql gives it to printf, twice.
            let script = "text=$(cat); text=$(printf \"$text\"); printf \"$text\\n\"";
            assert_eq!(filter("sh", &["-c", script], &text).as_deref(), Ok(text.trim()));
            assert!(!finds(&text, PGSQL_ONLINE), "no value is taken for an element: {text}");
        }
        let text = ask(cluster, "-1 --output-as=xml -A").await.expect("an answer");
        let read = count(&text, "string(//node_attributes/node[@name='n1']/attribute/@value)");
        assert_eq!(read, odd.replace('\u{1}', "\u{fffd}"), "it is what was set");
    });
}

#[test]
fn agents_find_in_it_what_they_look_for() {
    if require_program("xmllint").is_none() {
        return;
    }
    block_on(async {
        let cluster = cluster();
        // --output-as, and --as-xml for older programs.
        for words in ["-1 --output-as=xml", "-1 --as-xml", "-1X", "-r --as-xml", "-1Xn"] {
            let text = ask(cluster.clone(), words).await.expect("an answer");
            for pattern in [PGSQL_ONLINE, PGSQL_PROMOTED, GALERA_PROMOTED] {
                assert!(finds(&text, pattern), "{words}: {pattern} in {text}");
            }
            assert_eq!((count(&text, CLEAN), count(&text, RUNNING)), ("2".into(), "2".into()));
        }
        let xml = async || ask(cluster.clone(), "-1X").await.expect("an answer");
        for spoil in [
            |state: &mut ResourceState| state.is_failed = true,
            |state: &mut ResourceState| state.is_orphan = true,
        ] {
            let mut promoted = copy("n1", Role::Promoted);
            spoil(&mut promoted);
            cluster.set_resource(promoted);
            assert!(!finds(&xml().await, GALERA_PROMOTED), "none that counts");
            assert!(finds(&xml().await, PGSQL_PROMOTED));
        }
        cluster.set_resource(copy("n1", Role::Unpromoted));
        assert!(!finds(&xml().await, PGSQL_PROMOTED), "none at all");
        cluster.set_resource(copy("n1", Role::Stopped));
        cluster.set_membership(nodes(|n1, n2| {
            (n1.is_standby, n2.is_online, n2.is_unclean) = (true, false, true);
        }));
        let text = xml().await;
        assert!(!finds(&text, PGSQL_ONLINE), "{text}");
        assert!(finds(&text, r#"<node name="n2" .* online"#), "it is known all the same: {text}");
        assert_eq!((count(&text, CLEAN), count(&text, RUNNING)), ("1".into(), "0".into()));
    });
}

#[test]
fn people_read_it_and_what_it_does_not_do_is_refused() {
    block_on(async {
        let cluster = cluster();
        let key = AttributeKey::new(Scope::Transient(node("n1")), "master-db").expect("a name");
        cluster.put(AttributeChange::set(key, "1000")).await.expect("set");
        cluster.set_membership(nodes(|_, n2| n2.is_standby = true));
        let text = ask(cluster.clone(), "--one-shot -A").await.expect("an answer");
        for line in [
            "  * online: [ n1 ]",
            "  * standby: [ n2 ]",
            "  * db (ocf:heartbeat:pgsql): Promoted n1",
            "  * ip (ocf:heartbeat:pgsql): Started n1",
            "    * master-db : \"1000\"",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} in {text}");
        }
        let text = ask(cluster.clone(), "-1 -n").await.expect("an answer");
        assert!(text.contains("  * Node n2: standby:\n    * Resources:\n      * db"), "{text}");
        for (words, code) in
            [("-n", 3), ("--daemonize -i 15", 3), ("-1 --output-as=html", 3), ("-1 --bogus", 64)]
        {
            assert_eq!(ask(cluster.clone(), words).await, Err(code), "{words}");
        }
        let large = "x".repeat(60_000);
        for number in 0..20 {
            let key = AttributeKey::new(Scope::Permanent(node("n2")), format!("large{number}"));
            let change = AttributeChange::set(key.expect("a name"), large.clone());
            cluster.put(change).await.expect("set");
        }
        assert_eq!(ask(cluster.clone(), "-1X -A").await, Err(3), "too much");
        ask(cluster, "-1X").await.expect("no need of them");
    });
}

/// One that only has attributes.
#[derive(Debug)]
struct Attributes(Arc<MemoryAttributes>);

#[async_trait]
impl NodeAttributes for Attributes {
    async fn get(&self, key: &AttributeKey) -> Result<Option<String>, AttributeError> {
        self.0.get(key).await
    }

    async fn put(&self, change: AttributeChange) -> Result<(), AttributeError> {
        self.0.put(change).await
    }

    async fn membership(&self) -> Result<Membership, AttributeError> {
        self.0.membership().await
    }
}

/// An empty answer would be one: that nobody is promoted.
#[test]
fn who_does_not_know_the_resources_does_not_say_that_there_are_none() {
    block_on(async {
        let attributes = Arc::new(Attributes(cluster()));
        assert_eq!(ask(attributes, "-1 --output-as=xml").await, Err(3));
    });
}
