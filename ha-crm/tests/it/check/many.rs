//! Large, damaged and real descriptions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;

/// Where many configurations may lie; they do not come with the source.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/pacemaker-scheduler");

/// A large text is checked, and a bound on findings keeps them few.
#[test]
fn large_circles_and_cliques_end() {
    let mut resources = String::new();
    let mut constraints = String::new();
    let members: Vec<String> = (0..2000).map(|i| format!("<resource_ref id=\"r{i}\"/>")).collect();
    let members = members.concat();
    for i in 0..2000 {
        resources += &primitive(&format!("r{i}"), "");
        write!(
            constraints,
            r#"<rsc_order id="o{i}" first="r{i}" then="r{}"/><rsc_colocation id="c{i}" rsc="r{i}"
 with-rsc="r{}" score="{}INFINITY"/><rsc_location id="l{i}" rsc="all" node="x{i}" score="-5"/>"#,
            (i + 1) % 2000,
            (i + 1) % 2000,
            if i % 2 == 0 { "-" } else { "" }
        )
        .expect("a text");
    }
    for i in 0..20 {
        write!(
            constraints,
            r#"<rsc_order id="s{i}"><resource_set id="s{i}-1" sequential="false">{members}
</resource_set><resource_set id="s{i}-2" sequential="false">{members}</resource_set></rsc_order>"#
        )
        .expect("a text");
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
