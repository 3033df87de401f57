//! What is wrong with a description is told: each kind of it, and nothing of what is meant so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use ha_crm::check::{Finding, FindingKind, Severity, check, known};
use ha_crm::cib::Cib;
use proptest::prelude::*;

/// Where many configurations may lie; they do not come with the source.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/pacemaker-scheduler");

fn findings(text: &str) -> Vec<Finding> {
    let (cib, notes) = Cib::parse(text).expect("a CIB");
    check(&cib, &notes)
}

/// A description that is right, but for what is added to it.
#[derive(Default)]
struct Site<'a> {
    options: &'a str,
    nodes: &'a str,
    resources: &'a str,
    constraints: &'a str,
    rest: &'a str,
}

impl Site<'_> {
    fn text(&self) -> String {
        let Self { options, nodes, resources, constraints, rest } = self;
        format!(
            r#"<cib><configuration>
<crm_config><cluster_property_set id="cib-bootstrap-options">{options}</cluster_property_set></crm_config>
<nodes><node id="1" uname="alpha"/><node id="2" uname="beta"/>{nodes}</nodes>
<resources>
<primitive id="power" class="stonith" type="fence_ipmi"/>
<primitive id="web" class="ocf" provider="heartbeat" type="nginx"><operations>
<op id="web-monitor" name="monitor" interval="20s" timeout="10s"/></operations></primitive>
<primitive id="db" class="ocf" provider="heartbeat" type="pgsql"><operations>
<op id="db-monitor" name="monitor" interval="20s" timeout="10s"/></operations></primitive>
<clone id="disks"><meta_attributes id="disks-m">
<nvpair id="disks-m-1" name="promotable" value="true"/></meta_attributes>
<primitive id="disk" class="ocf" provider="linbit" type="drbd"><operations>
<op id="disk-monitor" name="monitor" interval="20s" role="Promoted"/>
<op id="disk-other" name="monitor" interval="30s" role="Unpromoted"/>
</operations></primitive></clone>
{resources}</resources>
<constraints>{constraints}</constraints>{rest}
</configuration><status/></cib>"#
        )
    }

    fn findings(&self) -> Vec<Finding> {
        findings(&self.text())
    }
}

fn option(name: &str, value: &str) -> String {
    format!(r#"<nvpair id="option-{name}" name="{name}" value="{value}"/>"#)
}

/// A primitive with a monitor, and what is added to it.
fn primitive(id: &str, inside: &str) -> String {
    format!(
        r#"<primitive id="{id}" class="ocf" provider="heartbeat" type="Delay"><operations>
<op id="{id}-monitor" name="monitor" interval="20s"/></operations>{inside}</primitive>"#
    )
}

fn operation(attributes: &str) -> String {
    format!(
        r#"<primitive id="x" class="ocf" provider="heartbeat" type="Delay"><operations>
<op id="x-monitor" name="monitor" interval="20s"/><op id="x-op" {attributes}/>
</operations></primitive>"#
    )
}

fn meta(name: &str, value: &str) -> String {
    primitive(
        "x",
        &format!(
            r#"<meta_attributes id="x-m"><nvpair id="x-m-1" name="{name}" value="{value}"/>
</meta_attributes>"#
        ),
    )
}

/// Of all that is found, this must be there: its severity and kind, and these words in it.
#[track_caller]
fn expect(site: &Site<'_>, severity: Severity, kind: FindingKind, words: &[&str]) {
    let all = site.findings();
    let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
    let found = all.iter().filter(|one| one.severity == severity && one.kind == kind);
    let found: Vec<String> = found.map(ToString::to_string).collect();
    let has_all = |text: &String| words.iter().all(|word| text.contains(word));
    assert_eq!(found.iter().filter(|text| has_all(text)).count(), 1, "{words:?}: {shown:#?}");
    // What is asked of it is all that is wrong.
    let worst = all.iter().filter(|one| one.severity != Hint && one.kind != kind);
    assert_eq!(worst.count(), 0, "{shown:#?}");
}

#[track_caller]
fn is_clean(site: &Site<'_>) {
    assert_eq!(site.findings(), Vec::new());
}

use FindingKind as Kind;
use Severity::{Error, Hint, Warning};

#[test]
fn a_description_that_is_right_has_no_findings() {
    is_clean(&Site::default());
}

#[test]
fn options_have_known_names_and_values() {
    for (name, value, severity, kind, words) in [
        ("no-quorum-polcy", "stop", Warning, Kind::UnknownName, "did you mean no-quorum-policy?"),
        ("No-Quorum-Policy", "stop", Warning, Kind::UnknownName, "did you mean no-quorum-policy?"),
        ("vendor-note", "x", Hint, Kind::UnknownName, "\"vendor-note\""),
        ("no-quorum-policy", "stopp", Error, Kind::Value, "did you mean stop?"),
        ("cluster-delay", "1 minute", Error, Kind::Value, "\"1 minute\""),
        ("batch-limit", "many", Error, Kind::Value, "a whole number"),
        ("pe-input-series-max", "-2", Error, Kind::Value, "a whole number from -1"),
        ("load-threshold", "80", Error, Kind::Value, "80%"),
        ("symmetric-cluster", "treu", Error, Kind::Value, "did you mean true?"),
        ("default-resource-stickiness", "1", Hint, Kind::Obsolete, "rsc_defaults"),
    ] {
        let options = option(name, value);
        let site = Site { options: &options, ..Site::default() };
        expect(&site, severity, kind, &[words, "nvpair[@id='option-"]);
    }
    let options = option("stonith-timeout", "60s") + &option("cluster-name", "anything");
    is_clean(&Site { options: &options, ..Site::default() });
    let twice = option("cluster-name", "a") + &option("cluster-name", "a").replace("n-c", "n-d");
    let site = Site { options: &twice, ..Site::default() };
    expect(&site, Warning, Kind::SettingsContradict, &["given twice"]);
}

#[test]
fn meta_attributes_have_known_names_and_values() {
    for (name, value, severity, kind, words) in [
        ("migration-treshold", "3", Warning, Kind::UnknownName, "migration-threshold"),
        ("rack-number", "3", Hint, Kind::UnknownName, "rack-number"),
        ("target-role", "Startd", Error, Kind::Value, "did you mean Started?"),
        ("resource-stickiness", "high", Error, Kind::Value, "\"high\""),
        ("priority", "2.0", Hint, Kind::Value, "fraction"),
        ("remote-port", "65536", Error, Kind::Value, "from 1 to 65535"),
        ("target-role", "Promoted", Warning, Kind::Role, "not promotable"),
        ("promotable", "true", Hint, Kind::NoEffect, "no clone"),
    ] {
        let resources = meta(name, value);
        let site = Site { resources: &resources, ..Site::default() };
        expect(&site, severity, kind, &[words, "primitive[@id='x']"]);
    }
    let both = meta("is-managed", "false").replace(
        "</meta_attributes>",
        r#"<nvpair id="x-m-2" name="target-role" value="Stopped"/></meta_attributes>"#,
    );
    let site = Site { resources: &both, ..Site::default() };
    expect(&site, Hint, Kind::SettingsContradict, &["is-managed"]);
}

#[test]
fn operations_are_done_and_told_apart() {
    for (attributes, severity, kind, words) in [
        (r#"name="monitr" interval="5s""#, Warning, Kind::UnknownName, "did you mean monitor?"),
        (r#"name="polish" interval="0""#, Hint, Kind::UnknownName, "polish"),
        (r#"name="monitor" interval="20""#, Error, Kind::DuplicateOperation, "already (line"),
        (r#"name="start" interval="0" timeout="0s""#, Warning, Kind::Timeout, "@timeout"),
        (r#"name="stop" interval="0" timeout="1h""#, Warning, Kind::Timeout, "shutdown-escalation"),
        (r#"name="monitor" interval="5s" timeout="6s""#, Hint, Kind::Timeout, "x-op"),
        (r#"name="monitor" interval="5x""#, Error, Kind::Value, "\"5x\""),
        (r#"name="stop" on-fail="demote""#, Error, Kind::OnFail, "@on-fail"),
        (r#"name="stop" on-fail="fense""#, Error, Kind::Value, "did you mean fence?"),
        (r#"name="monitor" interval="5s" role="Promoted""#, Warning, Kind::Role, "never done"),
        (r#"name="start" intervall="5s""#, Error, Kind::UnknownAttribute, "did you mean interval?"),
    ] {
        let resources = operation(attributes);
        expect(&Site { resources: &resources, ..Site::default() }, severity, kind, &[words]);
    }
    let roles = operation(r#"name="monitor" interval="20s" role="Promoted""#);
    let roles = format!(
        r#"<clone id="xs">{roles}<meta_attributes id="xs-m">
<nvpair id="xs-m-1" name="promotable" value="true"/></meta_attributes></clone>"#
    );
    let site = Site { resources: &roles, ..Site::default() };
    expect(&site, Warning, Kind::DuplicateOperation, &["another role"]);
    let one = Site::default().text().replace(" role=\"Promoted\"", "");
    let all = findings(&one);
    assert_eq!((all.len(), all[0].severity, all[0].kind), (1, Hint, Kind::NoMonitor), "{all:?}");
    let off = operation(r#"name="monitor" interval="20s" enabled="false""#);
    is_clean(&Site { resources: &off, ..Site::default() });
    let resources = operation(r#"name="stop" on-fail="fence""#);
    let options = option("fencing-enabled", "false");
    let site = Site { options: &options, resources: &resources, ..Site::default() };
    expect(&site, Warning, Kind::FencingNeeded, &["@on-fail"]);
}

#[test]
fn resources_without_monitor_are_told_of_once() {
    let without = |operations: &str| {
        let two = ["x", "y"].map(|id| {
            format!(r#"<primitive id="{id}" class="lsb" type="d">{operations}</primitive>"#)
        });
        format!(
            r#"<cib><configuration><crm_config/><nodes><node id="1" uname="alpha"/></nodes>
<resources><primitive id="power" class="stonith" type="f"/>{}</resources>
<constraints/></configuration></cib>"#,
            two.concat()
        )
    };
    let list = r#"<operations><op id="OP" name="start" interval="0"/></operations>"#;
    for (text, severity) in [
        (without(""), Hint),
        (without("<operations/>"), Warning),
        (without(list).replacen("OP", "o1", 1), Warning),
    ] {
        let found = findings(&text);
        let found: Vec<_> = found.iter().filter(|one| one.kind == Kind::NoMonitor).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].severity, severity, "{found:?}");
        assert!(found[0].what.contains(r#""x", "y""#), "{found:?}");
    }
    let other = r#"<primitive id="x" class="lsb" type="d"/>"#;
    let site = Site { resources: other, ..Site::default() };
    expect(&site, Hint, Kind::NoMonitor, &["\"x\""]);
}

#[test]
fn names_in_constraints_stand_for_something() {
    for (constraint, severity, kind, words) in [
        (
            r#"<rsc_location id="c" rsc="wep" node="beta" score="1"/>"#,
            Error,
            Kind::UnknownResource,
            "did you mean web?",
        ),
        (
            r#"<rsc_location id="c" rsc="web" node="betta" score="1"/>"#,
            Warning,
            Kind::UnknownNode,
            "did you mean beta?",
        ),
        (
            r#"<rsc_order id="c" first="zebra" then="web"/>"#,
            Error,
            Kind::UnknownResource,
            "@first: ",
        ),
        (r#"<rsc_ticket id="c" rsc="zebra" ticket="t"/>"#, Error, Kind::UnknownResource, "@rsc"),
        (
            r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="5" node-attribute="rack"/>"#,
            Warning,
            Kind::UnknownName,
            "\"rack\"",
        ),
        (
            r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="5" with-rsc-role="Promoted"/>"#,
            Warning,
            Kind::Role,
            "@with-rsc-role",
        ),
        (
            r#"<rsc_location id="c" rsc="web" role="Unpromoted" node="beta" score="5"/>"#,
            Warning,
            Kind::Role,
            "role Unpromoted",
        ),
        (
            r#"<rsc_order id="c" first="web" first-action="promote" then="db" then-action="start"/>"#,
            Warning,
            Kind::Role,
            "@first-action",
        ),
        (
            r#"<rsc_colocation id="c" rsc="web" with-rsc="web" score="5"/>"#,
            Warning,
            Kind::ColocationLoop,
            "with itself",
        ),
        (
            r#"<rsc_order id="c"><resource_set id="s"><resource_ref id="web"/></resource_set>
            </rsc_order>"#,
            Hint,
            Kind::SetSize,
            "\"web\"",
        ),
        (
            r#"<rsc_order id="c"><resource_set id="s"/></rsc_order>"#,
            Warning,
            Kind::SetSize,
            "no members",
        ),
        (
            r#"<rsc_order id="c"><resource_set id="s"><resource_ref id="web"/>
            <resource_ref id="dp"/></resource_set></rsc_order>"#,
            Error,
            Kind::UnknownResource,
            "resource_ref[@id='dp']",
        ),
        (
            r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="INFINTY"/>"#,
            Error,
            Kind::Value,
            "did you mean INFINITY?",
        ),
        (
            r#"<rsc_location id="c" rsc="web" node="beta" score="5"><rule id="r" score="1">
            <expression id="e" attribute="x" operation="defined"/></rule></rsc_location>"#,
            Warning,
            Kind::LocationScore,
            "rsc_location[@id='c']",
        ),
    ] {
        expect(&Site { constraints: constraint, ..Site::default() }, severity, kind, &[words]);
    }
    for fine in [
        r#"<rsc_order id="c" first="disks" first-action="promote" then="web" then-action="start"/>"#,
        r#"<rsc_colocation id="c" rsc="web" with-rsc="disks" with-rsc-role="Promoted" score="5"/>"#,
        r#"<rsc_location id="c" rsc="disk:0" node="BETA" score="1"/>"#,
    ] {
        is_clean(&Site { constraints: fine, ..Site::default() });
    }
}

#[test]
fn tags_and_templates_are_there() {
    let rest = r#"<tags><tag id="t"><obj_ref id="web"/><obj_ref id="beta"/><obj_ref id="wob"/></tag>
        </tags>"#;
    let site = Site { rest, ..Site::default() };
    expect(&site, Warning, Kind::UnknownResource, &["\"wob\"", "did you mean web?"]);
    let resources = r#"<template id="vm" class="ocf" type="VirtualDomain"><operations>
<op id="vm-m" name="monitor" interval="10s"/></operations></template>
<primitive id="vm1" template="vn"><operations><op id="vm1-m" name="monitor" interval="9s"/>
</operations></primitive>"#;
    let site = Site { resources, ..Site::default() };
    expect(&site, Error, Kind::UnknownResource, &["\"vn\"", "@template"]);
    is_clean(&Site { resources: &resources.replace("vn", "vm"), ..Site::default() });
}

#[test]
fn orders_do_not_go_in_circles() {
    let circle = |constraints: &str, resources: &str, words: &[&str]| {
        let site = Site { constraints, resources, ..Site::default() };
        expect(&site, Error, Kind::OrderLoop, words);
    };
    let group = format!("<group id=\"g\">{}{}</group>", primitive("m1", ""), primitive("m2", ""));
    circle(
        r#"<rsc_order id="o1" first="web" then="db"/><rsc_order id="o2" first="db" then="disks"/>
           <rsc_order id="o3" first="disks" then="web"/>"#,
        "",
        &["\"o1\", \"o2\", \"o3\"", "rsc_order[@id='o3']"],
    );
    circle(r#"<rsc_order id="o1" first="m2" then="m1"/>"#, &group, &["\"m1\"", "\"m2\""]);
    circle(
        r#"<rsc_order id="o1" first="g" then="web"/><rsc_order id="o2" first="web" then="m1"/>"#,
        &group,
        &["\"web\"", "\"o1\", \"o2\""],
    );
    circle(
        r#"<rsc_order id="o1"><resource_set id="s1"><resource_ref id="web"/></resource_set>
           <resource_set id="s2" sequential="false"><resource_ref id="db"/>
           <resource_ref id="disks"/></resource_set></rsc_order>
           <rsc_order id="o2" first="disks" then="web"/>"#,
        "",
        &["\"o1\", \"o2\""],
    );
    circle(
        r#"<rsc_order id="o1" first="disks" first-action="promote" then="web" then-action="start"/>
           <rsc_order id="o2" first="web" then="disks" then-action="start"/>"#,
        "",
        &["\"disks\"", "\"web\""],
    );
    for fine in [
        r#"<rsc_order id="o1" first="web" then="db"/>
           <rsc_order id="o2" first="db" then="web" kind="Optional"/>"#,
        r#"<rsc_order id="o1" first="web" then="db"/>
           <rsc_order id="o2" first="db" then="web" score="0"/>"#,
        r#"<rsc_order id="o1" first="web" first-action="stop" then="db" then-action="start"
             symmetrical="false"/>
           <rsc_order id="o2" first="db" first-action="stop" then="web" then-action="start"
             symmetrical="false"/>"#,
        r#"<rsc_order id="o1" first="disks" then="web" then-action="start"/>
           <rsc_order id="o2" first="web" then="disks" then-action="promote"/>"#,
        r#"<rsc_order id="o1" first="g" then="web"/><rsc_order id="o2" first="m1" then="m2"/>"#,
    ] {
        is_clean(&Site { constraints: fine, resources: &group, ..Site::default() });
    }
}

#[test]
fn colocations_do_not_contradict() {
    let together = |id: &str, rsc: &str, with: &str| {
        format!(r#"<rsc_colocation id="{id}" rsc="{rsc}" with-rsc="{with}" score="INFINITY"/>"#)
    };
    let apart = |rsc: &str, with: &str| together("apart", rsc, with).replace("INF", "-INF");
    let group = format!("<group id=\"g\">{}{}</group>", primitive("m1", ""), primitive("m2", ""));
    let one = primitive("x", "");
    for (constraints, words) in [
        (
            together("c1", "web", "db") + &apart("db", "web"),
            ["(\"c1\")", "\"web\" can run nowhere"],
        ),
        (
            together("c1", "x", "web") + &together("c2", "x", "db") + &apart("web", "db"),
            ["\"x\" must be with both", "\"c1\", \"c2\""],
        ),
        (
            together("c1", "x", "web") + &together("c2", "web", "db") + &apart("x", "db"),
            ["(\"c1\", \"c2\")", "\"x\" can run nowhere"],
        ),
        (together("c1", "web", "g") + &apart("web", "m1"), ["(\"c1\")", "\"web\" can run nowhere"]),
    ] {
        let resources = one.clone() + &group;
        let site = Site { constraints: &constraints, resources: &resources, ..Site::default() };
        expect(&site, Error, Kind::ColocationContradiction, &words);
    }
    let circle = together("c1", "web", "db") + &together("c2", "db", "web");
    let site = Site { constraints: &circle, ..Site::default() };
    expect(&site, Warning, Kind::ColocationLoop, &["\"db\", \"web\""]);
    let roles = r#"<rsc_colocation id="c1" rsc="web" with-rsc="disks" with-rsc-role="Promoted"
          score="INFINITY"/>
        <rsc_colocation id="c2" rsc="web" with-rsc="disks" with-rsc-role="Unpromoted"
          score="-INFINITY"/>"#;
    is_clean(&Site { constraints: roles, ..Site::default() });
    let fine = together("c1", "web", "x") + &together("c2", "db", "x").replace("INFINITY", "5");
    let fine = fine + &apart("web", "db");
    is_clean(&Site { constraints: &fine, resources: &one, ..Site::default() });
}

#[test]
fn resources_may_run_somewhere() {
    let ban = |id: &str, node: &str| {
        format!(r#"<rsc_location id="{id}" rsc="web" node="{node}" score="-INFINITY"/>"#)
    };
    let all = ban("l1", "alpha") + &ban("l2", "beta");
    let site = Site { constraints: &all, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"l1\", \"l2\"", "primitive[@id='web']"]);
    let rule = |expression: &str| {
        format!(
            r#"<rsc_location id="l" rsc="web"><rule id="r" score="-INFINITY">
<expression id="e" {expression}/></rule></rsc_location>"#
        )
    };
    let always = rule(r##"attribute="#uname" operation="defined""##);
    let site = Site { constraints: &always, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"l\""]);
    for fine in [
        rule(r##"attribute="#uname" operation="eq" value="beta""##),
        rule(r#"attribute="pingd" operation="not_defined""#),
        ban("l1", "alpha"),
    ] {
        is_clean(&Site { constraints: &fine, ..Site::default() });
    }
    let pair = ban("l1", "alpha")
        + &ban("l2", "beta").replace("\"web\"", "\"db\"")
        + r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="INFINITY"/>"#;
    let site = Site { constraints: &pair, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"web\" can run nowhere", "\"c\""]);
    is_clean(&Site { constraints: &pair.replace("INFINITY\"/>", "9\"/>"), ..Site::default() });
    let options = option("symmetric-cluster", "false");
    let allow =
        |rsc: &str| format!(r#"<rsc_location id="on-{rsc}" rsc="{rsc}" node="beta" score="0"/>"#);
    let most = allow("web") + &allow("disk");
    let site = Site { options: &options, constraints: &most, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"db\"", "symmetric-cluster"]);
    let both = r#"<rsc_location id="l1" rsc="web" node="beta" score="INFINITY"/>
        <rsc_location id="l2" rsc="web" node="beta" score="-INFINITY"/>"#;
    let site = Site { constraints: both, ..Site::default() };
    expect(&site, Error, Kind::LocationContradiction, &["\"l1\"", "\"l2\"", "\"beta\""]);
}

#[test]
fn rules_can_be_read_and_can_hold() {
    let rule = |inside: &str| {
        format!(
            r#"<rsc_location id="l" rsc="web"><rule id="r" score="5">{inside}</rule>
</rsc_location>"#
        )
    };
    let eq = |id: &str, value: &str| {
        format!(r#"<expression id="{id}" attribute="rack" operation="eq" value="{value}"/>"#)
    };
    for (inside, severity, kind, words) in [
        (
            r#"<date_expression id="d" operation="in_range" start="2030-01-01" end="2029-01-01"/>"#
                .to_owned(),
            Error,
            Kind::DateRange,
            "2029-01-01",
        ),
        (
            r#"<date_expression id="d" operation="gt" start="soon"/>"#.to_owned(),
            Error,
            Kind::Rule,
            "\"soon\"",
        ),
        (eq("e1", "1") + &eq("e2", "2"), Warning, Kind::RuleNeverHolds, "\"rack\""),
        (
            eq("e1", "1") + r#"<expression id="e2" attribute="rack" operation="not_defined"/>"#,
            Warning,
            Kind::RuleNeverHolds,
            "not to be there",
        ),
    ] {
        let constraints = rule(&inside);
        let site = Site { constraints: &constraints, ..Site::default() };
        expect(&site, severity, kind, &[words, "rule[@id='r']"]);
    }
    is_clean(&Site { constraints: &rule(&(eq("e1", "1") + &eq("e2", "1"))), ..Site::default() });
}

#[test]
fn fencing_can_do_its_work() {
    let level = |attributes: &str| {
        format!(r#"<fencing-topology><fencing-level id="f" {attributes}/></fencing-topology>"#)
    };
    let hosts = r#"<primitive id="plug" class="stonith" type="fence_apc"><instance_attributes
        id="plug-i"><nvpair id="plug-i-1" name="pcmk_host_list" value="alpha"/>
        </instance_attributes></primitive>"#;
    for (attributes, severity, words) in [
        (r#"target="beta" index="1" devices="powr""#, Error, "did you mean power?"),
        (r#"target="beta" index="1" devices="web""#, Error, "no fence device"),
        (r#"target="beta" index="10" devices="power""#, Error, "from 1 to 9"),
        (r#"target="gamma" index="1" devices="power""#, Warning, "\"gamma\""),
        (r#"target="beta" index="1" devices="plug""#, Warning, "pcmk_host_list"),
    ] {
        let rest = level(attributes);
        let site = Site { rest: &rest, resources: hosts, ..Site::default() };
        expect(&site, severity, Kind::FencingLevel, &[words, "fencing-level[@id='f']"]);
    }
    let rest = level(r#"target="alpha" index="1" devices="plug,power""#);
    is_clean(&Site { rest: &rest, resources: hosts, ..Site::default() });
    let text = Site::default().text().replace("stonith", "systemd");
    assert_eq!(findings(&text)[0].kind, Kind::NoFenceDevice);
    let options = option("stonith-enabled", "false") + &option("no-quorum-policy", "ignore");
    let site = Site { options: &options, ..Site::default() };
    expect(&site, Hint, Kind::FencingDisabled, &["\"web\", \"db\""]);
    expect(&site, Hint, Kind::NoQuorum, &["option-no-quorum-policy"]);
}

#[test]
fn numbers_nodes_and_capacities_fit() {
    let clone = |name: &str, value: &str| {
        format!(
            r#"<clone id="xs"><meta_attributes id="xs-m"><nvpair id="xs-m-0" name="clone-min"
value="2"/><nvpair id="xs-m-1" name="{name}" value="{value}"/></meta_attributes>{}</clone>"#,
            primitive("x", "")
        )
    };
    for (resources, severity, kind, words) in [
        (clone("clone-max", "0"), Warning, Kind::CloneLimit, "clone-max"),
        (clone("clone-max", "1"), Warning, Kind::CloneLimit, "clone-min"),
        (clone("clone-node-max", "0"), Warning, Kind::CloneLimit, "clone-node-max"),
        (
            format!("<group id=\"g\">{}</group>", primitive("x", "")),
            Hint,
            Kind::GroupOfOne,
            "\"g\"",
        ),
        ("<group id=\"g\"/>".to_owned(), Error, Kind::Lacking, "primitive is missing"),
        (primitive("web", "").replace("web-", "other-"), Error, Kind::DuplicateId, "\"web\""),
    ] {
        expect(&Site { resources: &resources, ..Site::default() }, severity, kind, &[words]);
    }
    let nodes = r#"<node id="3" uname="alpha"/>"#;
    let site = Site { nodes, ..Site::default() };
    expect(&site, Error, Kind::NodeTwice, &["\"alpha\"", "node[@id='3']"]);
    let nodes = r#"<node id="3" uname="far"/>"#;
    let far = primitive("far", "").replace("heartbeat", "pacemaker").replace("Delay", "remote");
    let site = Site { nodes, resources: &far, ..Site::default() };
    expect(&site, Warning, Kind::NodeTwice, &["remote node"]);
    let needs = |name: &str, amount: &str| {
        let inside = format!(
            r#"<utilization id="x-u"><nvpair id="x-u-1" name="{name}" value="{amount}"/>
</utilization>"#
        );
        primitive("x", &inside)
    };
    let options = option("placement-strategy", "balanced");
    let nodes = r#"<node id="3" uname="gamma"><utilization id="g-u">
        <nvpair id="g-u-1" name="ram" value="8"/></utilization></node>"#;
    for (resources, words) in [(needs("ram", "9"), "more than 8"), (needs("cpu", "1"), "no node")] {
        let site = Site { options: &options, nodes, resources: &resources, ..Site::default() };
        expect(&site, Warning, Kind::Utilization, &[words]);
    }
    let resources = needs("ram", "8");
    is_clean(&Site { options: &options, nodes, resources: &resources, ..Site::default() });
}

#[test]
fn findings_come_in_order_and_as_data() {
    let options = option("cluster-dely", "5") + &option("batch-limit", "few");
    let site = Site { options: &options, resources: &meta("prority", "1"), ..Site::default() };
    let all = site.findings();
    assert!(all.len() >= 3);
    assert!(all.is_sorted_by_key(|finding| finding.place.spot));
    let data = serde_json::to_value(&all[0]).expect("JSON");
    assert_eq!(data["severity"], "warning");
    assert_eq!(data["kind"], "unknown-name");
    assert_eq!(data["line"], 2);
    assert_eq!(data["remedy"], "did you mean cluster-delay?");
    for kind in FindingKind::ALL {
        assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
    }
}

#[test]
fn defaults_in_the_tables_are_allowed_values() {
    for table in [known::CLUSTER_OPTIONS, known::RESOURCE_META, known::OPERATION_ATTRIBUTES] {
        let names: BTreeSet<&str> = table.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), table.len());
        for one in table {
            let default = one.default.map(|default| one.values.check(default));
            assert!(default.is_none_or(|verdict| verdict.is_ok()), "{one:?}");
        }
    }
}

/// A large text is checked, and a bound on findings keeps them few.
#[test]
fn large_circles_and_cliques_end() {
    let mut resources = String::new();
    let mut constraints = String::new();
    let members: String = (0..2000).map(|i| format!("<resource_ref id=\"r{i}\"/>")).collect();
    for i in 0..2000 {
        resources.push_str(&primitive(&format!("r{i}"), ""));
        constraints.push_str(&format!(
            r#"<rsc_order id="o{i}" first="r{i}" then="r{}"/><rsc_colocation id="c{i}" rsc="r{i}"
 with-rsc="r{}" score="{}INFINITY"/><rsc_location id="l{i}" rsc="all" node="x{i}" score="-5"/>"#,
            (i + 1) % 2000,
            (i + 1) % 2000,
            if i % 2 == 0 { "-" } else { "" }
        ));
    }
    for i in 0..20 {
        constraints.push_str(&format!(
            r#"<rsc_order id="s{i}"><resource_set id="s{i}-1" sequential="false">{members}
</resource_set><resource_set id="s{i}-2" sequential="false">{members}</resource_set></rsc_order>"#
        ));
    }
    let rest = format!("<tags><tag id=\"all\">{}</tag></tags>", members.replace("source_ref", "x"));
    let rest = rest.replace("rex", "obj_ref");
    let site =
        Site { resources: &resources, constraints: &constraints, rest: &rest, ..Site::default() };
    let all = site.findings();
    let of_kind = |kind| all.iter().filter(|one| one.kind == kind).count();
    assert_eq!(of_kind(Kind::OrderLoop), 1);
    assert_eq!(of_kind(Kind::UnknownNode), 1000);
    assert_eq!(of_kind(Kind::More), 1);
}

/// Texts that a description can have changed at random places.
fn mutants() -> impl Strategy<Value = String> {
    let group = format!("<group id=\"g\">{}{}</group>", primitive("m1", ""), primitive("m2", ""));
    let text = Site {
        options: &(option("placement-strategy", "balanced") + &option("stonith-enabled", "true")),
        nodes: r#"<node id="3" uname="gamma"><utilization id="u"><nvpair id="u1" name="ram"
            value="8"/></utilization></node>"#,
        resources: &group,
        constraints: r#"<rsc_order id="o1" first="web" then="db"/>
            <rsc_order id="o2"><resource_set id="s1"><resource_ref id="web"/><resource_ref id="g"/>
            </resource_set></rsc_order>
            <rsc_colocation id="c1" rsc="web" with-rsc="g" score="INFINITY"/>
            <rsc_colocation id="c2" rsc="g" with-rsc="db" score="-INFINITY"/>
            <rsc_location id="l1" rsc="t"><rule id="r" score="-INFINITY"><expression id="e"
            attribute="site" operation="eq" value="x"/></rule></rsc_location>
            <rsc_ticket id="k" rsc="disks" ticket="t1"/>"#,
        rest: r#"<tags><tag id="t"><obj_ref id="web"/><obj_ref id="g"/></tag></tags>
            <fencing-topology><fencing-level id="f" target="alpha" index="1" devices="power"/>
            </fencing-topology>"#,
    }
    .text();
    let values: Vec<(usize, usize)> = {
        let quotes: Vec<usize> = text.match_indices('"').map(|(at, _)| at).collect();
        quotes.chunks_exact(2).map(|pair| (pair[0] + 1, pair[1])).collect()
    };
    let others: Vec<String> = values.iter().map(|(from, to)| text[*from..*to].to_owned()).collect();
    let odd = ["", "0", "-INFINITY", "INFINITY", "web:0", "é", "%1", "99999999999999999999", "g"];
    let values_of = others.into_iter().chain(odd.map(str::to_owned)).collect::<Vec<_>>();
    let change = (prop::sample::select(values), prop::sample::select(values_of));
    prop::collection::vec(change, 1..6).prop_map(move |mut changes| {
        let mut text = text.clone();
        changes.sort_by_key(|((from, _), _)| std::cmp::Reverse(*from));
        changes.dedup_by_key(|((from, _), _)| *from);
        for ((from, to), value) in changes {
            text.replace_range(from..to, &value);
        }
        text
    })
}

proptest! {
    #[test]
    fn no_value_makes_it_panic_and_the_same_text_has_the_same_findings(text in mutants()) {
        let first = findings(&text);
        prop_assert!(first.is_sorted_by_key(|one| one.place.spot));
        for (one, next) in first.iter().zip(first.iter().skip(1)) {
            prop_assert!(one != next, "twice: {}", one);
        }
        prop_assert_eq!(first, findings(&text));
    }
}

/// The CIBs of a folder, by name.
fn cibs(folder: &Path) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|ending| ending == "xml") {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            texts.insert(name, fs::read_to_string(&path).expect("text"));
        }
    }
    texts
}

/// How often what is said of many configurations that mostly work, and in how many of them: all of
/// it is true, and was looked at.
const ERRORS: &[(Kind, usize)] = &[(Kind::DuplicateOperation, 3), (Kind::Value, 2)];

#[test]
fn configurations_that_work_have_no_errors() {
    let texts = cibs(&Path::new(SHARED).join("cases"));
    if texts.is_empty() {
        println!("skipped configurations_that_work_have_no_errors: nothing in {SHARED}");
        return;
    }
    let mut errors: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut warned = 0;
    for text in texts.values() {
        let all = findings(text);
        for one in all.iter().filter(|one| one.severity == Error) {
            *errors.entry(one.kind).or_default() += 1;
            println!("{one}");
        }
        warned += usize::from(all.iter().any(|one| one.severity == Warning));
    }
    assert_eq!(errors, ERRORS.iter().copied().collect());
    println!("{warned} of {} have warnings", texts.len());
    assert!(warned * 5 < texts.len(), "{warned} of {} have warnings", texts.len());
}

#[test]
fn twenty_common_mistakes_are_told_and_the_clean_one_is_not() {
    let script = Path::new(SHARED).join("misconfig.py");
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new("python3").arg(&script).arg(folder.path()).status();
    if !script.exists() || !made.is_ok_and(|status| status.success()) {
        println!("skipped twenty_common_mistakes_are_told_and_the_clean_one_is_not: no {SHARED}");
        return;
    }
    let texts = cibs(folder.path());
    assert_eq!(texts.len(), 21);
    for (name, text) in texts {
        let all = findings(&text);
        let grave: Vec<&Finding> = all.iter().filter(|one| one.severity != Hint).collect();
        assert_eq!(grave.is_empty(), name.contains("clean"), "{name}: {all:?}");
        assert!(grave.iter().all(|one| !one.remedy.is_empty() && !one.place.path.is_empty()));
    }
}
