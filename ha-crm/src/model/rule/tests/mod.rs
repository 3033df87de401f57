//! Rules against tables: what the documentation says, and what Pacemaker 2.1.5 was seen to do.

mod attributes;
mod dates;
mod reading;

use std::collections::BTreeMap;

use ha_core::time::WallTime;

use super::{Condition, Facts, Join, Moment, Rule};

/// A time that is written as a date.
fn wall(text: &str) -> WallTime {
    text.parse::<Moment>().unwrap().start()
}

fn moment(text: &str) -> Moment {
    text.parse().unwrap()
}

fn condition(json: &str) -> Condition {
    serde_json::from_str(json).unwrap()
}

fn rule(join: Join, conditions: &[&str]) -> Rule {
    Rule::new(join, conditions.iter().map(|json| condition(json)).collect())
}

const YES: &str = r#"{"attribute": {"attribute": "a", "operation": "defined"}}"#;
const NO: &str = r#"{"attribute": {"attribute": "a", "operation": "not-defined"}}"#;

#[test]
fn conditions_are_joined_as_the_join_says() {
    let node = BTreeMap::from([("a", "1")]);
    let facts = Facts::at(WallTime::from_micros(0)).node(&node);
    let table: [(&[&str], bool, bool); 6] = [
        (&[], true, false),
        (&[YES], true, true),
        (&[NO], false, false),
        (&[YES, NO], false, true),
        (&[YES, YES], true, true),
        (&[NO, NO], false, false),
    ];
    for (conditions, all, any) in table {
        assert_eq!(rule(Join::All, conditions).holds(&facts), all, "{conditions:?}");
        assert_eq!(rule(Join::Any, conditions).holds(&facts), any, "{conditions:?}");
    }
}

#[test]
fn why_names_the_condition_that_decided() {
    let node = BTreeMap::from([("a", "1")]);
    let facts = Facts::at(wall("2024-02-29")).node(&node);
    let why = |join, conditions: &[&str]| rule(join, conditions).why(&facts);
    assert_eq!(
        why(Join::All, &[YES, NO]),
        "does not hold: attribute \"a\" not_defined (it is \"1\")"
    );
    assert_eq!(why(Join::Any, &[NO, YES]), "holds: attribute \"a\" defined (it is \"1\")");
    assert_eq!(why(Join::All, &[]), "holds: it has no conditions");
    assert!(why(Join::All, &[YES, YES]).starts_with("holds: all 2 conditions hold, the first:"));
    assert!(why(Join::Any, &[NO, NO]).starts_with("does not hold: none of 2 conditions holds"));
    assert_eq!(
        why(Join::All, &[r#"{"date": {"after": "2024-03-01"}}"#]),
        "does not hold: date after 2024-03-01T00:00:00Z (it is 2024-02-29T00:00:00Z)"
    );
    assert_eq!(
        why(Join::All, &[r#"{"operation": {"name": "monitor"}}"#]),
        "does not hold: operation \"monitor\" (no operation is known)"
    );
    let inner = format!(r#"{{"rule": {{"id": "in", "conditions": [{NO}]}}}}"#);
    assert_eq!(
        why(Join::All, &[&inner]),
        "does not hold: rule \"in\": attribute \"a\" not_defined (it is \"1\")"
    );
}

#[test]
fn why_stays_one_short_line_whatever_the_names_are() {
    let long = "x\n".repeat(1000);
    let node = BTreeMap::from([("a", long.as_str())]);
    let facts = Facts::at(WallTime::from_micros(0)).node(&node);
    let why = rule(Join::All, &[YES]).why(&facts);
    assert!(why.len() < 300 && !why.contains('\n'), "{why}");
}

#[test]
fn operations_match_by_name_and_interval() {
    use std::time::Duration;
    let any = condition(r#"{"operation": {"name": "monitor"}}"#);
    let ten = condition(r#"{"operation": {"name": "monitor", "interval": "10s"}}"#);
    let judge = |name, seconds| {
        let facts =
            Facts::at(WallTime::from_micros(0)).operation(name, Duration::from_secs(seconds));
        (any.holds(&facts), ten.holds(&facts))
    };
    assert_eq!(judge("monitor", 10), (true, true));
    assert_eq!(judge("monitor", 0), (true, false));
    assert_eq!(judge("start", 10), (false, false));
    assert!(!any.holds(&Facts::at(WallTime::from_micros(0))));
}

#[test]
fn resources_match_by_the_parts_of_the_agent_that_are_given() {
    let judge = |json: &str, (class, provider, kind)| {
        let facts = Facts::at(WallTime::from_micros(0)).agent(class, provider, kind);
        condition(&format!(r#"{{"resource": {json}}}"#)).holds(&facts)
    };
    let address = ("ocf", Some("heartbeat"), "IPaddr2");
    let unit = ("systemd", None, "nginx");
    for (json, for_address, for_unit) in [
        ("{}", true, true),
        (r#"{"class": "ocf"}"#, true, false),
        (r#"{"provider": "heartbeat"}"#, true, false),
        (r#"{"class": "systemd", "type": "nginx"}"#, false, true),
        (r#"{"class": "ocf", "provider": "heartbeat", "type": "IPaddr2"}"#, true, false),
        (r#"{"class": "ocf", "provider": "pacemaker", "type": "IPaddr2"}"#, false, false),
    ] {
        assert_eq!(judge(json, address), for_address, "{json}");
        assert_eq!(judge(json, unit), for_unit, "{json}");
    }
    assert!(!condition(r#"{"resource": {}}"#).holds(&Facts::at(WallTime::from_micros(0))));
}

#[test]
fn a_configuration_comes_back_as_it_was_written() {
    let text = [
        r#"{"id":"r","join":"any","conditions":["#,
        r#"{"attribute":{"attribute":"a","operation":"gte","value":"1.2","type":"version"}},"#,
        r#"{"attribute":{"attribute":"b","operation":"eq","value":"rack","value-source":"meta"}},"#,
        r#"{"date":{"in-range":{"start":"2024-02-29T00:00:00Z","duration":{"months":1}}}},"#,
        r#"{"date":{"spec":{"hours":"9-16","weekdays":"-5"}}},"#,
        r#"{"operation":{"name":"monitor","interval":"10s"}},"#,
        r#"{"resource":{"class":"ocf","type":"Dummy"}},"#,
        r#"{"rule":{"join":"all","conditions":[]}}]}"#,
    ]
    .concat();
    let rule: Rule = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&rule).unwrap(), text);
}

#[test]
fn a_wrong_configuration_is_refused_with_what_is_allowed() {
    for (json, part) in [
        (r#"{"attribute": {"attribute": "a", "operation": "lt"}}"#, "needs a value"),
        (r#"{"attribute": {"attribute": "a", "operation": "like", "value": "x"}}"#, "`defined`"),
        (r#"{"attribute": {"attribute": "a", "operation": "defined", "vlaue": "x"}}"#, "`value`"),
        (r#"{"date": {"after": "2023-02-29"}}"#, "2005-06-01"),
        (r#"{"date": {"in-range": {}}}"#, "start, end or both"),
        (r#"{"date": {"spec": {"hours": "24"}}}"#, "0 to 23"),
        (r#"{"date": {"spec": {"hours": "9-5"}}}"#, "0 to 23"),
        (r#"{"date": {"spec": {"hours": "9,5"}}}"#, "5, 1-5, -5 or 5-"),
        (r#"{"date": {"spec": {"hour": "9"}}}"#, "`hours`"),
        (r#"{"operation": {"name": "monitor", "interval": "10x"}}"#, "ms, s, min or h"),
        (r#"{"dates": {}}"#, "`date`"),
    ] {
        let error = serde_json::from_str::<Condition>(json).unwrap_err().to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
}
