//! What is wrong, too much, or no CIB at all.

use proptest::prelude::*;

use super::super::*;
use super::configured;

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_rest_is_read() {
    let (cib, notes) = configured(
        r#"<resources><primitive class="ocf" type="x"/>
  <primitive id="a" clas="ocf" type="x"><opps/></primitive>
  <group id="a"/><thing id="x"/></resources>
<constraints><rsc_order id="o" first="a" kind="foo"/><rsc_location id="l" score="5x"/></constraints>
<nonsense><x/></nonsense>"#,
    );
    assert_eq!(cib.resources.len(), 2);
    assert_eq!(cib.constraints.len(), 2);
    assert_eq!(
        notes,
        [
            "line 2, column 12, resources/primitive: id is missing; add it",
            "line 3, column 3, resources/primitive[@id='a']/@clas: no such attribute is known \
             here: it has no effect; is it misspelt?",
            "line 3, column 3, resources/primitive[@id='a']: class is missing; add it",
            "line 3, column 41, resources/primitive[@id='a']/opps: no such element is known \
             here: it has no effect; is it misspelt?",
            "line 4, column 3, resources/group[@id='a']: the id \"a\" was taken before (line 3, \
             column 3); give it another one",
            "line 4, column 3, resources/group[@id='a']: primitive is missing; add it",
            "line 4, column 18, resources/thing[@id='x']: no such element is known here: it has \
             no effect; is it misspelt?",
            "line 5, column 14, constraints/rsc_order[@id='o']/@kind: cannot read \"foo\": it \
             counts as not given; allowed is Optional, Mandatory, Serialize",
            "line 5, column 14, constraints/rsc_order[@id='o']: then is missing; add it",
            "line 5, column 54, constraints/rsc_location[@id='l']/@score: cannot read \"5x\": it \
             counts as not given; allowed is a whole number, INFINITY, +INFINITY, -INFINITY",
            "line 5, column 54, constraints/rsc_location[@id='l']: rsc, rsc-pattern or \
             resource_set is missing; add it",
            "line 6, column 11, nonsense/x: no such element is known here: it has no effect; is \
             it misspelt?",
        ]
    );
}

#[test]
fn notes_are_bounded_and_the_rest_is_counted() {
    let many = "<x/>".repeat(reader::MAX_NOTES + 5);
    let (_, notes) = configured(&format!("<resources>{many}</resources>"));
    assert_eq!(notes.len(), reader::MAX_NOTES + 1);
    assert!(notes.last().is_some_and(|last| last.contains(": 5 more notes")), "{:?}", notes.last());
}

#[test]
fn what_is_not_a_cib_is_refused_with_its_place() {
    let refused = |text: &str| Cib::parse(text).expect_err("not a CIB").to_string();
    assert!(refused("").contains("it is not XML"));
    assert!(
        refused("<cib>\n  <configuration>\n</cib>").contains("line 3, column 1: it is not XML")
    );
    assert_eq!(
        refused("\n <html/>"),
        "cannot read the CIB: line 2, column 2: it is <html>, not <cib>; is it the right file?"
    );
    let bomb = "<!DOCTYPE cib [<!ENTITY a \"aa\">]><cib/>";
    assert!(refused(bomb).contains("it is not XML"));
    let wide = format!("<cib {}/>", (0..5000).map(|i| format!("a{i}='' ")).collect::<String>());
    assert!(refused(&wide).contains("too many attributes"));
}

#[test]
fn deep_nesting_is_bounded() {
    let deep = |name: &str, depth: usize| {
        format!("{}{}", format!("<{name}>").repeat(depth), format!("</{name}>").repeat(depth))
    };
    let (_, notes) = configured(&format!(
        "<constraints><rsc_location id='l' rsc='a'>{}</rsc_location></constraints>",
        deep("rule", 100_000)
    ));
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("nested too deep"), "{notes:?}");
    let (_, notes) = configured(&deep("resources", 100_000));
    assert_eq!(notes.len(), 1, "{notes:?}");
}

/// Text made of what a CIB is made of.
fn fragments() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "primitive",
        "group",
        "clone",
        "bundle",
        "docker",
        "network",
        "rule",
        "expression",
        "op",
        "operations",
        "meta_attributes",
        "nvpair",
        "rsc_location",
        "rsc_order",
        "resource_set",
        "node_state",
        "lrm",
        "lrm_resources",
        "lrm_resource",
        "lrm_rsc_op",
        "resources",
        "status",
        "constraints",
        "configuration",
        "tags",
        "fencing-topology",
        "fencing-level",
    ]);
    let attribute = (
        prop::sample::select(vec![
            "id",
            "id-ref",
            "name",
            "value",
            "score",
            "interval",
            "role",
            "transition-key",
            "transition-magic",
            "target",
            "kind",
            "in_ccm",
            "rsc-pattern",
            "devices",
        ]),
        prop_oneof![
            prop::sample::select(vec!["a", "b", "INFINITY", "10s", "PT1é", "1:2:3:4", "0:0;1:2:3"])
                .prop_map(str::to_owned),
            "[a-zA-Z0-9:;,!. é-]{0,12}",
        ],
    );
    let leaf = (
        names.clone(),
        prop::collection::btree_map(
            attribute.clone().prop_map(|(n, _)| n),
            attribute.prop_map(|(_, v)| v),
            0..5,
        ),
    )
        .prop_map(|(name, attributes)| {
            (
                name,
                attributes.iter().fold(String::new(), |all, (n, v)| format!("{all} {n}=\"{v}\"")),
            )
        });
    leaf.prop_map(|(name, attributes)| format!("<{name}{attributes}/>")).prop_recursive(
        5,
        40,
        5,
        move |inner| {
            (names.clone(), prop::collection::vec(inner, 0..5))
                .prop_map(|(name, inner)| format!("<{name} id=\"a\">{}</{name}>", inner.concat()))
        },
    )
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", tail in "[<>/a-z\"'=& \n]{0,100}") {
        drop(Cib::parse(&text));
        drop(Cib::parse(&format!("<cib>{tail}</cib>")));
        drop(Cib::parse(&format!("<cib><configuration><resources>{tail}")));
    }

    #[test]
    fn no_xml_makes_it_panic_and_all_places_are_in_the_text(inner in fragments()) {
        let text = format!(
            "<cib><configuration>{inner}</configuration>\n<status>{inner}</status></cib>"
        );
        let (_, notes) = Cib::parse(&text).expect("well-formed");
        for note in notes {
            let line = text.lines().nth(note.place.spot.line as usize - 1).expect("a line");
            let from = line.get(note.place.spot.column as usize - 1..).expect("a column");
            prop_assert!(from.starts_with('<'), "{note}");
        }
    }
}
