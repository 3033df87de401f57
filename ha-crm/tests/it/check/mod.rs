//! What is wrong with a description is told: each kind of it, and nothing of what is meant so.

mod constraints;
mod many;

use std::collections::BTreeSet;

use ha_crm::check::{Finding, FindingKind, Severity, check, known};
use ha_crm::cib::Cib;

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
<crm_config><cluster_property_set id="cib-bootstrap-options">{options}
</cluster_property_set></crm_config>
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
    let twice = option("cluster-name", "a") + &option("cluster-name", "b").replace("n-c", "n-d");
    let site = Site { options: &twice, ..Site::default() };
    expect(&site, Warning, Kind::SettingsContradict, &["given twice"]);
    let same = twice.replace("value=\"b\"", "value=\"a\"");
    expect(&Site { options: &same, ..site }, Hint, Kind::SettingsContradict, &["given twice"]);
}

#[test]
fn what_has_no_place_of_its_own_is_at_the_beginning() {
    let text = r#"<cib><configuration><crm_config/><nodes><node id="1" uname="alpha"/></nodes>
<resources><primitive id="x" class="lsb" type="d"/></resources></configuration></cib>"#;
    let all: Vec<String> = findings(text).iter().map(ToString::to_string).collect();
    assert!(
        all[0].starts_with("warning: line 1, column 1, crm_config: fencing-enabled"),
        "{all:?}"
    );
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
        (r#"name="monitor""#, Warning, Kind::NoMonitor, "no interval"),
        (r#"name="start" interval="5x""#, Error, Kind::Value, "\"5x\""),
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
