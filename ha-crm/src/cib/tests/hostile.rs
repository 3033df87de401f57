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
    let wide = format!("<cib {}/>", "a='' ".repeat(5000));
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

const NAMES: &str = "primitive group clone bundle docker network rule expression op operations \
    meta_attributes nvpair rsc_location rsc_order resource_set node_state lrm lrm_resources \
    lrm_resource lrm_rsc_op resources status constraints configuration tags fencing-topology \
    fencing-level transient_attributes tickets ticket_state";
const ATTRIBUTES: &str = "id id-ref name value score interval role transition-key target kind \
    transition-magic in_ccm rsc-pattern devices";
const VALUES: &str = "a b INFINITY 10s PT1é 1:2:3:4 0:0;1:2:3";

fn one_of(words: &'static str) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(words.split_whitespace().collect::<Vec<_>>())
}

/// XML made of what a CIB is made of.
fn fragments() -> impl Strategy<Value = String> {
    let value = prop_oneof![one_of(VALUES).prop_map(str::to_owned), "[a-zA-Z0-9:;,!. é-]{0,12}"];
    let attributes = prop::collection::btree_map(one_of(ATTRIBUTES), value, 0..5);
    let leaf = (one_of(NAMES), attributes).prop_map(|(name, attributes)| {
        let mut text = format!("<{name}");
        for (name, value) in attributes {
            text.extend([" ", name, "=\"", &value, "\""]);
        }
        text + "/>"
    });
    leaf.prop_recursive(5, 40, 5, |inner| {
        (one_of(NAMES), prop::collection::vec(inner, 0..5))
            .prop_map(|(name, inner)| format!("<{name} id=\"a\">{}</{name}>", inner.concat()))
    })
}

/// A bit of everything.
const SAMPLE: &str = r#"<cib epoch="1" have-quorum="1" execution-date="5"><configuration>
<crm_config><cluster_property_set id="o" score="1"><rule id="r" boolean-op="and" score="1">
<expression id="e" attribute="x" operation="defined"/></rule><nvpair id="n" name="a" value="1"/>
</cluster_property_set></crm_config><nodes><node id="1" uname="n1" type="member" score="1"/></nodes>
<resources><primitive id="p" class="ocf" provider="h" type="t"><operations id="ops">
<op id="m" name="monitor" interval="10s" timeout="PT1M" on-fail="stop" role="Started"/></operations>
<meta_attributes id-ref="o2"/><meta_attributes id="o2"/></primitive><bundle id="b">
<podman image="i" replicas="3"/><network control-port="1"><port-mapping id="pm" port="80"/>
</network><storage><storage-mapping id="sm" source-dir="/a" target-dir="/b"/></storage></bundle></resources>
<constraints><rsc_location id="l" rsc-pattern="!x"><rule id-ref="r"/></rsc_location>
<rsc_colocation id="c" score="INFINITY"><resource_set id="s" sequential="true" action="stop">
<resource_ref id="p"/></resource_set><resource_set id-ref="s"/></rsc_colocation>
<rsc_order id="or" first="p" then="b" kind="Optional"/></constraints><fencing-topology>
<fencing-level id="f" target="n1" index="1" devices="p,b"/></fencing-topology></configuration>
<status><node_state id="1" uname="n1" in_ccm="1" crmd="online" join="member"><lrm id="1">
<lrm_resources><lrm_resource id="p" shutdown-lock="1"><lrm_rsc_op id="p_last_0" operation="start"
transition-key="1:2:0:u" transition-magic="0:0;1:2:0:u" call-id="1" rc-code="0" op-status="0"
op-force-restart=" a b " last-run="1" interval="0"/></lrm_resource></lrm_resources></lrm>
</node_state><tickets><ticket_state id="t" granted="true" last-granted="1"/></tickets></status>
</cib>"#;

#[test]
fn nothing_is_wrong_with_the_sample() {
    let (_, notes) = Cib::parse(SAMPLE).expect("a CIB");
    assert_eq!(notes, []);
}

/// The sample with other values, names or elements in some places.
fn mutants() -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = SAMPLE.split('"').collect();
    let value = prop_oneof![
        one_of(VALUES).prop_map(str::to_owned),
        one_of("r o o2 s ops p 1 -1 99999999999999999999 n1 true !").prop_map(str::to_owned),
        "[0-9:;,!PTSé-]{0,12}",
    ];
    let changes = prop::collection::vec((0..pieces.len() / 2, value), 1..20);
    let renames = prop::collection::vec((one_of(ATTRIBUTES), one_of(ATTRIBUTES)), 0..2);
    (changes, renames).prop_map(move |(changes, renames)| {
        let mut all: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        for (index, value) in changes {
            all[index * 2 + 1] = value; // every second piece is a value
        }
        renames.iter().fold(all.join("\""), |text, (from, to)| {
            text.replace(&format!(" {from}=\""), &format!(" {to}=\""))
        })
    })
}

proptest! {
    #[test]
    fn no_value_makes_it_panic(text in mutants()) {
        // A rename may make two attributes of one name: then it is no XML.
        if let Ok((_, notes)) = Cib::parse(&text) {
            prop_assert!(notes.iter().all(|note| note.place.spot.line > 0), "{notes:?}");
        }
    }

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
