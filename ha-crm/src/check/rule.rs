//! Rules that cannot be read, or never hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::{FindingKind, Findings, quote};
use super::scene::Scene;
use crate::cib::{AttributeSet, CibConstraint, RuleElement};
use crate::model::rule::{
    Comparison, Condition, DateExpression, Join, Rule, ValueSource, ValueType,
};

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let cib = scene.cib;
    let mut rules: Vec<&Arc<RuleElement>> = Vec::new();
    for constraint in &cib.constraints {
        match constraint {
            CibConstraint::Colocation(one) => rules.extend(&one.lifetime),
            CibConstraint::Location(one) => {
                rules.extend(&one.lifetime);
                rules.extend(one.rules.iter().map(|rule| &rule.rule));
            }
            CibConstraint::Order(one) => rules.extend(&one.lifetime),
            CibConstraint::Ticket(one) => rules.extend(&one.lifetime),
        }
    }
    let mut seen_sets = BTreeSet::new();
    let mut sets = |sets: &[Arc<AttributeSet>], rules: &mut Vec<Arc<RuleElement>>| {
        for set in sets {
            if seen_sets.insert(Arc::as_ptr(set).addr()) {
                rules.extend(set.rules.iter().cloned());
            }
        }
    };
    let mut of_sets = Vec::new();
    for list in [&cib.options, &cib.resource_defaults, &cib.operation_defaults] {
        sets(list, &mut of_sets);
    }
    for node in &cib.nodes {
        sets(&node.attributes, &mut of_sets);
        sets(&node.utilization, &mut of_sets);
    }
    let primitives = scene.items.iter().filter_map(|item| item.primitive);
    for primitive in primitives.chain(&cib.templates) {
        for list in [&primitive.meta, &primitive.instance, &primitive.utilization] {
            sets(list, &mut of_sets);
        }
    }
    let mut seen = BTreeSet::new();
    for rule in rules.into_iter().chain(&of_sets) {
        if seen.insert(Arc::as_ptr(rule).addr()) && scene.can_read(rule) {
            one(rule, findings);
        }
    }
}

fn one(element: &RuleElement, findings: &mut Findings) {
    let (rule, problems) = element.rule();
    for problem in &problems {
        let what = format!("the rule cannot be read as it stands: {problem}");
        let remedy = "mend it; what cannot be read never holds".to_owned();
        findings.error(FindingKind::Rule, element.place.clone(), what, remedy);
    }
    if !problems.is_empty() {
        return;
    }
    let mut open = vec![&rule];
    while let Some(rule) = open.pop() {
        for condition in &rule.conditions {
            match condition {
                Condition::Date(date) => dates(element, date, findings),
                Condition::Rule(inner) => open.push(inner),
                Condition::Attribute(_)
                | Condition::Never(_)
                | Condition::Operation(_)
                | Condition::Resource(_) => {}
            }
        }
        if let Some(why) = never(rule) {
            let what = format!("the rule can never hold: {why}");
            let remedy = "mend it, or join the conditions with boolean-op=\"or\"".to_owned();
            findings.warn(FindingKind::RuleNeverHolds, element.place.clone(), what, remedy);
        }
    }
}

fn dates(element: &RuleElement, date: &DateExpression, findings: &mut Findings) {
    let DateExpression::InRange(range) = date else { return };
    let (Some(start), Some(last)) = (range.start, range.last()) else { return };
    if start > last {
        let what = format!(
            "the range of dates begins at {start} and ends before, at {last}, so it \
             never holds"
        );
        let remedy = "give an end that comes after the start".to_owned();
        findings.error(FindingKind::DateRange, element.place.clone(), what, remedy);
    }
}

/// Why no node can meet all conditions: one attribute is to have two values, or to be there and
/// not.
fn never(rule: &Rule) -> Option<String> {
    if rule.join != Join::All {
        return None;
    }
    let mut values: BTreeMap<&str, (bool, Option<&str>, bool)> = BTreeMap::new();
    for condition in &rule.conditions {
        let Condition::Attribute(expression) = condition else { continue };
        let name = &*expression.attribute;
        let is_text = matches!(expression.value_type, None | Some(ValueType::String));
        let literal = expression.value_source == ValueSource::Literal && is_text;
        let (is_set, value, is_unset) = values.entry(name).or_default();
        match expression.operation {
            Comparison::NotDefined => *is_unset = true,
            Comparison::Eq if literal => {
                let wanted = expression.value.as_deref().filter(|text| !text.is_empty())?;
                if let Some(before) = value.filter(|before| !before.eq_ignore_ascii_case(wanted)) {
                    return Some(format!(
                        "the attribute {} is to be {} and {}",
                        quote(name),
                        quote(before),
                        quote(wanted)
                    ));
                }
                *value = Some(wanted);
                *is_set = true;
            }
            Comparison::Eq | Comparison::Ne => {}
            Comparison::Defined
            | Comparison::Gt
            | Comparison::Gte
            | Comparison::Lt
            | Comparison::Lte => *is_set = true,
        }
        if *is_set && *is_unset {
            return Some(format!(
                "the attribute {} is to be there and not to be there",
                quote(name)
            ));
        }
    }
    None
}
