//! What a user would notice, on small clusters of our own.

mod bundles;
mod limits;
mod properties;

use ha_core::role::Role;
use ha_core::time::WallTime;

use super::{ChangeKind, Schedule, Scheduler, WhatIf};
use crate::cib::Cib;

/// A history of one record: resource, operation, exit code.
pub(super) fn history(resource: &str, operation: &str, rc: i32) -> String {
    let expected = if operation == "monitor" { 7 } else { 0 };
    format!(
        r#"<lrm_resource id="{resource}" class="ocf" provider="pacemaker" type="Stateful">
        <lrm_rsc_op id="{resource}_last_0" operation="{operation}" interval="0" call-id="5"
          rc-code="{rc}" op-status="0" transition-key="1:1:{expected}:u"/></lrm_resource>"#
    )
}

/// A node's state: `up`, `lost` or `off`, with histories.
pub(super) fn node(number: usize, state: &str, histories: &str) -> String {
    let (in_ccm, crmd, join, expected) = match state {
        "up" => ("true", "online", "member", "member"),
        "lost" => ("false", "offline", "down", "member"),
        _ => ("false", "offline", "down", "down"),
    };
    format!(
        r#"<node_state id="{number}" uname="n{number}" in_ccm="{in_ccm}" crmd="{crmd}"
        join="{join}" expected="{expected}"><lrm id="{number}"><lrm_resources>{histories}
        </lrm_resources></lrm></node_state>"#
    )
}

pub(super) fn cib(options: &str, resources: &str, constraints: &str, status: &[String]) -> String {
    let node = |n: usize| format!(r#"<node id="{n}" uname="n{n}"/>"#);
    let nodes = (1..=status.len()).map(node).collect::<Vec<_>>().concat();
    format!(
        r#"<cib have-quorum="1" dc-uuid="1"><configuration><crm_config>
        <cluster_property_set id="o">{options}</cluster_property_set></crm_config>
        <nodes>{nodes}</nodes><resources>{resources}</resources>
        <constraints>{constraints}</constraints></configuration>
        <status>{}</status></cib>"#,
        status.concat()
    )
}

pub(super) fn primitive(id: &str) -> String {
    format!(r#"<primitive id="{id}" class="ocf" provider="pacemaker" type="Stateful"/>"#)
}

pub(super) const NO_FENCING: &str = r#"<nvpair id="f" name="fencing-enabled" value="false"/>"#;
pub(super) const FENCE: &str = r#"<primitive id="fence" class="stonith" type="fence_x"/>"#;

fn decide(text: &str) -> Schedule {
    let (cib, _) = Cib::parse(text).unwrap();
    Scheduler::new().decide(&cib, WallTime::from_micros(1_000_000)).unwrap()
}

fn lines(decided: &Schedule) -> Vec<String> {
    let line = |change: &super::Change| {
        let mut line = format!("{:?}", change.kind).to_lowercase();
        for part in [&change.resource, &change.from].into_iter().flatten() {
            line = format!("{line} {part}");
        }
        format!("{line} {}{}", change.node, if change.blocked { " blocked" } else { "" })
    };
    decided.changes.iter().map(line).collect()
}

fn up(histories: &[&str]) -> Vec<String> {
    histories.iter().enumerate().map(|(index, one)| node(index + 1, "up", one)).collect()
}

#[test]
fn a_group_stays_together_and_starts_in_order() {
    let group = format!(r#"<group id="g">{}{}</group>"#, primitive("a"), primitive("b"));
    let location = r#"<rsc_location id="l" rsc="g" node="n2" score="10"/>"#;
    let decided = decide(&cib(NO_FENCING, &group, location, &up(&["", ""])));
    assert_eq!(lines(&decided), ["start a n2", "start b n2"]);
    let step = |name: &str| {
        let of = |step: &super::Step| step.resource.as_deref() == Some(name);
        decided.transition.steps.iter().position(of).unwrap()
    };
    let (a, b) = (step("a"), step("b"));
    assert!(decided.transition.waits.iter().any(|wait| wait.first == a && wait.then == b));
}

#[test]
fn a_lost_node_is_fenced_before_its_resources_start_elsewhere() {
    let started = history("db", "start", 0);
    let status = [node(1, "lost", &started), node(2, "up", "")];
    let resources = format!("{FENCE}{}", primitive("db"));
    let decided = decide(&cib("", &resources, "", &status));
    assert_eq!(lines(&decided), ["fence n1", "start fence n2", "move db n1 n2"]);
    let steps = &decided.transition.steps;
    let fence = steps.iter().position(|step| step.task == "fence").unwrap();
    let is_start =
        |step: &super::Step| step.task == "start" && step.resource.as_deref() == Some("db");
    let start = steps.iter().position(is_start).unwrap();
    assert!(decided.transition.waits.iter().any(|w| w.first == fence && w.then == start));
}

#[test]
fn without_quorum_what_runs_is_stopped_and_nothing_starts() {
    let started = history("a", "start", 0);
    let resources = format!("{}{}", primitive("a"), primitive("b"));
    let text = cib(NO_FENCING, &resources, "", &up(&[&started, ""]));
    let (mut cib, _) = Cib::parse(&text).unwrap();
    WhatIf::Quorum(false).apply(&mut cib);
    let decided = Scheduler::new().decide(&cib, WallTime::from_micros(0)).unwrap();
    assert_eq!(lines(&decided), ["stop a n1", "start b n2 blocked"]);
    assert!(decided.outcome.is_empty());
}

#[test]
fn a_failed_resource_recovers_and_after_too_many_failures_it_moves() {
    let failed = r#"<lrm_resource id="a" class="ocf" provider="pacemaker" type="Stateful">
        <lrm_rsc_op id="a_0" operation="start" interval="0" call-id="5" rc-code="0"
          op-status="0" transition-key="1:1:0:u"/>
        <lrm_rsc_op id="a_m" operation="monitor" interval="10000" call-id="6" rc-code="1"
          op-status="0" transition-key="1:1:0:u"/></lrm_resource>"#;
    let resource = r#"<primitive id="a" class="ocf" provider="pacemaker" type="Stateful">
        <meta_attributes id="m"><nvpair id="t" name="migration-threshold" value="2"/>
        </meta_attributes></primitive>"#;
    let text = cib(NO_FENCING, resource, "", &up(&[failed, ""]));
    assert_eq!(lines(&decide(&text)), ["recover a n1"]);
    let (mut cib, _) = Cib::parse(&text).unwrap();
    WhatIf::Attribute("n1".into(), "fail-count-a#monitor_10000".into(), "2".into()).apply(&mut cib);
    let decided = Scheduler::new().decide(&cib, WallTime::from_micros(0)).unwrap();
    assert_eq!(lines(&decided), ["recover a n1 n2"]);
    let account = decided.accounts.iter().find(|one| &*one.resource == "a").unwrap();
    assert!(account.to_string().contains("-infinity (failures there)"), "{account}");
}

#[test]
fn the_best_instance_is_promoted_and_the_promoted_role_takes_its_dependent_along() {
    let clone = format!(
        r#"<clone id="c"><meta_attributes id="m"><nvpair id="p" name="promotable" value="true"/>
        </meta_attributes>{}</clone>{}"#,
        primitive("db"),
        primitive("ip")
    );
    let with = r#"<rsc_colocation id="w" rsc="ip" with-rsc="c" with-rsc-role="Promoted"
        score="INFINITY"/>"#;
    let text = cib(NO_FENCING, &clone, with, &up(&["", ""]));
    let (mut cib, _) = Cib::parse(&text).unwrap();
    WhatIf::Attribute("n1".into(), "master-db".into(), "5".into()).apply(&mut cib);
    WhatIf::Attribute("n2".into(), "master-db".into(), "10".into()).apply(&mut cib);
    let decided = Scheduler::new().decide(&cib, WallTime::from_micros(0)).unwrap();
    assert_eq!(
        decided.outcome["db"][&Role::Promoted].iter().map(|n| &**n).collect::<Vec<_>>(),
        ["n2"]
    );
    assert_eq!(
        decided.outcome["ip"][&Role::Started].iter().map(|n| &**n).collect::<Vec<_>>(),
        ["n2"]
    );
}

#[test]
fn what_follows_in_an_order_restarts_with_what_it_follows() {
    let failed = format!("{}{}", history("a", "monitor", 1), history("b", "start", 0));
    let resources = format!("{}{}", primitive("a"), primitive("b"));
    let order = r#"<rsc_order id="o" first="a" then="b"/>"#;
    let decided = decide(&cib(NO_FENCING, &resources, order, &up(&[&failed])));
    assert_eq!(lines(&decided), ["recover a n1", "restart b n1"]);
    let kinds: Vec<ChangeKind> = decided.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Recover, ChangeKind::Restart]);
}

#[test]
fn a_live_migration_is_preferred_to_a_move() {
    let vm = r#"<primitive id="vm" class="ocf" provider="pacemaker" type="Stateful">
        <meta_attributes id="m"><nvpair id="a" name="allow-migrate" value="true"/>
        </meta_attributes></primitive>"#;
    let started = history("vm", "start", 0);
    let text = cib(NO_FENCING, vm, "", &up(&[&started, ""]));
    let (mut cib, _) = Cib::parse(&text).unwrap();
    assert!(Scheduler::new().decide(&cib, WallTime::from_micros(0)).unwrap().changes.is_empty());
    WhatIf::Standby("n1".into()).apply(&mut cib);
    let decided = Scheduler::new().decide(&cib, WallTime::from_micros(0)).unwrap();
    assert_eq!(lines(&decided), ["migrate vm n1 n2"]);
}

#[test]
fn a_revoked_ticket_stops_what_needs_it() {
    let started = history("a", "start", 0);
    let ticket = r#"<rsc_ticket id="t" rsc="a" ticket="T" loss-policy="stop"/>"#;
    let text = cib(NO_FENCING, &primitive("a"), ticket, &up(&[&started]));
    assert_eq!(lines(&decide(&text)), ["stop a n1"]);
    let granted = r#"<tickets><ticket_state id="T" granted="true"/></tickets></status>"#;
    assert!(decide(&text.replace("</status>", granted)).changes.is_empty());
}

#[test]
fn long_chains_come_to_an_end() {
    let names: Vec<String> = (0..400).map(|n| format!("r{n}")).collect();
    let resources: String = names.iter().map(|name| primitive(name)).collect();
    let pairs = |from: usize, to: usize| {
        format!(
            r#"<rsc_colocation id="c{from}" rsc="r{from}" with-rsc="r{to}" score="INFINITY"/>
            <rsc_order id="o{from}" first="r{to}" then="r{from}"/>"#
        )
    };
    for backwards in [false, true] {
        let chain: String =
            (1..400).map(|n| if backwards { pairs(n - 1, n) } else { pairs(n, n - 1) }).collect();
        let decided = decide(&cib(NO_FENCING, &resources, &chain, &up(&["", ""])));
        assert_eq!(decided.changes.len(), 400);
        let first = &decided.changes[0].node;
        assert!(decided.changes.iter().all(|change| change.node == *first));
    }
}

#[test]
fn pictures_show_every_step() {
    let decided = decide(&cib(NO_FENCING, &primitive("a&lt;b"), "", &up(&[""])));
    assert_eq!(decided.transition.steps.len(), 1);
    let svg = decided.transition.to_svg();
    assert!(svg.contains("start a&lt;b n1") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(decided.transition.to_dot().contains("label=\"start a<b n1\""));
}

/// A remote node `r` with its connection on n1, attributes of n1 and of `r`.
fn remote(meta: &str, on_host: &str, on_remote: &str) -> Schedule {
    let attributes = |of: &str, pairs: &str| {
        format!(
            r#"<transient_attributes id="{of}"><instance_attributes id="s-{of}">{pairs}
            </instance_attributes></transient_attributes>"#
        )
    };
    let connection = format!(
        r#"<primitive id="r" class="ocf" provider="pacemaker" type="remote">{meta}</primitive>"#
    );
    let record = history("r", "start", 0).replace("Stateful", "remote");
    let host =
        node(1, "up", &record).replace("<lrm ", &format!("{}<lrm ", attributes("1", on_host)));
    let behind = format!(
        r#"<node_state remote_node="true" id="r" uname="r" in_ccm="true">{}
        <lrm id="r"><lrm_resources>{}</lrm_resources></lrm></node_state>"#,
        attributes("r", on_remote),
        history("a", "start", 0)
    );
    let here = r#"<rsc_location id="l" rsc="a" node="r" score="100"/>"#;
    let resources = format!("{connection}{}{FENCE}", primitive("a"));
    let text =
        cib("", &resources, here, &[host]).replace("</status>", &format!("{behind}</status>"));
    decide(&text)
}

#[test]
fn a_remote_node_that_shuts_down_is_left_and_let_go_without_fencing() {
    let asks = r#"<nvpair id="q" name="shutdown" value="1700000000"/>"#;
    let mut decided = lines(&remote("", "", asks));
    decided.sort();
    assert_eq!(decided, ["move a r n1", "start fence n1", "stop r n1"]);
    let mut stays = lines(&remote("", "", ""));
    stays.sort();
    assert_eq!(stays, ["start fence n1"]);
}

#[test]
fn a_remote_node_is_fenced_whose_connection_failed_too_often() {
    let failed = r#"<nvpair id="q" name="fail-count-r#start_0" value="INFINITY"/>"#;
    let decided = lines(&remote("", failed, ""));
    assert!(decided.contains(&"fence r".to_owned()), "{decided:?}");
    assert!(decided.contains(&"stop r n1".to_owned()), "{decided:?}");
}

/// What would be decided with these changes, one after the other.
fn with(text: &str, changes: &[&str]) -> Vec<String> {
    let (mut cib, _) = Cib::parse(text).unwrap();
    for change in changes {
        let change: WhatIf = change.parse().unwrap();
        assert_eq!(change.to_string().parse::<WhatIf>().unwrap(), change);
        change.apply(&mut cib);
    }
    let now = cib.execution_date.unwrap_or(WallTime::from_micros(0));
    lines(&Scheduler::new().decide(&cib, now).unwrap())
}

#[test]
fn what_fails_is_recovered_and_moved_when_it_fails_too_often_until_that_is_long_ago() {
    let meta = r#"<meta_attributes id="m"><nvpair id="t" name="migration-threshold" value="2"/>
        <nvpair id="e" name="failure-timeout" value="60s"/></meta_attributes></primitive>"#;
    let resource = primitive("a").replace("/>", &format!(">{meta}"));
    let at_home = [history("a", "start", 0)].concat();
    let prefer = r#"<rsc_location id="l" rsc="a" node="n1" score="10"/>"#;
    let text = cib(NO_FENCING, &resource, prefer, &up(&[&at_home, ""]))
        .replace("<cib ", r#"<cib execution-date="1700000000" "#);
    assert_eq!(with(&text, &[]), Vec::<String>::new());
    assert_eq!(with(&text, &["failure=n1/a/monitor"]), ["recover a n1"]);
    let twice = ["failure=n1/a/monitor", "failure=n1/a/monitor/7"];
    assert_eq!(with(&text, &twice), ["recover a n1 n2"]);
    // A minute later the failures no longer count.
    assert_eq!(with(&text, &[twice[0], twice[1], "later=61s"]), Vec::<String>::new());
    // A start that failed is not tried there again.
    assert_eq!(with(&text, &["failure=n1/a/start"]), ["recover a n1 n2"]);
    for wrong in ["failure=n1/a", "failure=n1/a/start/0", "failure=n1/a/start/x", "later=soon"] {
        assert!(wrong.parse::<WhatIf>().is_err(), "{wrong}");
    }
}

/// A clone around what is given.
fn clone_of(inside: &str) -> String {
    format!(r#"<clone id="c">{inside}</clone>"#)
}

#[test]
fn where_it_can_never_work_no_instance_of_an_anonymous_clone_is_started() {
    let missing = history("a", "start", 0).replace(r#"rc-code="0""#, r#"rc-code="5""#);
    let up = up(&[&missing, ""]);
    let decided = decide(&cib(NO_FENCING, &clone_of(&primitive("a")), "", &up));
    assert_eq!(lines(&decided), ["recover a n1 n2"]);
}

#[test]
fn what_waits_for_a_clone_that_is_to_be_stopped_is_not_started_again() {
    let stopped = r#"<meta_attributes id="m"><nvpair id="t" name="target-role" value="Stopped"/>
        </meta_attributes>"#;
    let clone = clone_of(&format!("{stopped}{}", primitive("a")));
    let order = r#"<rsc_order id="o" first="c" then="b" symmetrical="false"/>"#;
    let failed = history("b", "start", 1);
    let up = up(&[&[history("a", "start", 0), failed].concat()]);
    let decided = decide(&cib(NO_FENCING, &(clone + &primitive("b")), order, &up));
    assert_eq!(lines(&decided), ["stop a n1", "stop b n1"]);
}

#[test]
fn a_score_is_read_up_to_what_is_no_digit() {
    let meta = |value: &str| {
        format!(
            r#"><meta_attributes id="m{value}"><nvpair id="p{value}" name="priority"
            value="{value}"/></meta_attributes></primitive>"#
        )
    };
    let resources = [("a", "1.0"), ("b", "2.0")]
        .map(|(id, value)| primitive(id).replace("/>", &meta(value)))
        .concat();
    let decided = decide(&cib(NO_FENCING, &resources, "", &up(&["", ""])));
    assert_eq!(lines(&decided), ["start a n2", "start b n1"]);
}

#[test]
fn what_waits_for_a_loop_waits_for_all_that_it_can() {
    let orders = [("x", "a"), ("a", "b"), ("b", "a")].map(|(then, first)| {
        format!(r#"<rsc_order id="o{first}{then}" first="{first}" then="{then}"/>"#)
    });
    let resources = ["x", "a", "b"].map(primitive).concat();
    let transition = decide(&cib(NO_FENCING, &resources, &orders.concat(), &up(&[""]))).transition;
    let place = |name: &str| {
        let is_it = |at: &usize| transition.steps[*at].resource.as_deref() == Some(name);
        transition.sorted().iter().position(is_it).unwrap()
    };
    assert!(place("a") < place("x"), "the order between them is in no loop");
    assert_eq!(transition.waits.len(), 2, "one wait is left out, and no more");
}
