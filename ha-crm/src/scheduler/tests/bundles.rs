//! Bundles: containers with what runs inside them.

use super::{FENCE, NO_FENCING, cib, decide, history, lines, node};
use crate::scheduler::{Change, Schedule};

/// A bundle `b` of so many replicas, whose primitive `p` can be promoted.
fn bundle(replicas: usize, meta: &str) -> String {
    format!(
        r#"<bundle id="b"><meta_attributes id="m">
        <nvpair id="m1" name="promotable" value="true"/>{meta}</meta_attributes>
        <docker image="i" replicas="{replicas}"/><network control-port="3121"/>
        <primitive id="p" class="ocf" provider="pacemaker" type="Stateful"/></bundle>"#
    )
}

const BY_HOST: &str = r#"<nvpair id="m2" name="container-attribute-target" value="host"/>"#;

/// Replica `number`, as active on the host that has its history.
fn replica(number: usize) -> String {
    let name = format!("b-{number}");
    let connection = history(&name, "start", 0).replacen(
        "<lrm_resource ",
        &format!(r#"<lrm_resource container="b-docker-{number}" "#),
        1,
    );
    let connection = connection.replace(r#"type="Stateful""#, r#"type="remote""#);
    let container = history(&format!("b-docker-{number}"), "start", 0).replace(
        r#"provider="pacemaker" type="Stateful""#,
        r#"provider="heartbeat" type="docker""#,
    );
    container + &connection
}

/// The state of the node inside a replica.
fn inside(number: usize, histories: &str) -> String {
    format!(
        r#"<node_state id="b-{number}" uname="b-{number}" remote_node="true" in_ccm="true">
        <lrm id="b-{number}"><lrm_resources>{histories}</lrm_resources></lrm></node_state>"#
    )
}

/// Gives a node a promotion score for `p`.
fn scored(state: &str, score: i32) -> String {
    let attribute = format!(
        r#"<transient_attributes id="t"><instance_attributes id="i">
        <nvpair id="s" name="master-p" value="{score}"/></instance_attributes>
        </transient_attributes></node_state>"#
    );
    state.replace("</node_state>", &attribute)
}

/// As [`cib`], with the nodes inside the replicas besides the hosts.
fn with_inside(resources: &str, constraints: &str, hosts: &[String], inside: &[String]) -> String {
    let text = cib(NO_FENCING, resources, constraints, hosts);
    text.replace("</status>", &format!("{}</status>", inside.concat()))
}

fn running(replicas: usize) -> Vec<String> {
    (0..replicas).map(|number| inside(number, &history("p", "start", 0))).collect()
}

fn kinds_of_fencing(decided: &Schedule) -> Vec<(&str, Option<&str>)> {
    let fences = decided.changes.iter().filter(|change| change.resource.is_none());
    fences.map(|change: &Change| (&*change.node, change.fencing)).collect()
}

#[test]
fn the_hosts_attribute_decides_who_is_promoted() {
    let hosts = [scored(&node(1, "up", &replica(0)), 5), scored(&node(2, "up", &replica(1)), 10)];
    let guests: Vec<String> = running(2).iter().map(|guest| scored(guest, 1)).collect();
    let decided = decide(&with_inside(&bundle(2, BY_HOST), "", &hosts, &guests));
    assert_eq!(lines(&decided), ["promote p b-1"]);
}

#[test]
fn being_promoted_apart_from_something_is_judged_by_host() {
    let vip = r#"<primitive id="vip" class="ocf" provider="pacemaker" type="Dummy"/>"#;
    let apart = r#"<rsc_colocation id="c" rsc="b" rsc-role="Promoted" with-rsc="vip"
        score="-INFINITY"/>"#;
    let hosts = [
        node(1, "up", &(replica(0) + &history("vip", "start", 0).replace("Stateful", "Dummy"))),
        node(2, "up", &replica(1)),
    ];
    let [first, second] = [scored(&running(1)[0], 10), scored(&running(2)[1], 5)];
    let resources = bundle(2, "") + vip;
    let decided = decide(&with_inside(&resources, "", &hosts, &[first.clone(), second.clone()]));
    assert_eq!(lines(&decided), ["promote p b-0"]);
    let decided = decide(&with_inside(&resources, apart, &hosts, &[first, second]));
    assert_eq!(lines(&decided), ["promote p b-1"]);
}

#[test]
fn with_fewer_replicas_all_parts_of_the_last_are_stopped() {
    let hosts = [node(1, "up", &replica(0)), node(2, "up", &replica(1))];
    let decided = decide(&with_inside(&bundle(1, ""), "", &hosts, &running(2)));
    let mut stopped = lines(&decided);
    stopped.sort();
    assert_eq!(stopped, ["stop b-1 n2", "stop b-docker-1 n2", "stop p b-1"]);
}

#[test]
fn what_belongs_into_a_container_that_cannot_start_waits_for_it() {
    let ban = r#"<rsc_location id="l" rsc="b" node="n2" score="-INFINITY"/>"#;
    let hosts = [node(1, "up", &replica(0)), node(2, "up", &replica(1))];
    let guests = [running(1).concat(), inside(1, "")];
    let decided = decide(&with_inside(&bundle(2, ""), ban, &hosts, &guests));
    assert_eq!(lines(&decided), ["stop b-docker-1 n2", "stop b-1 n2", "start p b-1 blocked"]);
}

#[test]
fn a_replica_lost_with_its_host_is_off_unless_it_comes_back() {
    let lost = [node(1, "up", ""), node(2, "lost", &replica(0))];
    let resources = bundle(1, "") + FENCE;
    let text = |constraints: &str| {
        let text = cib("", &resources, constraints, &lost);
        text.replace("</status>", &format!("{}</status>", running(1).concat()))
    };
    let back = decide(&text(""));
    assert_eq!(kinds_of_fencing(&back), [("n2", Some("reboot")), ("b-0", Some("reboot"))]);
    assert!(lines(&back).contains(&"recover p b-0".to_owned()), "{:?}", lines(&back));
    let ban = r#"<rsc_location id="l" rsc="b" node="n1" score="-INFINITY"/>"#;
    let gone = decide(&text(ban));
    assert_eq!(kinds_of_fencing(&gone), [("n2", Some("reboot")), ("b-0", Some("off"))]);
}

#[test]
fn interleaved_bundles_come_and_go_pairwise() {
    let meta = r#"<nvpair id="m3" name="interleave" value="true"/>"#;
    let store = r#"<clone id="c"><meta_attributes id="cm">
        <nvpair id="cm1" name="interleave" value="true"/></meta_attributes>
        <primitive id="s" class="ocf" provider="pacemaker" type="Stateful"/></clone>"#;
    let constraints = r#"<rsc_order id="o" first="c" then="b"/>
        <rsc_colocation id="w" rsc="b" with-rsc="c" score="INFINITY"/>
        <rsc_location id="l" rsc="c" node="n2" score="-INFINITY"/>"#;
    let both = |number: usize| replica(number) + &history("s", "start", 0);
    let hosts = [node(1, "up", &both(0)), node(2, "up", &both(1))];
    let resources = store.to_owned() + &bundle(2, meta);
    let decided = decide(&with_inside(&resources, constraints, &hosts, &running(2)));
    let mut stopped = lines(&decided);
    stopped.sort();
    assert_eq!(stopped, ["stop b-1 n2", "stop b-docker-1 n2", "stop p b-1", "stop s n2"]);
}
