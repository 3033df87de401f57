use std::collections::BTreeMap;

use ha_core::time::WallTime;
use proptest::prelude::*;

use crate::model::rule::{
    AttributeExpression, Comparison, Condition, Facts, ValueSource, ValueType,
};

const ORDER: [Comparison; 6] = [
    Comparison::Lt,
    Comparison::Gt,
    Comparison::Lte,
    Comparison::Gte,
    Comparison::Eq,
    Comparison::Ne,
];

fn judge(expression: &AttributeExpression, attribute: Option<&str>) -> bool {
    let node: BTreeMap<&str, &str> = attribute.map(|value| ("a", value)).into_iter().collect();
    let facts = Facts::at(WallTime::from_micros(0)).node(&node);
    Condition::Attribute(expression.clone()).holds(&facts)
}

/// Which of lt, gt, lte, gte, eq and ne hold, as six digits.
fn row(value_type: Option<ValueType>, attribute: Option<&str>, value: &str) -> String {
    ORDER
        .into_iter()
        .map(|operation| {
            let mut expression = AttributeExpression::new("a", operation, value);
            expression.value_type = value_type;
            if judge(&expression, attribute) { '1' } else { '0' }
        })
        .collect()
}

/// Recorded from Pacemaker 2.1.5 by one location rule a cell; the versions with letters are ours,
/// it does not end with them.
#[test]
fn every_operation_and_type_compares_as_pacemaker_does() {
    const LESS: &str = "101001";
    const MORE: &str = "010101";
    const SAME: &str = "001110";
    let table = [
        // attribute, value, default, string, integer, number, version
        (Some("5"), "5", [SAME; 5]),
        (Some("5"), "10", [LESS, MORE, LESS, LESS, LESS]),
        (Some("10"), "5", [MORE, LESS, MORE, MORE, MORE]),
        (Some("abc"), "ABC", [SAME; 5]),
        (Some("a"), "B", [LESS, LESS, LESS, LESS, SAME]),
        (Some("5.5"), "5", [MORE, MORE, SAME, MORE, MORE]),
        (Some("5"), "5.5", [LESS, LESS, SAME, LESS, LESS]),
        (Some("5.7"), "5.2", [MORE, MORE, SAME, MORE, MORE]),
        (Some("x"), "5", [MORE, MORE, MORE, MORE, LESS]),
        (Some("5"), "x", [LESS, LESS, LESS, LESS, MORE]),
        (Some(""), "5", [LESS; 5]),
        (None, "5", ["000001"; 5]),
        // An empty value in the rule is none; an empty attribute is one.
        (Some("5"), "", ["000001"; 5]),
        (Some(""), "", ["000001"; 5]),
        (None, "", ["000010"; 5]),
        // By default equality is that of texts, order that of numbers.
        (Some("5x"), "5", ["001101", MORE, SAME, SAME, SAME]),
        (Some("05"), "5", ["001101", LESS, SAME, SAME, SAME]),
        (Some("5.0"), "5", ["001101", MORE, SAME, SAME, SAME]),
    ];
    let types = [
        None,
        Some(ValueType::String),
        Some(ValueType::Integer),
        Some(ValueType::Number),
        Some(ValueType::Version),
    ];
    for (attribute, value, expected) in table {
        for (value_type, expected) in types.into_iter().zip(expected) {
            let actual = row(value_type, attribute, value);
            assert_eq!(actual, expected, "{attribute:?} {value:?} {value_type:?}");
        }
    }
}

#[test]
fn defined_and_not_defined_look_only_whether_it_is_there() {
    for (attribute, defined) in [(Some("5"), true), (Some(""), true), (None, false)] {
        assert_eq!(judge(&AttributeExpression::defined("a"), attribute), defined);
        assert_eq!(judge(&AttributeExpression::not_defined("a"), attribute), !defined);
    }
}

#[test]
fn without_a_node_no_attribute_expression_holds() {
    let facts = Facts::at(WallTime::from_micros(0));
    for expression in
        [AttributeExpression::not_defined("a"), AttributeExpression::new("a", Comparison::Ne, "1")]
    {
        assert!(!Condition::Attribute(expression).holds(&facts));
    }
}

#[test]
fn values_come_from_where_the_source_says() {
    let node = BTreeMap::from([("rack", "2"), ("fake", "100")]);
    let meta = BTreeMap::from([("rack", "2")]);
    let parameters = BTreeMap::from([("fake", "200")]);
    let facts = Facts::at(WallTime::from_micros(0)).node(&node);
    let full = facts.meta(&meta).parameters(&parameters);
    let judge = |facts: &Facts<'_>, name: &str, operation, source| {
        let expression = AttributeExpression::new(name, operation, name).value_source(source);
        Condition::Attribute(expression).holds(facts)
    };
    assert!(judge(&full, "rack", Comparison::Eq, ValueSource::Meta));
    assert!(judge(&full, "fake", Comparison::Lt, ValueSource::Param));
    assert!(!judge(&full, "fake", Comparison::Eq, ValueSource::Literal));
    // An empty parameter is a value, unlike an empty value in the rule.
    let empty = BTreeMap::from([("none", "")]);
    let both = Facts::at(WallTime::from_micros(0)).node(&empty).parameters(&empty);
    assert!(judge(&both, "none", Comparison::Eq, ValueSource::Param));
    // What the resource does not have is missing: only `ne` holds, or `eq` if both are missing.
    for missing in [&facts, &full] {
        assert!(judge(missing, "rack", Comparison::Ne, ValueSource::Param));
        assert!(!judge(missing, "rack", Comparison::Eq, ValueSource::Param));
        assert!(judge(missing, "none", Comparison::Eq, ValueSource::Param));
        assert!(!judge(missing, "none", Comparison::Ne, ValueSource::Meta));
        assert!(!judge(missing, "none", Comparison::Lte, ValueSource::Meta));
    }
}

#[test]
fn names_take_what_the_pattern_matched() {
    let node = BTreeMap::from([("host-db-7", "yes"), ("host-%1", "no"), ("50%", "yes")]);
    let facts = Facts::at(WallTime::from_micros(0)).node(&node);
    let holds = |name: &str, facts: &Facts<'_>| {
        Condition::Attribute(AttributeExpression::new(name, Comparison::Eq, "yes")).holds(facts)
    };
    let matched = facts.matches(&["db7", "db", "7"]);
    assert!(holds("host-%1-%2", &matched));
    assert!(holds("50%", &matched));
    assert!(holds("host-%1-%2%9", &matched)); // a group that does not exist is empty
    assert!(!holds("host-%1", &facts)); // without a pattern the name is as it stands
}

#[test]
fn versions_are_compared_number_by_number() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for (left, right, expected) in [
        ("1.2.3", "1.2.3", Equal),
        ("1.2", "1.2.0", Equal),
        ("1.2", "1.2.1", Less),
        ("1.10", "1.9", Greater),
        ("2", "1.99.99", Greater),
        ("3.0.9", "3.19.0", Less),
        ("3.0.0-rc1", "3.0.0", Equal),
        ("99999999999999999999", "1", Greater),
        ("", "", Equal),
    ] {
        assert_eq!(ValueType::Version.compare(left, right), expected, "{left} {right}");
        assert_eq!(ValueType::Version.compare(right, left), expected.reverse());
    }
}

#[test]
fn numbers_are_read_as_far_as_they_go() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for (left, right, expected) in [
        (" 7", "7", Equal),
        ("+7", "7", Equal),
        ("-7", "7", Less),
        ("1e3", "999", Greater),
        (".5", "0.4", Greater),
        ("5.5.5", "5.5", Equal),
        ("inf", "1000000", Greater),
        ("nan", "5", Greater), // no number: as text
        ("-", "5", Less),      // no number: as text
    ] {
        assert_eq!(ValueType::Number.compare(left, right), expected, "{left} {right}");
    }
    let most = i64::MAX.to_string();
    assert_eq!(ValueType::Integer.compare("9999999999999999999999", &most), Equal);
    assert_eq!(ValueType::Integer.compare("-9999999999999999999999", "-1"), Less);
}

proptest! {
    #[test]
    fn any_two_texts_compare_the_same_from_both_sides(left in ".{0,12}", right in ".{0,12}") {
        for value_type in ValueType::ALL {
            let order = value_type.compare(&left, &right);
            prop_assert_eq!(order, value_type.compare(&right, &left).reverse());
            prop_assert_eq!(value_type.compare(&left, &left), std::cmp::Ordering::Equal);
        }
    }

    #[test]
    fn whole_numbers_compare_as_numbers(left: i32, right: i32) {
        for value_type in [ValueType::Integer, ValueType::Number] {
            let order = value_type.compare(&left.to_string(), &right.to_string());
            prop_assert_eq!(order, left.cmp(&right));
        }
    }
}
