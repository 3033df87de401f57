use std::collections::BTreeMap;

use proptest::prelude::*;

use super::wall;
use crate::model::rule::{Condition, Facts, Join, Rule, RuleSource, read};

#[derive(Debug, Clone, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
}

impl RuleSource for Element {
    fn name(&self) -> &str {
        &self.name
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    fn children<'a>(&'a self) -> impl Iterator<Item = &'a Self>
    where
        Self: 'a,
    {
        self.children.iter()
    }
}

/// An element from `name key=value key=value`, with `~` for a space in a value.
fn element(text: &str, children: Vec<Element>) -> Element {
    let mut words = text.split(' ');
    Element {
        name: words.next().unwrap().to_owned(),
        attributes: words
            .map(|word| word.split_once('=').unwrap())
            .map(|(key, value)| (key.to_owned(), value.replace('~', " ")))
            .collect(),
        children,
    }
}

fn of_one(condition: Element) -> (Rule, Vec<String>) {
    read(&element("rule id=r", vec![condition]))
}

#[test]
fn a_whole_tree_is_read() {
    let (rule, problems) = read(&element(
        "rule id=r score=INFINITY boolean-op=or",
        vec![
            element("expression id=e attribute=#uname operation=eq value=n1 type=string", vec![]),
            element("date_expression id=d start=2019-09-23~11:00:00~-05:00", vec![]),
            element(
                "rule id=in",
                vec![
                    element(
                        "date_expression operation=date_spec",
                        vec![element("date_spec hours=9-16 weekdays=1-5", vec![])],
                    ),
                    element(
                        "date_expression operation=IN_RANGE start=2019-01-31",
                        vec![element("duration months=1 hours=2", vec![])],
                    ),
                    element("op_expression name=monitor interval=10s", vec![]),
                    element("rsc_expression class=ocf provider=heartbeat type=IPaddr2", vec![]),
                ],
            ),
        ],
    ));
    assert_eq!(problems, Vec::<String>::new());
    let expected: Rule = serde_json::from_str(
        r##"{"id": "r", "join": "any", "conditions": [
            {"attribute":
                {"attribute": "#uname", "operation": "eq", "value": "n1", "type": "string"}},
            {"date": {"in-range": {"start": "2019-09-23 16:00"}}},
            {"rule": {"id": "in", "conditions": [
                {"date": {"spec": {"hours": "9-16", "weekdays": "1-5"}}},
                {"date": {"in-range":
                    {"start": "2019-01-31", "duration": {"months": 1, "hours": 2}}}},
                {"operation": {"name": "monitor", "interval": 10}},
                {"resource": {"class": "ocf", "provider": "heartbeat", "type": "IPaddr2"}}
            ]}}
        ]}"##,
    )
    .unwrap();
    assert_eq!(rule, expected);
}

#[test]
fn what_cannot_be_read_is_told_and_never_holds() {
    let node = BTreeMap::from([("a", "5")]);
    let facts = Facts::at(wall("2019-09-23 12:00")).node(&node);
    for (text, inner, problem) in [
        ("expression operation=eq value=5", "", "attribute: nothing is not allowed: the name"),
        ("expression attribute=a value=5", "", "operation: nothing is not allowed: one of def"),
        ("expression attribute=a operation=is value=5", "", "operation: \"is\" is not allowed"),
        ("expression attribute=a operation=eq", "", "value: nothing is not allowed: a value"),
        ("expression attribute=a operation=eq value=5 type=int", "", "type: \"int\" is not"),
        ("expression attribute=a operation=eq value=5 value-source=x", "", "value-source: \"x\""),
        ("date_expression operation=gt", "", "start: nothing is not allowed: an ISO 8601"),
        ("date_expression operation=gt start=yesterday", "", "start: \"yesterday\""),
        ("date_expression operation=lt start=2030-01-01", "", "end: nothing"),
        ("date_expression operation=in_range", "", ": nothing is not allowed: start, end or both"),
        ("date_expression operation=in_range start=2019-01-01 end=x", "", "end: \"x\""),
        ("date_expression operation=eq start=2019-01-01", "", "operation: \"eq\""),
        ("date_expression operation=date_spec", "", ": nothing is not allowed: a date_spec"),
        ("date_expression operation=date_spec", "date_spec hours=noon", "hours: \"noon\""),
        ("date_expression operation=date_spec", "date_spec hours=1,12", "hours: \"1,12\""),
        ("date_expression operation=date_spec", "date_spec hours=-", "hours: \"-\""),
        ("date_expression start=2019-01-01", "duration years=x", "years: \"x\" is not allowed"),
        ("op_expression interval=10s", "", "name: nothing"),
        ("op_expression name=monitor interval=10x", "", "interval: \"10x\""),
        ("nvpair name=a", "", ": \"nvpair\" is not allowed: rule, expression"),
        ("rule", "", "rule[0]: nothing is not allowed: rule, expression"),
    ] {
        let inner = if inner.is_empty() { vec![] } else { vec![element(inner, vec![])] };
        let (rule, problems) = of_one(element(text, inner));
        assert!(!rule.holds(&facts), "{text}");
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].starts_with("rule[r]."), "{problems:?}");
        assert!(problems[0].contains(problem), "{text}: {problems:?}");
        assert_eq!(rule.conditions.len(), 1, "{text}");
    }
}

#[test]
fn a_rule_whose_join_cannot_be_read_never_holds() {
    let defined = element("expression attribute=a operation=defined", vec![]);
    let node = BTreeMap::from([("a", "5")]);
    let facts = Facts::at(wall("2019-09-23")).node(&node);
    for (join, holds, problems) in [("and", true, 0), ("OR", true, 0), ("xor", false, 1)] {
        let text = format!("rule id=r boolean-op={join}");
        let (rule, found) = read(&element(&text, vec![defined.clone()]));
        assert_eq!((rule.holds(&facts), found.len()), (holds, problems), "{join}");
    }
}

#[test]
fn one_wrong_condition_does_not_spoil_another_of_an_or() {
    let right = element("expression attribute=a operation=defined", vec![]);
    let wrong = element("expression attribute=a operation=is", vec![]);
    let (rule, problems) = read(&element("rule boolean-op=or", vec![wrong, right]));
    let node = BTreeMap::from([("a", "5")]);
    assert!(rule.holds(&Facts::at(wall("2019-09-23")).node(&node)));
    assert_eq!((rule.join, problems.len()), (Join::Any, 1));
}

#[test]
fn numbers_outside_a_fields_limits_are_told_and_used() {
    let spec = element("date_spec hours=0-24 weekdays=7-1", vec![]);
    let (rule, problems) = of_one(element("date_expression operation=date_spec", vec![spec]));
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[1].contains("hours: \"0-24\" is not allowed: numbers from 0 to 23"));
    assert!(!rule.holds(&Facts::at(wall("2019-09-22"))));
    let spec = element("date_spec hours=0-24", vec![]);
    let (rule, _) = of_one(element("date_expression operation=date_spec", vec![spec]));
    assert!(rule.holds(&Facts::at(wall("2019-09-22"))));
}

#[test]
fn intervals_are_read_with_pacemakers_units() {
    for (text, millis) in [
        ("10", 10_000),
        ("10s", 10_000),
        ("10sec", 10_000),
        ("10ms", 10),
        ("10msec", 10),
        ("2m", 120_000),
        ("2min", 120_000),
        ("1h", 3_600_000),
        ("1HR", 3_600_000),
        ("5000us", 5),
    ] {
        let text = format!("op_expression name=monitor interval={text}");
        let (rule, problems) = of_one(element(&text, vec![]));
        let interval = std::time::Duration::from_millis(millis);
        let facts = Facts::at(wall("2019-09-22")).operation("monitor", interval);
        assert!(rule.holds(&facts), "{text} {problems:?}");
    }
}

#[test]
fn rules_that_lie_too_deep_are_not_read() {
    let mut rule =
        element("rule", vec![element("expression attribute=a operation=defined", vec![])]);
    for _ in 0..5_000 {
        rule = element("rule", vec![rule]);
    }
    let (read, problems) = read(&rule);
    assert_eq!(problems.len(), 1, "{problems:?}");
    let node = BTreeMap::from([("a", "5")]);
    assert!(!read.holds(&Facts::at(wall("2019-09-22")).node(&node)));
    // Taking the tree apart must not overflow the stack either.
    let mut rest = vec![rule];
    while let Some(mut next) = rest.pop() {
        rest.append(&mut next.children);
    }
}

fn any_element() -> impl Strategy<Value = Element> {
    let name = prop::sample::select(vec![
        "rule",
        "expression",
        "date_expression",
        "date_spec",
        "duration",
        "op_expression",
        "rsc_expression",
        "other",
    ]);
    let key = prop::sample::select(vec![
        "id",
        "boolean-op",
        "attribute",
        "operation",
        "value",
        "type",
        "value-source",
        "start",
        "end",
        "hours",
        "weekdays",
        "years",
        "moon",
        "name",
        "interval",
        "class",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "and",
            "or",
            "eq",
            "lt",
            "gt",
            "in_range",
            "date_spec",
            "not_defined",
            "version",
            "param",
            "2019-09-23",
            "2019-W39-1 12:00",
            "1-5",
            "-5",
            "7",
            "10s",
            "",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ];
    let attributes = prop::collection::btree_map(key.prop_map(str::to_owned), value, 0..6);
    let leaf = (name, attributes).prop_map(|(name, attributes)| Element {
        name: name.to_owned(),
        attributes,
        children: Vec::new(),
    });
    leaf.clone().prop_recursive(4, 24, 4, move |inner| {
        (leaf.clone(), prop::collection::vec(inner, 0..4))
            .prop_map(|(element, children)| Element { children, ..element })
    })
}

proptest! {
    #[test]
    fn any_tree_is_read_and_what_is_wrong_in_it_is_told(tree in any_element(), micros: i64) {
        let (rule, problems) = read(&tree);
        let node = BTreeMap::from([("a", "5")]);
        let now = ha_core::time::WallTime::from_micros(micros);
        let facts = Facts::at(now).node(&node);
        prop_assert!(!rule.why(&facts).contains('\n'));
        prop_assert!(rule.next_change(now).is_none_or(|next| next > now));
        for problem in &problems {
            prop_assert!(problem.contains(" is not allowed: ") && !problem.contains('\n'));
        }
        // Every condition that never holds has been told.
        prop_assert!(never(&rule) <= problems.len());
        let text = serde_json::to_string(&rule).unwrap();
        if problems.is_empty() {
            prop_assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
        }
    }
}

fn never(rule: &Rule) -> usize {
    rule.conditions
        .iter()
        .map(|condition| match condition {
            Condition::Never(_) => 1,
            Condition::Rule(rule) => never(rule),
            Condition::Attribute(_)
            | Condition::Date(_)
            | Condition::Operation(_)
            | Condition::Resource(_) => 0,
        })
        .sum()
}
