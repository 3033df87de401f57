//! Many real configurations are read, where they are at hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ha_crm::cib::{Cib, CibConstraint, Remark, RuleElement};

/// Where a corpus of CIBs may lie; it does not come with the source.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/pacemaker-scheduler/cases");

/// What may be said of the corpus: what was not kept, and what is wrong in it on purpose or because
/// it is very old.
const EXPECTED: [&str; 5] = [
    "bad value: @kind",
    "bad value: @timeout",
    "keys differ: @transition-magic",
    "not honoured: alerts",
    "unknown element: lrm",
];

/// What may be said of a configuration that works: the kind of a note.
fn kind(what: &Remark) -> &'static str {
    match what {
        Remark::BadValue { .. } => "bad value",
        Remark::Dangling { .. } => "dangling",
        Remark::DuplicateId { .. } => "duplicate id",
        Remark::KeysDiffer => "keys differ",
        Remark::Lacking { .. } => "missing",
        Remark::NotHonoured => "not honoured",
        Remark::TooDeep => "too deep",
        Remark::UnknownAttribute => "unknown attribute",
        Remark::UnknownElement => "unknown element",
        Remark::More { .. } | _ => "other",
    }
}

/// The rules of locations and of the cluster's options.
fn rules(cib: &Cib) -> Vec<&RuleElement> {
    let mut rules: Vec<&RuleElement> = Vec::new();
    for constraint in &cib.constraints {
        if let CibConstraint::Location(location) = constraint {
            rules.extend(location.rules.iter().map(|rule| &*rule.rule));
        }
    }
    let defaults = cib.resource_defaults.iter().chain(&cib.operation_defaults);
    let sets = cib.options.iter().chain(defaults);
    rules.extend(sets.flat_map(|set| set.rules.iter().map(|rule| &**rule)));
    rules
}

#[test]
fn every_configuration_of_the_corpus_is_read() {
    let Ok(folder) = fs::read_dir(Path::new(CORPUS)) else {
        println!("skipped every_configuration_of_the_corpus_is_read: no {CORPUS}");
        return;
    };
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut read = 0;
    for entry in folder {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "xml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        let (cib, notes) = Cib::parse(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        assert!(!cib.nodes.is_empty() || !cib.node_states.is_empty(), "{path:?}");
        read += 1;
        for rule in rules(&cib) {
            let (_, problems) = rule.rule();
            assert!(problems.is_empty(), "{path:?}: {problems:?}");
        }
        for note in notes {
            let last = note.place.path.rsplit('/').next().unwrap_or_default();
            let last = last.split('[').next().unwrap_or_default();
            let kind = format!("{}: {last}", kind(&note.what));
            kinds.entry(kind).or_default().push(format!("{}: {note}", path.display()));
        }
    }
    assert!(read > 0, "{CORPUS} is empty");
    for (kind, notes) in &kinds {
        println!("{kind}: {}", notes.len());
        for note in notes.iter().take(3) {
            println!("  {note}");
        }
    }
    let others: Vec<&String> =
        kinds.keys().filter(|kind| !EXPECTED.contains(&kind.as_str())).collect();
    assert!(others.is_empty(), "{others:?}");
}
