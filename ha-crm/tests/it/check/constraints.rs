//! What is wrong with constraints.

use super::*;

/// Constraints, how much what is wrong in them matters, its kind, and words of it.
const WRONG_NAMES: &[(&str, Severity, Kind, &str)] = &[
    (
        r#"<rsc_location id="c" rsc="wep" node="beta" score="1"/>"#,
        Error,
        Kind::UnknownResource,
        "did you mean web?",
    ),
    (
        r#"<rsc_location id="c" rsc="web" node="betta" score="1"/>"#,
        Warning,
        Kind::UnknownNode,
        "did you mean beta?",
    ),
    (r#"<rsc_order id="c" first="zebra" then="web"/>"#, Error, Kind::UnknownResource, "@first: "),
    (r#"<rsc_ticket id="c" rsc="zebra" ticket="t"/>"#, Error, Kind::UnknownResource, "@rsc"),
    (
        r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="5" node-attribute="rack"/>"#,
        Warning,
        Kind::UnknownName,
        "\"rack\"",
    ),
    (
        r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="5" with-rsc-role="Promoted"/>"#,
        Warning,
        Kind::Role,
        "@with-rsc-role",
    ),
    (
        r#"<rsc_location id="c" rsc="web" role="Unpromoted" node="beta" score="5"/>"#,
        Warning,
        Kind::Role,
        "role Unpromoted",
    ),
    (
        r#"<rsc_order id="c" first="web" first-action="promote" then="db" then-action="start"/>"#,
        Warning,
        Kind::Role,
        "@first-action",
    ),
    (
        r#"<rsc_colocation id="c" rsc="web" with-rsc="web" score="5"/>"#,
        Warning,
        Kind::ColocationLoop,
        "with itself",
    ),
    (
        r#"<rsc_order id="c"><resource_set id="s"><resource_ref id="web"/></resource_set>
            </rsc_order>"#,
        Hint,
        Kind::SetSize,
        "\"web\"",
    ),
    (
        r#"<rsc_order id="c"><resource_set id="s"/></rsc_order>"#,
        Warning,
        Kind::SetSize,
        "no members",
    ),
    (
        r#"<rsc_order id="c"><resource_set id="s"><resource_ref id="web"/>
            <resource_ref id="dp"/></resource_set></rsc_order>"#,
        Error,
        Kind::UnknownResource,
        "resource_ref[@id='dp']",
    ),
    (
        r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="INFINTY"/>"#,
        Error,
        Kind::Value,
        "did you mean INFINITY?",
    ),
    (
        r#"<rsc_location id="c" rsc="web" node="beta" score="5"><rule id="r" score="1">
            <expression id="e" attribute="x" operation="defined"/></rule></rsc_location>"#,
        Warning,
        Kind::LocationScore,
        "rsc_location[@id='c']",
    ),
];

#[test]
fn names_in_constraints_stand_for_something() {
    for &(constraint, severity, kind, words) in WRONG_NAMES {
        expect(&Site { constraints: constraint, ..Site::default() }, severity, kind, &[words]);
    }
    for fine in [
        r#"<rsc_order id="c" first="disks" first-action="promote" then="web"
             then-action="start"/>"#,
        r#"<rsc_colocation id="c" rsc="web" with-rsc="disks" with-rsc-role="Promoted" score="5"/>"#,
        r#"<rsc_location id="c" rsc="disk:0" node="BETA" score="1"/>"#,
    ] {
        is_clean(&Site { constraints: fine, ..Site::default() });
    }
}

#[test]
fn orders_do_not_go_in_circles() {
    let circle = |resources: &str, constraints: &str, words: &[&str]| {
        let site = Site { resources, constraints, ..Site::default() };
        expect(&site, Error, Kind::OrderLoop, words);
    };
    let group = format!("<group id=\"g\">{}{}</group>", primitive("m1", ""), primitive("m2", ""));
    circle(
        "",
        r#"<rsc_order id="o1" first="web" then="db"/><rsc_order id="o2" first="db" then="disks"/>
           <rsc_order id="o3" first="disks" then="web"/>"#,
        &["\"o1\", \"o2\", \"o3\"", "rsc_order[@id='o3']"],
    );
    circle(&group, r#"<rsc_order id="o1" first="m2" then="m1"/>"#, &["\"m1\"", "\"m2\""]);
    circle(
        &group,
        r#"<rsc_order id="o1" first="g" then="web"/><rsc_order id="o2" first="web" then="m1"/>"#,
        &["\"web\"", "\"o1\", \"o2\""],
    );
    circle(
        "",
        r#"<rsc_order id="o1"><resource_set id="s1"><resource_ref id="web"/></resource_set>
           <resource_set id="s2" sequential="false"><resource_ref id="db"/>
           <resource_ref id="disks"/></resource_set></rsc_order>
           <rsc_order id="o2" first="disks" then="web"/>"#,
        &["\"o1\", \"o2\""],
    );
    circle(
        "",
        r#"<rsc_order id="o1" first="disks" first-action="promote" then="web" then-action="start"/>
           <rsc_order id="o2" first="web" then="disks" then-action="start"/>"#,
        &["\"disks\"", "\"web\""],
    );
    for fine in [
        r#"<rsc_order id="o1" first="web" then="db"/>
           <rsc_order id="o2" first="db" then="web" kind="Optional"/>"#,
        r#"<rsc_order id="o1" first="web" then="db"/>
           <rsc_order id="o2" first="db" then="web" score="0"/>"#,
        r#"<rsc_order id="o1" first="web" first-action="stop" then="db" then-action="start"
             symmetrical="false"/>
           <rsc_order id="o2" first="db" first-action="stop" then="web" then-action="start"
             symmetrical="false"/>"#,
        r#"<rsc_order id="o1" first="disks" then="web" then-action="start"/>
           <rsc_order id="o2" first="web" then="disks" then-action="promote"/>"#,
        r#"<rsc_order id="o1" first="g" then="web"/><rsc_order id="o2" first="m1" then="m2"/>"#,
    ] {
        is_clean(&Site { constraints: fine, resources: &group, ..Site::default() });
    }
}

#[test]
fn colocations_do_not_contradict() {
    let together = |id: &str, rsc: &str, with: &str| {
        format!(r#"<rsc_colocation id="{id}" rsc="{rsc}" with-rsc="{with}" score="INFINITY"/>"#)
    };
    let apart = |rsc: &str, with: &str| together("apart", rsc, with).replace("INF", "-INF");
    let group = format!("<group id=\"g\">{}{}</group>", primitive("m1", ""), primitive("m2", ""));
    let one = primitive("x", "");
    for (constraints, words) in [
        (
            together("c1", "web", "db") + &apart("db", "web"),
            ["(\"c1\")", "\"web\" can run nowhere"],
        ),
        (
            together("c1", "x", "web") + &together("c2", "x", "db") + &apart("web", "db"),
            ["\"x\" must be with both", "\"c1\", \"c2\""],
        ),
        (
            together("c1", "x", "web") + &together("c2", "web", "db") + &apart("x", "db"),
            ["(\"c1\", \"c2\")", "\"x\" can run nowhere"],
        ),
        (together("c1", "web", "g") + &apart("web", "m1"), ["(\"c1\")", "\"web\" can run nowhere"]),
    ] {
        let resources = one.clone() + &group;
        let site = Site { constraints: &constraints, resources: &resources, ..Site::default() };
        expect(&site, Error, Kind::ColocationContradiction, &words);
    }
    let circle = together("c1", "web", "db") + &together("c2", "db", "web");
    let site = Site { constraints: &circle, ..Site::default() };
    expect(&site, Warning, Kind::ColocationLoop, &["\"db\", \"web\""]);
    let roles = r#"<rsc_colocation id="c1" rsc="web" with-rsc="disks" with-rsc-role="Promoted"
          score="INFINITY"/>
        <rsc_colocation id="c2" rsc="web" with-rsc="disks" with-rsc-role="Unpromoted"
          score="-INFINITY"/>"#;
    is_clean(&Site { constraints: roles, ..Site::default() });
    let fine = together("c1", "web", "x") + &together("c2", "db", "x").replace("INFINITY", "5");
    let fine = fine + &apart("web", "db");
    is_clean(&Site { constraints: &fine, resources: &one, ..Site::default() });
}

#[test]
fn resources_may_run_somewhere() {
    let ban = |id: &str, node: &str| {
        format!(r#"<rsc_location id="{id}" rsc="web" node="{node}" score="-INFINITY"/>"#)
    };
    let all = ban("l1", "alpha") + &ban("l2", "beta");
    let site = Site { constraints: &all, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"l1\", \"l2\"", "primitive[@id='web']"]);
    let rule = |expression: &str| {
        format!(
            r#"<rsc_location id="l" rsc="web"><rule id="r" score="-INFINITY">
<expression id="e" {expression}/></rule></rsc_location>"#
        )
    };
    let always = rule(r##"attribute="#uname" operation="defined""##);
    let site = Site { constraints: &always, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"l\""]);
    for fine in [
        rule(r##"attribute="#uname" operation="eq" value="beta""##),
        rule(r#"attribute="pingd" operation="not_defined""#),
        ban("l1", "alpha"),
    ] {
        is_clean(&Site { constraints: &fine, ..Site::default() });
    }
    let pair = ban("l1", "alpha")
        + &ban("l2", "beta").replace("\"web\"", "\"db\"")
        + r#"<rsc_colocation id="c" rsc="web" with-rsc="db" score="INFINITY"/>"#;
    let site = Site { constraints: &pair, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"web\" can run nowhere", "\"c\""]);
    is_clean(&Site { constraints: &pair.replace("INFINITY\"/>", "9\"/>"), ..Site::default() });
    let options = option("symmetric-cluster", "false");
    let allow =
        |rsc: &str| format!(r#"<rsc_location id="on-{rsc}" rsc="{rsc}" node="beta" score="0"/>"#);
    let most = allow("web") + &allow("disk");
    let site = Site { options: &options, constraints: &most, ..Site::default() };
    expect(&site, Warning, Kind::BannedEverywhere, &["\"db\"", "symmetric-cluster"]);
    let both = r#"<rsc_location id="l1" rsc="web" node="beta" score="INFINITY"/>
        <rsc_location id="l2" rsc="web" node="beta" score="-INFINITY"/>"#;
    let site = Site { constraints: both, ..Site::default() };
    expect(&site, Error, Kind::LocationContradiction, &["\"l1\"", "\"l2\"", "\"beta\""]);
}

#[test]
fn rules_can_be_read_and_can_hold() {
    let rule = |inside: &str| {
        format!(
            r#"<rsc_location id="l" rsc="web"><rule id="r" score="5">{inside}</rule>
</rsc_location>"#
        )
    };
    let eq = |id: &str, value: &str| {
        format!(r#"<expression id="{id}" attribute="rack" operation="eq" value="{value}"/>"#)
    };
    for (inside, severity, kind, words) in [
        (
            r#"<date_expression id="d" operation="in_range" start="2030-01-01" end="2029-01-01"/>"#
                .to_owned(),
            Error,
            Kind::DateRange,
            "2029-01-01",
        ),
        (
            r#"<date_expression id="d" operation="gt" start="soon"/>"#.to_owned(),
            Error,
            Kind::Rule,
            "\"soon\"",
        ),
        (eq("e1", "1") + &eq("e2", "2"), Warning, Kind::RuleNeverHolds, "\"rack\""),
        (
            eq("e1", "1") + r#"<expression id="e2" attribute="rack" operation="not_defined"/>"#,
            Warning,
            Kind::RuleNeverHolds,
            "not to be there",
        ),
    ] {
        let constraints = rule(&inside);
        let site = Site { constraints: &constraints, ..Site::default() };
        expect(&site, severity, kind, &[words, "rule[@id='r']"]);
    }
    is_clean(&Site { constraints: &rule(&(eq("e1", "1") + &eq("e2", "1"))), ..Site::default() });
}
