//! What is written is what was meant, and no more than can be read again.

use super::super::*;
use crate::model::Score;

#[test]
fn many_elements_without_an_id_get_one_each_in_one_pass() {
    // Counting from one anew for each would take hours.
    let ports = vec!["{}"; 60_000].join(",");
    let text = format!(
        r#"{{"resources":[{{"kind":"bundle","id":"b","container":{{"engine":"podman",
        "image":"i"}},"network":{{"ports":[{ports}]}}}}]}}"#
    );
    let (cib, _) = Cib::from_json(&text).expect("a CIB");
    let CibResource::Bundle(bundle) = &cib.resources[0] else { panic!("a bundle") };
    assert_eq!(bundle.network.as_ref().map(|network| network.ports.len()), Some(60_000));
}

#[test]
fn what_several_refer_to_is_not_written_out_without_end() {
    let pairs: String = (0..5_000)
        .map(|n| format!(r#"<nvpair id="p{n}" name="n{n}" value="v"/>"#))
        .collect::<Vec<_>>()
        .concat();
    let others: String = (0..5_000)
        .map(|n| {
            format!(
                r#"<primitive id="r{n}" class="ocf" provider="x" type="y">
                <meta_attributes id-ref="m"/></primitive>"#
            )
        })
        .collect::<Vec<_>>()
        .concat();
    let text = format!(
        r#"<cib><configuration><crm_config/><nodes/><resources><primitive id="first" class="ocf"
        provider="x" type="y"><meta_attributes id="m">{pairs}</meta_attributes></primitive>{others}
        </resources><constraints/></configuration></cib>"#
    );
    let (cib, _) = Cib::parse(&text).expect("a CIB");
    assert!(cib.to_xml().len() < 2 * text.len(), "references stay references");
    for written in [cib.to_json(), cib.to_toml()] {
        let error = written.expect_err("1 GB").to_string();
        assert!(error.contains("write XML"), "{error}");
    }
}

#[test]
fn a_number_with_a_point_is_to_be_in_quotes() {
    let text = |value: &str| {
        format!(
            r#"[[resources]]
            kind = "primitive"
            id = "a"
            class = "ocf"
            provider = "x"
            type = "y"
            instance = {{ version = {value} }}"#
        )
    };
    let error = Cib::from_toml(&text("3.10")).expect_err("3.10 is not 3.1").to_string();
    assert!(error.contains("in quotes"), "{error}");
    let (cib, _) = Cib::from_toml(&text(r#""3.10""#)).expect("a CIB");
    assert!(cib.to_xml().contains(r#"value="3.10""#));
}

#[test]
fn a_score_that_a_program_has_changed_is_written() {
    let text = r#"<cib><configuration><crm_config/><nodes/><resources/><constraints>
        <rsc_location id="l" rsc="a"><rule id="r" score="INFINITY">
        <expression id="e" attribute="x" operation="defined"/></rule></rsc_location>
        </constraints></configuration></cib>"#;
    let (mut cib, _) = Cib::parse(text).expect("a CIB");
    let CibConstraint::Location(location) = &mut cib.constraints[0] else { panic!("a location") };
    location.rules[0].score = Some(Score::NEVER);
    let (again, _) = Cib::parse(&cib.to_xml()).expect("a CIB");
    let (other, _) = Cib::from_json(&cib.to_json().expect("JSON")).expect("a CIB");
    for cib in [again, other] {
        let CibConstraint::Location(location) = &cib.constraints[0] else { panic!("a location") };
        assert_eq!(location.rules[0].score, Some(Score::NEVER));
    }
}

#[test]
fn an_id_that_was_made_up_is_nobody_elses() {
    let text = r#"
        [[resources]]
        kind = "primitive"
        id = "a"
        class = "ocf"
        provider = "x"
        type = "y"
        meta = { target-role = "Stopped" }
    "#;
    let others = ["b", "c"].map(|id| {
        format!(
            r#"
        [[resources]]
        kind = "primitive"
        id = "{id}"
        class = "ocf"
        provider = "x"
        type = "y"
        meta = [{{ id = "a-meta_attributes", values = {{ priority = "5" }} }}]
    "#
        )
    });
    let (cib, _) = Cib::from_toml(&format!("{text}{}", others.concat())).expect("a CIB");
    for resource in &cib.resources[1..] {
        let CibResource::Primitive(primitive) = resource else { panic!("a primitive") };
        assert_eq!(primitive.meta[0].get("priority"), Some("5"), "{}", primitive.id);
        assert_eq!(primitive.meta[0].get("target-role"), None, "{}", primitive.id);
    }
}
