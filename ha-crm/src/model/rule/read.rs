//! Rules from elements with attributes: Pacemaker's XML.

use std::str::FromStr;
use std::time::Duration;

use super::attribute::{AttributeExpression, Comparison, ValueSource};
use super::condition::Condition;
use super::cut;
use super::date::{DateExpression, DateRange};
use super::moment::Moment;
use super::period::Period;
use super::scope::{OpExpression, ResourceExpression};
use super::spec::{DateSpec, Span};
use super::value::ValueType;
use super::{Join, Rule};
use crate::model::span;

/// An element of an XML tree, as far as a rule needs it.
pub trait RuleSource: Sized {
    /// The element's name, such as `rule` or `date_expression`.
    fn name(&self) -> &str;

    /// The value of an attribute, if it has it.
    fn attribute(&self, name: &str) -> Option<&str>;

    /// The elements in it, in order.
    fn children<'a>(&'a self) -> impl Iterator<Item = &'a Self>
    where
        Self: 'a;
}

/// Reads a `rule` of Pacemaker's XML; returns it and what is wrong with it, each as path, value
/// and what is allowed.
///
/// Never fails: a condition that cannot be read becomes [`Condition::Never`], and so do an unknown
/// `boolean-op` (with it the whole rule) and a rule without conditions. Numbers of a `date_spec`
/// outside their limits and attributes of it that are unknown are told, and the rest is used.
/// Names of operations and types may be in upper or lower case. Rules deeper than 64 in each other
/// are not read. Scores and roles are not this function's.
///
/// ```
/// use ha_crm::model::rule::{RuleSource, read};
///
/// struct Element(&'static str, Vec<(&'static str, &'static str)>, Vec<Element>);
///
/// impl RuleSource for Element {
///     fn name(&self) -> &str {
///         self.0
///     }
///     fn attribute(&self, name: &str) -> Option<&str> {
///         self.1.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
///     }
///     fn children<'a>(&'a self) -> impl Iterator<Item = &'a Self>
///     where
///         Self: 'a,
///     {
///         self.2.iter()
///     }
/// }
///
/// let gt = vec![("operation", "gt"), ("start", "2005-13-01")];
/// let date = Element("date_expression", gt, vec![]);
/// let (rule, problems) = read(&Element("rule", vec![("id", "after")], vec![date]));
/// assert_eq!(rule.conditions.len(), 1); // never holds
/// assert!(problems[0].starts_with("rule[after].date_expression[0].start: \"2005-13-01\""));
/// ```
pub fn read<S: RuleSource>(element: &S) -> (Rule, Vec<String>) {
    let mut reader = Reader { problems: Vec::new() };
    let path = path_of(element, None, 0);
    let rule = reader.rule(element, &path, 0);
    (rule, reader.problems)
}

/// How deep rules may lie in each other.
const DEEPEST: usize = 64;

const KINDS: &str = "rule, expression, date_expression, op_expression or rsc_expression";
const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "minutes", "seconds"];
const FIELDS: [&str; 11] = [
    "seconds",
    "minutes",
    "hours",
    "monthdays",
    "weekdays",
    "yeardays",
    "months",
    "weeks",
    "years",
    "weekyears",
    "moon",
];

/// The path of an element: its name with its id, or else with its place.
fn path_of<S: RuleSource>(element: &S, parent: Option<&str>, place: usize) -> String {
    let plain = |text: &str, most: usize| -> String {
        text.chars().filter(|c| !c.is_control()).take(most).collect()
    };
    let name = plain(element.name(), 40);
    let own = match element.attribute("id") {
        Some(id) => format!("{name}[{}]", plain(id, 60)),
        None => format!("{name}[{place}]"),
    };
    parent.map_or(own.clone(), |parent| format!("{parent}.{own}"))
}

struct Reader {
    problems: Vec<String>,
}

/// Something was wrong and has been noted.
struct Noted;

impl Reader {
    fn note(&mut self, path: &str, value: Option<&str>, allowed: &str) -> Noted {
        let value = value.map_or_else(|| "nothing".to_owned(), cut);
        self.problems.push(format!("{path}: {value} is not allowed: {allowed}"));
        Noted
    }

    fn rule<S: RuleSource>(&mut self, element: &S, path: &str, depth: usize) -> Rule {
        let id = element.attribute("id").map(str::to_owned);
        let unusable = |why: &str| Rule {
            id: id.clone(),
            join: Join::All,
            conditions: vec![Condition::Never(why.to_owned())],
        };
        if depth >= DEEPEST {
            self.note(path, Some("rule"), "rules at most 64 deep in each other");
            return unusable("rules lie too deep in each other");
        }
        let Ok(join) = self.one_of(element, path, "boolean-op", &[Join::All, Join::Any]) else {
            return unusable("its boolean-op cannot be read");
        };
        let join = join.unwrap_or_default();
        let mut conditions = Vec::new();
        for (place, child) in element.children().enumerate() {
            let path = path_of(child, Some(path), place);
            let never = format!("{path} cannot be read");
            conditions.push(self.condition(child, &path, depth).unwrap_or(Condition::Never(never)));
        }
        if conditions.is_empty() {
            self.note(path, None, KINDS);
            return unusable("it has no conditions");
        }
        Rule { id, join, conditions }
    }

    fn condition<S: RuleSource>(
        &mut self,
        element: &S,
        path: &str,
        depth: usize,
    ) -> Result<Condition, Noted> {
        match element.name() {
            "rule" => Ok(Condition::Rule(self.rule(element, path, depth + 1))),
            "expression" => self.expression(element, path).map(Condition::Attribute),
            "date_expression" => self.date(element, path).map(Condition::Date),
            "op_expression" => self.operation(element, path).map(Condition::Operation),
            "rsc_expression" => Ok(Condition::Resource(ResourceExpression {
                class: element.attribute("class").map(str::to_owned),
                provider: element.attribute("provider").map(str::to_owned),
                kind: element.attribute("type").map(str::to_owned),
            })),
            other => Err(self.note(path, Some(other), KINDS)),
        }
    }

    fn expression<S: RuleSource>(
        &mut self,
        element: &S,
        path: &str,
    ) -> Result<AttributeExpression, Noted> {
        let attribute = self.required(element, path, "attribute", "the name of an attribute");
        let operation = self.one_of(element, path, "operation", &Comparison::ALL);
        let operation = self.given(operation, path, "operation", &Comparison::ALL);
        let value_type = self.one_of(element, path, "type", &ValueType::ALL);
        let source = self.one_of(element, path, "value-source", &ValueSource::ALL);
        let needed = operation.as_ref().is_ok_and(|operation| operation.needs_value());
        let value = match element.attribute("value") {
            None if needed => Err(self.note(
                &format!("{path}.value"),
                None,
                "a value, or the operation defined or not_defined",
            )),
            value => Ok(value.filter(|_| needed).map(str::to_owned)),
        };
        Ok(AttributeExpression {
            attribute: attribute?,
            operation: operation?,
            value: value?,
            value_type: value_type?,
            value_source: source?.unwrap_or_default(),
        })
    }

    fn date<S: RuleSource>(&mut self, element: &S, path: &str) -> Result<DateExpression, Noted> {
        const ALLOWED: &str = "gt, lt, in_range or date_spec";
        let given = element.attribute("operation").unwrap_or("in_range");
        let end = self.parsed(element, path, "end", Moment::ALLOWED);
        let start = self.parsed(element, path, "start", Moment::ALLOWED);
        match given.to_ascii_lowercase().as_str() {
            "gt" => self.needed(start?, path, "start").map(DateExpression::After),
            "lt" => self.needed(end?, path, "end").map(DateExpression::Before),
            "in_range" => {
                let inner = element.children().find(|child| child.name() == "duration");
                let duration =
                    inner.map(|child| self.period(child, &path_of(child, Some(path), 0)));
                let (start, end, duration) = (start?, end?, duration.transpose()?);
                if start.is_none() && end.is_none() {
                    return Err(self.note(path, None, "start, end or both"));
                }
                Ok(DateExpression::InRange(DateRange { start, end, duration }))
            }
            "date_spec" => match element.children().find(|child| child.name() == "date_spec") {
                Some(child) => {
                    let spec = self.spec(child, &path_of(child, Some(path), 0))?;
                    Ok(DateExpression::Spec(spec))
                }
                None => Err(self.note(path, None, "a date_spec in it")),
            },
            _ => Err(self.note(&format!("{path}.operation"), Some(given), ALLOWED)),
        }
    }

    fn spec<S: RuleSource>(&mut self, element: &S, path: &str) -> Result<DateSpec, Noted> {
        let mut spec = DateSpec::default();
        let mut wrong = None;
        for name in FIELDS {
            match self.parsed::<S, Span>(element, path, name, Span::ALLOWED) {
                Ok(span) => spec.field(name).into_iter().for_each(|field| *field = span),
                Err(noted) => wrong = Some(noted),
            }
        }
        for (name, span, (from, to)) in spec.outside() {
            let value = span.to_string();
            let allowed = format!("numbers from {from} to {to}, the smaller first");
            self.note(&format!("{path}.{name}"), Some(&value), &allowed);
        }
        wrong.map_or(Ok(spec), Err)
    }

    fn period<S: RuleSource>(&mut self, element: &S, path: &str) -> Result<Period, Noted> {
        let mut wrong = None;
        let mut part =
            |name: &str| match self.parsed::<S, i32>(element, path, name, "a whole number") {
                Ok(number) => number.unwrap_or(0),
                Err(noted) => {
                    wrong = Some(noted);
                    0
                }
            };
        let [years, months, weeks, days, hours, minutes, seconds] = PARTS.map(&mut part);
        wrong.map_or(Ok(Period { years, months, weeks, days, hours, minutes, seconds }), Err)
    }

    fn operation<S: RuleSource>(&mut self, element: &S, path: &str) -> Result<OpExpression, Noted> {
        let name = self.required(element, path, "name", "the name of an operation");
        let interval = match element.attribute("interval") {
            None => Ok(None),
            Some(text) => interval(text).map(Some).ok_or_else(|| {
                let allowed = "a whole number with us, ms, s, min or h, such as 10s";
                self.note(&format!("{path}.interval"), Some(text), allowed)
            }),
        };
        Ok(OpExpression { name: name?, interval: interval? })
    }

    fn required<S: RuleSource>(
        &mut self,
        element: &S,
        path: &str,
        name: &str,
        allowed: &str,
    ) -> Result<String, Noted> {
        match element.attribute(name).filter(|value| !value.is_empty()) {
            Some(value) => Ok(value.to_owned()),
            None => Err(self.note(&format!("{path}.{name}"), element.attribute(name), allowed)),
        }
    }

    /// A value that must be given, from one that could be read.
    fn given<T: Copy + ToString>(
        &mut self,
        value: Result<Option<T>, Noted>,
        path: &str,
        name: &str,
        all: &[T],
    ) -> Result<T, Noted> {
        value?.ok_or_else(|| self.note(&format!("{path}.{name}"), None, &alternatives(all)))
    }

    fn needed(&mut self, date: Option<Moment>, path: &str, name: &str) -> Result<Moment, Noted> {
        date.ok_or_else(|| self.note(&format!("{path}.{name}"), None, Moment::ALLOWED))
    }

    /// An attribute that must be one of `all`, in upper or lower case.
    fn one_of<S: RuleSource, T: Copy + ToString>(
        &mut self,
        element: &S,
        path: &str,
        name: &str,
        all: &[T],
    ) -> Result<Option<T>, Noted> {
        let Some(text) = element.attribute(name) else { return Ok(None) };
        match all.iter().find(|one| one.to_string().eq_ignore_ascii_case(text)) {
            Some(one) => Ok(Some(*one)),
            None => Err(self.note(&format!("{path}.{name}"), Some(text), &alternatives(all))),
        }
    }

    fn parsed<S: RuleSource, T: FromStr>(
        &mut self,
        element: &S,
        path: &str,
        name: &str,
        allowed: &str,
    ) -> Result<Option<T>, Noted> {
        let Some(text) = element.attribute(name) else { return Ok(None) };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(self.note(&format!("{path}.{name}"), Some(text), allowed)),
        }
    }
}

fn alternatives<T: ToString>(all: &[T]) -> String {
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("one of {}", names.join(", "))
}

/// An interval as Pacemaker writes it.
fn interval(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let plain = match unit.trim_start().to_ascii_lowercase().as_str() {
        "us" | "usec" => return number.parse().ok().map(Duration::from_micros),
        "ms" | "msec" => "ms",
        "" | "s" | "sec" => "s",
        "m" | "min" => "min",
        "h" | "hr" => "h",
        _ => return None,
    };
    span::parse(&format!("{number}{plain}"))
}
