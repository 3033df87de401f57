//! Answers as a real HAProxy took them, and hostile ones.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::health::agent::AgentState;

/// What HAProxy 2.6 made of 54 answers, each on a server of weight 10 and maxconn 100.
fn recorded() -> Vec<Value> {
    let text = include_str!("../../../../testdata/haproxy-agent.json");
    let recorded: Value = serde_json::from_str(text).expect("well formed");
    recorded["answers"].as_array().expect("a list").clone()
}

/// Our state after these answers, in the words of HAProxy's statistics.
fn outcome(answers: &[&str]) -> (String, u16, String) {
    let mut state = AgentState::default();
    for answer in answers {
        if let Ok(report) = AgentReport::read(answer.as_bytes()) {
            state.apply(&report);
        }
    }
    let listed = Weight::new(10).expect("in range");
    let weight = state.weight().map_or(listed, |weight| weight.of(listed)).get();
    let limit = match state.max_connections() {
        None => "100".to_owned(),
        Some(0) => String::new(),
        Some(limit) => limit.to_string(),
    };
    let status = match (state.admin(), state.is_down()) {
        (Admin::Maintenance, _) => "MAINT",
        (Admin::Ready | Admin::Drain, true) => "DOWN (agent)",
        (Admin::Drain, false) => "DRAIN (agent)",
        (Admin::Ready, false) => "no check",
    };
    (status.to_owned(), weight, limit)
}

#[test]
fn every_recorded_answer_is_taken_as_haproxy_takes_it() {
    let recorded = recorded();
    assert_eq!(recorded.len(), 54);
    for case in recorded {
        let text = |key: &str| case[key].as_str().expect("text").to_owned();
        let weight =
            |value: &Value| u16::try_from(value.as_u64().expect("a number")).expect("small");
        let answer = text("answer");
        let expected = (text("status"), weight(&case["weight"]), text("maxconn"));
        assert_eq!(outcome(&[&answer]), expected, "{answer:?}");
        // And what is left of it when the agent then says "up".
        let then = &case["then_up"];
        let expected = (then["status"].as_str().expect("text").to_owned(), weight(&then["weight"]));
        let (status, weight, _) = outcome(&[&answer, "up\n"]);
        assert_eq!((status, weight), expected, "{answer:?}, then up");
    }
}

#[test]
fn later_words_of_haproxy_are_understood() {
    let weight = |line: &str| AgentReport::read(line.as_bytes()).expect("a line").weight();
    let absolute = |number| Some(AgentWeight::Absolute(Weight::new(number).expect("in range")));
    assert_eq!(weight("weight:30%\n"), Some(AgentWeight::Percent(30)));
    assert_eq!(weight("weight:30\n"), absolute(30));
    assert_eq!(weight("Weight:256\n"), absolute(256));
    for wrong in ["weight:257\n", "weight:\n", "weight:-1\n", "weight:%\n", "%\n", "30\n"] {
        assert_eq!(weight(wrong), None, "{wrong:?}");
    }
    assert_eq!(weight("99999999999%\n"), Some(AgentWeight::Percent(u16::MAX)));
}

#[test]
fn reasons_are_kept_and_bounded() {
    let reason =
        |line: &str| AgentReport::read(line.as_bytes()).expect("a line").reason().to_owned();
    assert_eq!(reason("down # disk full\r\n"), "disk full");
    assert_eq!(reason("down #disk\x07full\n"), "disk full");
    assert_eq!(reason("up garbage more\n"), "garbage");
    assert_eq!(reason(&format!("down # {}\n", "x".repeat(5_000))).len(), 200);
    assert_eq!(AgentReport::read(b""), Err(Unread::Empty));
    assert_eq!(AgentReport::read(b"up"), Err(Unread::Incomplete));
}

#[test]
fn a_weight_is_a_part_of_the_list_s() {
    let weight = |number| Weight::new(number).expect("in range");
    for (reported, listed, expected, parts) in [
        (AgentWeight::Percent(50), 10, 5, 128),
        (AgentWeight::Percent(50), 1, 0, 128),
        (AgentWeight::Percent(300), 100, 256, 256),
        (AgentWeight::Percent(u16::MAX), 256, 256, 256),
        (AgentWeight::Absolute(weight(30)), 10, 30, 256),
        (AgentWeight::Absolute(weight(5)), 20, 5, 64),
        (AgentWeight::Absolute(weight(5)), 0, 0, 256),
    ] {
        assert_eq!(reported.of(weight(listed)).get(), expected, "{reported} of {listed}");
        assert_eq!(reported.share_of(weight(listed)).parts(), parts, "{reported} of {listed}");
    }
}

fn report() -> impl Strategy<Value = AgentReport> {
    let health = [AgentHealth::Up, AgentHealth::Down, AgentHealth::Fail, AgentHealth::Stopped];
    let admin = [Admin::Ready, Admin::Drain, Admin::Maintenance];
    let weight = prop_oneof![
        any::<u16>().prop_map(AgentWeight::Percent),
        (0_u16..=256).prop_map(|number| AgentWeight::Absolute(Weight::new(number).expect("small"))),
    ];
    (
        prop::option::of(prop::sample::select(health.to_vec())),
        prop::option::of(prop::sample::select(admin.to_vec())),
        prop::option::of(weight),
        any::<Option<u32>>(),
        "([a-z]( ?[a-z#,]){0,20})?",
    )
        .prop_map(|(health, admin, weight, max_connections, reason)| AgentReport {
            health,
            admin,
            weight,
            max_connections,
            reason,
            passed_over: None,
        })
}

proptest! {
    #[test]
    fn a_report_is_read_as_it_was_written(report in report()) {
        let line = format!("{report}\n");
        prop_assert_eq!(AgentReport::read(line.as_bytes()), Ok(report));
    }

    #[test]
    fn any_bytes_are_a_report_or_an_error(bytes: Vec<u8>) {
        if let Ok(report) = AgentReport::read(&bytes) {
            let again = format!("{report}\n");
            prop_assert!(AgentReport::read(again.as_bytes()).is_ok());
        }
    }
}
