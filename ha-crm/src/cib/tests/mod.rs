//! What is read of small descriptions.

use std::sync::Arc;
use std::time::Duration;

use ha_core::role::Role;
use ha_core::time::WallTime;

mod forms;
mod hostile;
mod status;

use super::*;
use crate::model::Score;

fn read(text: &str) -> (Cib, Vec<String>) {
    let (cib, notes) = Cib::parse(text).expect("a CIB");
    (cib, notes.iter().map(ToString::to_string).collect())
}

/// A CIB with these sections in its configuration.
fn configured(sections: &str) -> (Cib, Vec<String>) {
    read(&format!("<cib><configuration>\n{sections}\n</configuration></cib>"))
}

/// The same, where nothing may be wrong.
fn clean(sections: &str) -> Cib {
    let (cib, notes) = configured(sections);
    assert_eq!(notes, Vec::<String>::new());
    cib
}

fn status(sections: &str) -> (Cib, Vec<String>) {
    read(&format!("<cib><configuration/><status>{sections}</status></cib>"))
}

fn texts(names: &[Arc<str>]) -> Vec<&str> {
    names.iter().map(|name| &**name).collect()
}

#[test]
fn the_root_has_its_types() {
    let (cib, notes) = read(
        r#"<cib validate-with="pacemaker-3.9" crm_feature_set="3.19.0" admin_epoch="1" epoch="20"
             num_updates="3" have-quorum="true" dc-uuid="2" no-quorum-panic="0"
             execution-date="1700000000" cib-last-written="Mon Jan  1 00:00:00 2024"
             update-origin="n1" update-client="cibadmin"
               update-user="root"><configuration/></cib>"#,
    );
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(cib.validate_with.as_deref(), Some("pacemaker-3.9"));
    assert_eq!(cib.feature_set.as_deref(), Some("3.19.0"));
    assert_eq!((cib.admin_epoch, cib.epoch, cib.num_updates), (Some(1), Some(20), Some(3)));
    assert_eq!((cib.have_quorum, cib.no_quorum_panic), (Some(true), Some(false)));
    assert_eq!(cib.execution_date, Some(WallTime::from_micros(1_700_000_000_000_000)));
    assert_eq!(cib.last_written.as_deref(), Some("Mon Jan  1 00:00:00 2024"));
    assert_eq!(cib.dc_uuid.as_deref(), Some("2"));
}

#[test]
fn sets_have_their_pairs_scores_and_rules() {
    let cib = clean(
        r##"<crm_config>
             <cluster_property_set id="night" score="10">
               <rule id="r" boolean-op="and"><date_expression id="d" operation="date_spec">
                 <date_spec id="s" hours="0-6"/></date_expression></rule>
               <nvpair id="a" name="stonith-enabled" value="yes"/>
               <nvpair id="b" name="batch-limit" value="5"/>
             </cluster_property_set>
           </crm_config>
           <rsc_defaults><meta_attributes id="rd">
             <rule id="r2"><expression id="e" attribute="#uname" operation="eq" value="n1"/></rule>
             <nvpair id="c" name="resource-stickiness" value="100"/>
               </meta_attributes></rsc_defaults>
           <op_defaults><meta_attributes id="od">
             <nvpair id="d" name="timeout" value="PT1M"/></meta_attributes></op_defaults>"##,
    );
    let set = &cib.options[0];
    assert_eq!(set.score, Some(Score::new(10)));
    assert_eq!(set.get("stonith-enabled"), Some("yes"));
    assert_eq!(set.get("fencing-enabled"), None); // names are kept as they are written
    assert_eq!(set.pairs[0].read_as::<bool>(), Some(true));
    assert_eq!(set.pairs[1].read_as::<u32>(), Some(5));
    let rule = &set.rules[0];
    assert_eq!((&*rule.name, rule.attribute("boolean-op")), ("rule", Some("and")));
    let spec = &rule.children[0].children[0];
    assert_eq!((&*spec.name, spec.attribute("hours")), ("date_spec", Some("0-6")));
    assert_eq!(
        &*spec.place.path,
        "crm_config/cluster_property_set[@id='night']/rule[@id='r']/date_expression[@id='d']/\
         date_spec[@id='s']"
    );
    assert_eq!(
        set.place_of(&set.pairs[0]).to_string(),
        "line 6, column 16, crm_config/cluster_property_set[@id='night']/nvpair[@id='a']"
    );
    assert_eq!(cib.resource_defaults[0].get("resource-stickiness"), Some("100"));
    assert_eq!(cib.resource_defaults[0].rules.len(), 1);
    assert_eq!(cib.operation_defaults[0].pairs[0].read_as(), Some(Duration::from_mins(1)));
}

#[test]
fn nodes_have_a_kind_attributes_and_utilization() {
    let cib = clean(
        r#"<nodes>
             <node id="1" uname="n1" type="normal" score="5">
               <instance_attributes id="a"><nvpair id="x" name="standby" value="on"/>
                 </instance_attributes>
               <utilization id="u"><nvpair id="y" name="cpu" value="8"/></utilization></node>
             <node id="2" uname="n2" type="remote"/></nodes>"#,
    );
    assert_eq!(cib.nodes[0].kind, Some(NodeKind::Member));
    assert_eq!(cib.nodes[0].score, Some(Score::new(5)));
    assert_eq!(cib.nodes[0].attributes[0].get("standby"), Some("on"));
    assert_eq!(cib.nodes[0].utilization[0].get("cpu"), Some("8"));
    assert_eq!(cib.nodes[1].kind, Some(NodeKind::Remote));
}

#[test]
fn resources_of_every_kind_are_read() {
    let cib = clean(
        r#"<resources>
             <template id="t" class="ocf" provider="heartbeat" type="Xen"/>
             <primitive id="vm" template="t" description="not kept"/>
             <group id="g"><primitive id="a" class="systemd" type="x"/>
                           <primitive id="b" class="lsb" type="y"/>
               <meta_attributes id="gm"><nvpair id="gp" name="target-role" value="Stopped"/>
               </meta_attributes></group>
             <clone id="c"><primitive id="p" class="ocf" provider="pacemaker" type="ping"/></clone>
             <master id="m"><group id="g2"><primitive id="d" class="ocf" provider="l" type="drbd"/>
               </group></master>
           </resources>"#,
    );
    let ids: Vec<&str> = cib.resources.iter().map(|resource| &**resource.id()).collect();
    assert_eq!(ids, ["vm", "g", "c", "m"]);
    let all: Vec<&str> =
        cib.resources.iter().flat_map(CibResource::primitives).map(|inner| &*inner.id).collect();
    assert_eq!(all, ["vm", "a", "b", "p", "d"]);
    assert_eq!(cib.templates[0].kind.as_deref(), Some("Xen"));
    let CibResource::Primitive(vm) = &cib.resources[0] else { panic!("a primitive") };
    assert_eq!((vm.template.as_deref(), vm.class.as_deref()), (Some("t"), None));
    let CibResource::Clone(clone) = &cib.resources[2] else { panic!("a clone") };
    assert!(!clone.is_master);
    let CibResource::Clone(master) = &cib.resources[3] else { panic!("a master") };
    assert!(master.is_master);
    assert!(matches!(&master.inner, Some(Cloned::Group(group)) if &*group.id == "g2"));
}

#[test]
fn operations_have_their_types() {
    let cib = clean(
        r#"<resources><primitive id="db" class="ocf" provider="x" type="y"><operations id="ops">
             <op id="o" name="monitor" interval="1min" timeout="500ms" on-fail="restart-container"
                 role="Master" enabled="no" record-pending="true" start-delay="5"
                 interval-origin="2024-01-01" requires="unfencing">
               <instance_attributes id="oi"><nvpair id="d" name="depth" value="10"/>
                 </instance_attributes>
               <meta_attributes id="om"><nvpair id="e" name="timeout" value="9s"/></meta_attributes>
             </op></operations></primitive></resources>"#,
    );
    let primitive = cib.resources[0].primitives().next().expect("one");
    let operation = &primitive.operations[0].operations[0];
    assert_eq!(&*operation.name, "monitor");
    assert_eq!(operation.interval, Some(Duration::from_mins(1)));
    assert_eq!(operation.timeout, Some(Duration::from_millis(500)));
    assert_eq!(operation.on_fail, Some(OnFail::RestartContainer));
    assert_eq!(operation.role, Some(Role::Promoted));
    assert_eq!((operation.enabled, operation.record_pending), (Some(false), Some(true)));
    assert_eq!(operation.start_delay, Some(Duration::from_secs(5)));
    assert_eq!(operation.interval_origin.as_deref(), Some("2024-01-01"));
    assert_eq!(operation.requires, Some(Requires::Unfencing));
    assert_eq!(operation.instance[0].get("depth"), Some("10"));
    assert_eq!(operation.meta[0].get("timeout"), Some("9s"));
}

#[test]
fn a_bundle_has_container_network_storage_and_a_primitive() {
    let cib = clean(
        r#"<resources><bundle id="web">
             <docker image="img" replicas="3" replicas-per-host="2" masters="1" network="host"
                     run-command="/sbin/init" options="--log=x"/>
             <network ip-range-start="192.0.2.1" control-port="9999" host-interface="eth0"
                      host-netmask="24" add-host="false">
               <port-mapping id="p1" port="80" internal-port="8080"/>
               <port-mapping id="p2" range="8000-8010"/></network>
             <storage><storage-mapping id="s1" source-dir="/srv" target-dir="/var/www"
               options="rw"/>
               <storage-mapping id="s2" source-dir-root="/log" target-dir="/var/log"/></storage>
             <primitive id="apache" class="ocf" provider="heartbeat" type="apache"/>
           </bundle></resources>"#,
    );
    let CibResource::Bundle(bundle) = &cib.resources[0] else { panic!("a bundle") };
    let container = bundle.container.as_ref().expect("a container");
    assert_eq!(container.engine, Engine::Docker);
    assert_eq!(
        (container.replicas, container.replicas_per_host, container.promoted_max),
        (Some(3), Some(2), Some(1))
    );
    let network = bundle.network.as_ref().expect("a network");
    assert_eq!(network.control_port, Some(9999));
    assert_eq!((network.host_netmask, network.add_host), (Some(24), Some(false)));
    assert_eq!(network.ports[0].internal_port, Some(8080));
    assert_eq!(network.ports[1].range.as_deref(), Some("8000-8010"));
    assert_eq!(bundle.storage[1].source_dir_root.as_deref(), Some("/log"));
    assert_eq!(bundle.primitive.as_ref().map(|inner| &*inner.id), Some("apache"));
}

#[test]
fn constraints_of_every_kind_are_read() {
    let cib = clean(
        r#"<constraints>
             <rsc_location id="l1" rsc="a" node="n1" score="-INFINITY" role="Slave"
                           resource-discovery="never"/>
             <rsc_location id="l2" rsc-pattern="!^vm"><rule id="r" role="Master"
                score-attribute="pingd" boolean-op="or">
                <expression id="e" attribute="pingd" operation="defined"/></rule></rsc_location>
             <rsc_colocation id="c" rsc="a" with-rsc="b" rsc-role="Started" with-rsc-role="Promoted"
                             score="INFINITY" node-attribute="site" influence="false"/>
             <rsc_colocation id="c2" score="5"><resource_set id="s" sequential="false"
                 role="Promoted" score="7" ordering="listed"><resource_ref id="a"/>
                 <resource_ref id="b"/></resource_set></rsc_colocation>
             <rsc_order id="o" first="a" then="b" first-action="promote" then-action="start"
                        kind="Serialize" symmetrical="false" require-all="no"/>
             <rsc_order id="o2" score="0"><resource_set id="s2" action="stop" require-all="false">
                 <resource_ref id="a"/></resource_set></rsc_order>
             <rsc_ticket id="t" rsc="a" rsc-role="Master" ticket="T" loss-policy="freeze"/>
           </constraints>"#,
    );
    assert_eq!(
        cib.constraints.iter().map(|constraint| &**constraint.id()).collect::<Vec<_>>(),
        ["l1", "l2", "c", "c2", "o", "o2", "t"]
    );
    let [
        CibConstraint::Location(plain),
        CibConstraint::Location(ruled),
        CibConstraint::Colocation(pair),
        CibConstraint::Colocation(sets),
        CibConstraint::Order(order),
        CibConstraint::Order(set_order),
        CibConstraint::Ticket(ticket),
    ] = cib.constraints.as_slice()
    else {
        panic!("in their order")
    };
    assert_eq!((plain.score, plain.role), (Some(Score::NEVER), Some(Role::Unpromoted)));
    assert_eq!(plain.discovery, Some(Discovery::Never));
    let pattern = ruled.pattern.as_ref().expect("a pattern");
    assert_eq!((&*pattern.expression, pattern.negated), ("^vm", true));
    assert_eq!(ruled.rules[0].role, Some(Role::Promoted));
    assert_eq!(ruled.rules[0].score_attribute.as_deref(), Some("pingd"));
    assert_eq!(ruled.rules[0].rule.children.len(), 1);
    assert_eq!((pair.rsc_role, pair.with_rsc_role), (Some(Role::Started), Some(Role::Promoted)));
    assert_eq!((pair.node_attribute.as_deref(), pair.influence), (Some("site"), Some(false)));
    let set = &sets.sets[0];
    assert_eq!(texts(&set.members), ["a", "b"]);
    assert_eq!((set.sequential, set.score), (Some(false), Some(Score::new(7))));
    assert_eq!((set.role, set.ordering), (Some(Role::Promoted), Some(SetOrdering::Listed)));
    assert_eq!(order.first_action, Some(OrderAction::Promote));
    assert_eq!((order.kind, order.symmetrical), (Some(OrderKind::Serialize), Some(false)));
    assert_eq!(order.require_all, Some(false));
    assert_eq!(set_order.score, Some(Score::ZERO));
    assert_eq!(set_order.sets[0].action, Some(OrderAction::Stop));
    assert_eq!(ticket.loss_policy, Some(LossPolicy::Freeze));
    assert_eq!(ticket.rsc_role, Some(Role::Promoted));
}

#[test]
fn tags_and_fencing_levels_are_read_and_alerts_and_acls_are_told_of() {
    let (cib, notes) = configured(
        r#"<tags><tag id="t"><obj_ref id="a"/><obj_ref id="b"/></tag></tags>
<fencing-topology><fencing-level id="1" target="n1" index="2" devices="f1, f2"/>
  <fencing-level id="2" target-pattern="n.*" index="1" devices="f1"/>
  <fencing-level id="3" target-attribute="rack" target-value="7" index="1" devices="f1"/>
  <fencing-level id="4" index="1" devices="f1"/></fencing-topology>
<alerts><alert id="x" path="/bin/true"/></alerts><acls/>"#,
    );
    assert_eq!(texts(&cib.tags[0].references), ["a", "b"]);
    let [node, pattern, attribute] = cib.fencing_levels.as_slice() else { panic!("three") };
    assert_eq!(node.target, FencingTarget::Node("n1".into()));
    assert_eq!((node.index, texts(&node.devices)), (Some(2), vec!["f1", "f2"]));
    assert_eq!(pattern.target, FencingTarget::Pattern("n.*".into()));
    assert_eq!(
        attribute.target,
        FencingTarget::Attribute { name: "rack".into(), value: "7".into() }
    );
    assert_eq!(notes.len(), 2);
    assert!(notes[0].contains("fencing-level[@id='4']: target, target-pattern"), "{notes:?}");
    assert!(notes[1].contains("alerts: it has no effect"), "{notes:?}");
}

#[test]
fn references_are_followed_and_shared() {
    let cib = clean(
        r#"<resources>
             <primitive id="a" class="ocf" provider="x" type="y">
               <operations id="ops"><op id="m" name="monitor" interval="10s"/></operations>
               <instance_attributes id="ia"><nvpair id="ip" name="ip" value="192.0.2.1"/>
                 </instance_attributes>
             </primitive>
             <primitive id="b" class="ocf" provider="x" type="y">
               <operations id-ref="ops"/><instance_attributes id-ref="ia"/></primitive>
             <primitive id="c" class="ocf" provider="x" type="y">
               <instance_attributes id="ic"><nvpair id-ref="ip" name="address"/>
                 </instance_attributes>
             </primitive></resources>
           <constraints>
             <rsc_location id="l1" rsc="a"><rule id="r" score="5"><expression id="e"
                attribute="x" operation="defined"/></rule></rsc_location>
             <rsc_location id="l2" rsc="b"><rule id-ref="r"/></rsc_location></constraints>"#,
    );
    let all: Vec<&Primitive> = cib.resources.iter().flat_map(CibResource::primitives).collect();
    assert_eq!(all[0].operations, all[1].operations);
    assert_eq!(all[0].instance, all[1].instance);
    assert_eq!(all[2].instance[0].get("address"), Some("192.0.2.1"));
    let [CibConstraint::Location(first), CibConstraint::Location(second)] =
        cib.constraints.as_slice()
    else {
        panic!("two locations")
    };
    assert_eq!(first.rules, second.rules);
    assert_eq!(second.rules[0].score, Some(Score::new(5)));
}

#[test]
fn references_to_nothing_or_in_a_circle_are_told_of_and_left_out() {
    let (cib, notes) = configured(
        r#"<rsc_defaults><meta_attributes id-ref="none"/></rsc_defaults>
<constraints><rsc_location id="l" rsc="a">
  <rule id="r" score="1"><rule id-ref="r"/></rule></rsc_location></constraints>"#,
    );
    assert!(cib.resource_defaults.is_empty());
    let CibConstraint::Location(location) = &cib.constraints[0] else { panic!("a location") };
    // Once around, then it ends.
    assert_eq!(location.rules[0].rule.children[0].children.len(), 0);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("/@id-ref: cannot follow id-ref \"none\""), "{notes:?}");
}
