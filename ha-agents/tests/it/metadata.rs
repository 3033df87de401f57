//! The metadata of real agents, and of hostile ones.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ha_agents::ocf::{AgentMetadata, MAX_METADATA, MetadataError, ParameterChange, ParameterValue};
use ha_agents::{Check, OpContext};
use ha_core::id::{OpId, ResourceName};
use ha_core::role::Role;
use proptest::prelude::*;

fn read(path: &str) -> AgentMetadata {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path);
    let text = fs::read_to_string(&path).expect("testdata");
    AgentMetadata::parse(&text).expect("metadata")
}

#[test]
fn an_agents_words_are_understood() {
    let address = read("ocf/heartbeat-IPaddr2.xml");
    assert_eq!((address.name.as_str(), address.standard.as_str()), ("IPaddr2", "1.0"));
    let ip = address.parameter("ip").expect("known");
    assert!(ip.required && !ip.deprecated);
    assert_eq!(ip.kind, "string");
    assert!(ip.summary.contains("IPv4"), "{}", ip.summary);
    assert_eq!(address.timeout("start"), Some(Duration::from_secs(20)));
    assert!(!address.brief().promotable);

    let stateful = read("ocf/pacemaker-Stateful.xml");
    let roles: Vec<_> = stateful.actions.iter().filter_map(|action| action.role).collect();
    assert_eq!(roles, [Role::Promoted, Role::Unpromoted]);
    assert_eq!(
        stateful.parameter("state").and_then(|it| it.unique_group.as_deref()),
        Some("state")
    );
    assert!(stateful.parameter("envfile").is_some_and(|it| it.reloadable));
    assert!(stateful.brief().promotable);

    let ping = read("fence/fence_heuristics_ping.xml");
    assert!(ping.summary.starts_with("Fence agent"), "{}", ping.summary);
    assert_eq!(ping.parameter("method").map(|it| it.options.len()), Some(2));
    let error = ping.check(&BTreeMap::new()).expect_err("ping_targets is required");
    assert_eq!(error.problems().len(), 1, "{error}");
}

#[test]
fn parameters_are_checked_by_name() {
    let address = read("ocf/heartbeat-IPaddr2.xml");
    let error = address.check(&given(&[("nic", "eth0")])).expect_err("no ip");
    assert!(error.to_string().starts_with("ip: (nothing)"), "{error}");
    address.check(&given(&[("ip", "")])).expect_err("empty is not given");
    let doubts = address
        .check(&given(&[("ip", "192.0.2.1"), ("nik", "eth0"), ("arp_count", "many")]))
        .expect("allowed");
    assert_eq!(doubts.len(), 2, "{doubts:?}");
    assert!(doubts[0].contains("arp_count") && doubts[1].contains("nik"), "{doubts:?}");
    assert!(!doubts[0].contains("many"), "no values: they may be secrets");

    let old = AgentMetadata::parse(
        r#"<resource-agent name="x"><parameters>
        <parameter name="ip" required="1" obsoletes="ipaddr"><content type="string"/></parameter>
        <parameter name="ipaddr" required="1"><deprecated><replaced-with name="ip"/></deprecated>
          <content type="string"/></parameter></parameters></resource-agent>"#,
    )
    .expect("metadata");
    let doubts = old.check(&given(&[("ipaddr", "x")])).expect("the old name will do");
    assert_eq!(doubts, ["parameter ipaddr is deprecated; use ip instead"]);
    old.check(&given(&[])).expect_err("one of the two is required");
}

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn values_are_read_by_their_types_and_all_wrong_ones_told_at_once() {
    let address = read("ocf/heartbeat-IPaddr2.xml");
    let values = address
        .values(&given(&[("ip", "192.0.2.1"), ("lvs_support", "on"), ("arp_count", "7")]))
        .expect("right");
    assert_eq!(values["ip"], ParameterValue::Text("192.0.2.1".to_owned()));
    assert_eq!(values["lvs_support"], ParameterValue::Boolean(true));
    assert_eq!(values["arp_count"], ParameterValue::Integer(7));
    assert_eq!(values["arp_interval"], ParameterValue::Integer(200), "the agent's default");
    assert!(!values.contains_key("nic"), "neither given nor with a default");

    let wrong = given(&[("lvs_support", "On"), ("arp_count", "s3cret"), ("nik", "eth0")]);
    let error = address.values(&wrong).expect_err("wrong");
    let told: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:?}"); // and no ip
    for (name, words) in [
        ("lvs_support", "the agent would take everything else for no"),
        ("arp_count", "a whole number"),
        ("ip", "required"),
        ("nik", "unknown"),
    ] {
        let found =
            told.iter().any(|it| it.starts_with(&format!("{name}: ")) && it.contains(words));
        assert!(found, "{name}: {told:?}");
    }
    assert!(!error.to_string().contains("s3cret"));

    let ping = read("fence/fence_heuristics_ping.xml");
    let method = ping.parameter("method").expect("known");
    assert!(method.read(&method.options[0]).is_ok() && method.read("some").is_err());
    let seconds = ping.parameter("delay").expect("known");
    assert_eq!(seconds.read("90"), Ok(ParameterValue::Time(Duration::from_secs(90))));
    // The agent's own default is no integer, so what it says of the type is not believed.
    let liar = AgentMetadata::parse(
        r#"<resource-agent name="x"><parameters><parameter name="dampen">
        <content type="integer" default="5s"/></parameter></parameters></resource-agent>"#,
    )
    .expect("metadata");
    liar.values(&given(&[("dampen", "10s")])).expect("as the default");
}

#[test]
fn unique_groups_are_compared_between_resources() {
    let metadata = AgentMetadata::parse(
        r#"<resource-agent name="x"><parameters>
        <parameter name="ip" unique-group="address"><content type="string"/></parameter>
        <parameter name="port" unique-group="address">
          <content type="integer" default="80"/></parameter>
        <parameter name="pid" unique="1"><content type="string" default="/run/x"/></parameter>
        </parameters></resource-agent>"#,
    )
    .expect("metadata");
    let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<ResourceName>().expect("a name"));
    let one = given(&[("ip", "192.0.2.1")]);
    let other = given(&[("ip", "192.0.2.1"), ("port", "81")]);
    let same = given(&[("ip", "192.0.2.1"), ("port", "80"), ("pid", "/run/x")]);
    metadata.check_unique(&[(&a, &one), (&b, &other)]).expect("another port; no pid was given");
    let all = [(&a, &one), (&b, &other), (&c, &same)];
    let error = metadata.check_unique(&all).expect_err("a and c");
    let told = error.to_string();
    assert!(told.contains("ip, port") && told.contains("in a and c"), "{told}");
    assert_eq!(error.problems().len(), 1, "{told}");
}

#[test]
fn a_change_is_reloaded_only_if_all_of_it_can_be() {
    let stateful = read("ocf/pacemaker-Stateful.xml");
    let before = given(&[("envfile", "/a"), ("state", "/s")]);
    let change = |pairs| stateful.change(&before, &given(pairs));
    assert_eq!(change(&[("state", "/s"), ("envfile", "/a")]), ParameterChange::None);
    assert_eq!(change(&[("state", "/s"), ("envfile", "/b")]), ParameterChange::Reload);
    assert_eq!(change(&[("state", "/s")]), ParameterChange::Reload);
    let because = vec!["state".to_owned()];
    assert_eq!(change(&[("state", "/t"), ("envfile", "/b")]), ParameterChange::Restart { because });
}

#[test]
fn an_agents_advice_is_the_least_time_that_it_gets() {
    let stateful = read("ocf/pacemaker-Stateful.xml");
    let brief = stateful.brief();
    let context = || OpContext::new("s".parse().expect("a name"), OpId::FIRST);
    let promoted = Check { depth: 0, role: Some(Role::Promoted) };
    assert_eq!(stateful.monitor_timeout(promoted), Some(Duration::from_secs(20)));
    let short = context().timeout(Duration::from_secs(5)).timeout_as(&brief, "start");
    assert_eq!(short.timeout, Duration::from_secs(20));
    let long = context().timeout(Duration::from_mins(2)).timeout_as(&brief, "start");
    assert_eq!(long.timeout, Duration::from_mins(2));
    assert_eq!(context().timeout_as(&brief, "dance").timeout, Duration::from_secs(20));
}

#[test]
fn what_is_not_metadata_is_told() {
    let parse = |text: &str| AgentMetadata::parse(text).expect_err("not metadata");
    assert!(matches!(parse(""), MetadataError::NotXml { .. }));
    assert!(matches!(parse("usage: x {start|stop}"), MetadataError::NotXml { .. }));
    assert!(matches!(parse("<html/>"), MetadataError::WrongRoot { .. }));
    assert!(matches!(parse(&" ".repeat(MAX_METADATA + 1)), MetadataError::TooLarge { .. }));
    parse(&"<a>".repeat(MAX_METADATA / 3));
    parse(&format!("{}{}", "<a>".repeat(60_000), "</a>".repeat(60_000)));
    // A billion laughs.
    let mut bomb = String::from("<!DOCTYPE x [<!ENTITY a0 'ha'>");
    for level in 1..30 {
        let before = level - 1;
        let four = format!("&a{before};").repeat(4);
        bomb.extend([format!("<!ENTITY a{level} '{four}'>")]);
    }
    bomb += "]><resource-agent>&a29;</resource-agent>";
    parse(&bomb);
}

/// The whole corpora, which lie beside the repository where they were collected.
#[test]
fn every_collected_agents_metadata_is_read() {
    for (corpus, least) in [("ocf-metadata", 100), ("fence-metadata", 50)] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(corpus);
        let Ok(entries) = fs::read_dir(&folder) else {
            eprintln!("skipped every_collected_agents_metadata_is_read: {corpus} is not here");
            continue;
        };
        let mut read = 0;
        for entry in entries {
            let path = entry.expect("an entry").path();
            let text = String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned();
            let metadata = AgentMetadata::parse(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
            assert!(!metadata.name.is_empty(), "{file}");
            assert!(metadata.actions.iter().all(|action| !action.name.is_empty()), "{file}");
            assert!(metadata.parameters.iter().all(|it| !it.name.is_empty()), "{file}");
            if corpus == "ocf-metadata" {
                assert!(metadata.actions.iter().all(|it| it.timeout.is_some()), "{file}");
                assert!(metadata.knows("start") && metadata.knows("stop"), "{file}");
            }
            read += 1;
        }
        assert!(read >= least, "only {read} in {corpus}");
    }
}

proptest! {
    #[test]
    fn any_text_is_metadata_or_an_error(text: String) {
        drop(AgentMetadata::parse(&text));
    }

    #[test]
    fn a_damaged_document_is_metadata_or_an_error(
        cut in 0..4000usize, length in 0..50usize, noise in "[<>&;!/a-z \"\\[\\]]{0,12}",
    ) {
        let text = include_str!("../../testdata/ocf/pacemaker-Stateful.xml");
        let (cut, end) = (cut.min(text.len()), (cut + length).min(text.len()));
        if let (Some(head), Some(tail)) = (text.get(..cut), text.get(end..)) {
            drop(AgentMetadata::parse(&format!("{head}{noise}{tail}")));
        }
    }
}
