//! What is read of the status.

use ha_core::time::WallTime;
use proptest::prelude::*;

use super::super::*;
use super::{status, texts};

#[test]
fn a_node_state_has_booleans_or_times() {
    let (cib, notes) = status(
        r#"<node_state id="1" uname="n1" in_ccm="true" crmd="online" join="member"
               expected="member" crm-debug-origin="x"/>
           <node_state id="2" uname="n2" in_ccm="1700000000" crmd="0" join="down" expected="down"/>
           <node_state id="r" uname="r" remote_node="true" node_fenced="1" node_in_maintenance="0">
             <transient_attributes id="r"><instance_attributes id="s">
               <nvpair id="a" name="fail-count-db#monitor_10000" value="3"/></instance_attributes>
             </transient_attributes></node_state>
           <tickets><ticket_state id="T" granted="true" standby="false" last-granted="5" site="x"/>
           </tickets>"#,
    );
    assert_eq!(notes, Vec::<String>::new());
    let [first, second, remote] = cib.node_states.as_slice() else { panic!("three") };
    assert_eq!((first.in_ccm, first.crmd), (Some(Presence::Present), Some(Presence::Present)));
    assert_eq!((first.join, first.expected), (Some(JoinState::Member), Some(JoinState::Member)));
    let since = Presence::Since(WallTime::from_micros(1_700_000_000_000_000));
    assert_eq!((second.in_ccm, second.crmd), (Some(since), Some(Presence::Absent)));
    assert!(since.is_present());
    assert_eq!((remote.remote_node, remote.node_in_maintenance), (Some(true), Some(false)));
    assert_eq!(remote.attribute("fail-count-db#monitor_10000"), Some("3"));
    let ticket = &cib.ticket_states[0];
    assert_eq!((ticket.granted, ticket.standby), (Some(true), Some(false)));
    assert_eq!(ticket.last_granted, Some(WallTime::from_micros(5_000_000)));
    assert_eq!(ticket.others, [("site".into(), "x".into())]);
}

/// A node with one resource and this in its history.
fn history(operations: &str) -> (ResourceHistory, Vec<String>) {
    let (mut cib, notes) = status(&format!(
        r#"<node_state id="1" uname="n1"><lrm id="1"><lrm_resources><lrm_resource id="db:0"
          class="ocf" provider="x" type="y" container="c" shutdown-lock="7">{operations}
          </lrm_resource></lrm_resources></lrm></node_state>"#
    ));
    (cib.node_states.remove(0).resources.remove(0), notes)
}

#[test]
fn a_history_has_its_operations_in_the_order_of_the_text() {
    let (history, notes) = history(
        r#"<lrm_rsc_op id="db_last_0" operation_key="db_migrate_from_0" operation="migrate_from"
             crm-debug-origin="x" crm_feature_set="3.19.0" transition-key="12:34:0:u-u-i-d"
             transition-magic="4:1;12:34:0:u-u-i-d" exit-reason="no route" on_node="n1"
             call-id="20" rc-code="1" op-status="4" interval="0" last-rc-change="100" last-run="99"
             exec-time="30" queue-time="2" op-digest="d1" op-restart-digest="d2"
             op-force-restart="  a  b " op-secure-digest="d3" op-secure-params=" passwd "
             migrate_source="n2" migrate_target="n1"/>
           <lrm_rsc_op id="db_monitor_10000" operation="monitor" interval="10000" call-id="3"
             rc-code="193" op-status="-1" transition-key="1:2:u" exit-reason=""/>
           <lrm_rsc_op id="db_x" operation="stop" call-id="4" transition-magic="0:7;1:2:0:u"/>"#,
    );
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!((&*history.id, history.container.as_deref()), ("db:0", Some("c")));
    assert_eq!(history.shutdown_lock, Some(WallTime::from_micros(7_000_000)));
    let [first, second, third] = history.operations.as_slice() else { panic!("three") };
    assert_eq!(first.key.as_deref(), Some("db_migrate_from_0"));
    assert_eq!((first.call_id, first.rc_code), (Some(20), Some(1)));
    assert_eq!(first.status, Some(OperationStatus::Error));
    let key = first.transition.as_ref().expect("a key");
    assert_eq!((key.action, key.transition, key.target_rc), (12, 34, Some(0)));
    assert_eq!(&*key.uuid, "u-u-i-d");
    assert_eq!(first.exit_reason(), Some("no route"));
    assert_eq!((first.exec_time_ms, first.queue_time_ms), (Some(30), Some(2)));
    assert_eq!(first.last_run, Some(WallTime::from_micros(99_000_000)));
    let details = first.details.as_ref().expect("details");
    assert_eq!(details.force_restart.as_deref().map(texts), Some(vec!["a", "b"]));
    assert_eq!(details.secure_params.as_deref().map(texts), Some(vec!["passwd"]));
    assert_eq!(details.migrate_source.as_deref(), Some("n2"));
    assert_eq!((second.interval_ms, second.status), (10_000, Some(OperationStatus::Pending)));
    assert_eq!(second.transition.as_ref().and_then(|key| key.target_rc), None);
    assert_eq!(second.details, None);
    assert_eq!((third.rc_code, third.status), (Some(7), Some(OperationStatus::Done)));
    assert_eq!(third.transition.as_ref().and_then(|key| key.target_rc), Some(0));
}

#[test]
fn what_is_odd_in_a_history_is_told_of() {
    let (history, notes) = history(
        r#"<lrm_rsc_op id="a" operation="start" op-status="99" rc-code="x" transition-key="1:2:0:u"
            transition-magic="0:0;9:9:9:u" colour="red"/><lrm_rsc_op id="b"/><lrm_rsc_op/>"#,
    );
    assert_eq!(history.operations.len(), 1);
    // What the magic says stands in for what cannot be read.
    assert_eq!(history.operations[0].status, Some(OperationStatus::Done));
    for part in [
        "lrm_rsc_op[@id='a']/@op-status: cannot read \"99\"",
        "/@rc-code: cannot read \"x\"",
        "/@transition-magic: transition-magic and transition-key differ",
        "/@colour: no such attribute",
        "lrm_rsc_op[@id='b']: operation is missing",
        "lrm_rsc_op: id is missing",
    ] {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:#?}");
    }
    assert_eq!(notes.len(), 6);
}

/// Histories of two nodes, with what is noted, apart from comments, so that it is read in pieces.
const PIECEWISE: &str = r#"<?xml version="1.0"?>
<cib have-quorum="1">
  <configuration><resources><primitive id="db" class="ocf" type="x" odd="1"/></resources>
  </configuration>
  <status>
    <node_state id="1" uname="n1" in_ccm="trux"><lrm id="1"><lrm_resources>
      <lrm_resource id="db" class="ocf" type="y"><lrm_rsc_op id="o" operation="start"
        call-id="5" rc-code="0" op-status="0" strange="&lt;x&gt;"/></lrm_resource>
    </lrm_resources></lrm></node_state>
    <node_state id="3" uname="n3"/>
    <node_state id="2" uname="n2 &amp; more"><transient_attributes id="2">
      <instance_attributes id="i"><nvpair id="p" name="a" value="b"/></instance_attributes>
    </transient_attributes><unknown/></node_state>
    <tickets><ticket_state id="T" granted="true"/></tickets>
  </status>
  <more/>
</cib>"#;

proptest! {
    #[test]
    fn read_in_pieces_it_is_the_same_cib_with_the_same_notes(
        cuts in prop::collection::vec((0..PIECEWISE.len(), 0..40_usize), 0..3),
        doubled in prop::option::of((0..PIECEWISE.len(), 0..400_usize)),
    ) {
        let mut text = PIECEWISE.to_owned();
        if let Some((from, length)) = doubled {
            let end = (from + length).min(text.len());
            let part = text[from..end].to_owned();
            text.insert_str(end, &part);
        }
        for (from, length) in cuts {
            let end = (from + length).min(text.len());
            text.replace_range(from.min(end)..end, "");
        }
        // With a comment behind its end it is read as a whole.
        let whole = Cib::parse(&format!("{text}<!-- -->"));
        prop_assert_eq!(Cib::parse(&text).ok(), whole.ok(), "{}", text);
    }
}

#[test]
fn a_whole_status_is_read_in_pieces() {
    let pieces = pieces::Pieces::cut(PIECEWISE).expect("pieces");
    assert_eq!(pieces.elements.len(), 2);
    assert!(!pieces.rest.contains("lrm_rsc_op"));
    let (cib, notes) = Cib::parse(PIECEWISE).unwrap();
    assert_eq!(cib.node_states.len(), 3);
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    let place = "status/node_state[@id='1']/lrm[@id='1']/lrm_resources/lrm_resource[@id='db']/\
                 lrm_rsc_op[@id='o']/@strange: ";
    assert!(notes.iter().any(|note| note.starts_with("line 7, ") && note.contains(place)));
}
