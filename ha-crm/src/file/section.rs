//! A table of a TOML file that is read key by key, and everything that is wrong with it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use ha_core::config::Problems;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::model::{Score, span};

/// What a name may be.
pub(super) const NAME: &str =
    "1 to 253 characters of a-z, A-Z, 0-9, '-', '_', '.' and ':', the first a letter or digit";
/// What a span of time may be.
pub(super) const SPAN: &str = "a whole number with ms, s, min or h, such as \"10s\"";
/// What a switch may be.
pub(super) const SWITCH: &str = "true or false";

/// A table, the keys that were asked for, and where the problems go.
///
/// Every key that is read is known from then on; what is left at the end is a mistake.
pub(super) struct Section<'p> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    problems: &'p RefCell<Problems>,
}

impl<'p> Section<'p> {
    /// The whole file.
    pub(super) const fn whole(table: Table, problems: &'p RefCell<Problems>) -> Self {
        Self { path: String::new(), table, known: Vec::new(), problems }
    }

    /// The table that `value` should be.
    pub(super) fn of(
        path: String,
        value: Value,
        problems: &'p RefCell<Problems>,
    ) -> Option<Section<'p>> {
        if let Value::Table(table) = value {
            return Some(Section { path, table, known: Vec::new(), problems });
        }
        problems.borrow_mut().add(path, shown(&value), "a table: { key = value, … }");
        None
    }

    /// The value of a key, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// What `parse` makes of the value of a key; what it makes nothing of is a problem.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.problem(key, shown(&value), allowed);
        }
        parsed
    }

    /// The same for a key that must be there.
    pub(super) fn needed<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.problem(key, "nothing", allowed);
            return None;
        }
        self.read(key, allowed, parse)
    }

    /// The table below a key, if it is there.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'p>> {
        let value = self.take(key)?;
        Section::of(self.at(key), value, self.problems)
    }

    /// The tables in the list below a key.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'p>> {
        let path = self.at(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                let items = list.into_iter().enumerate();
                items
                    .filter_map(|(index, value)| {
                        Section::of(format!("{path}[{index}]"), value, self.problems)
                    })
                    .collect()
            }
            Some(value) => {
                self.problem(key, shown(&value), format!("a list of tables: [[{path}]]"));
                Vec::new()
            }
        }
    }

    /// One value or a list of them.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.take(key)?;
        let values = if let Value::Array(list) = value { list } else { vec![value] };
        let mut found = Vec::new();
        for value in values {
            match parse(&value) {
                Some(item) => found.push(item),
                None => self.problem(key, shown(&value), allowed),
            }
        }
        Some(found)
    }

    /// The entries of the table below a key, whose keys are names.
    pub(super) fn map<K: FromStr + Ord, T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> BTreeMap<K, T> {
        let mut found = BTreeMap::new();
        let Some(section) = self.section(key) else { return found };
        let problems = section.problems;
        for (name, path, value) in section.entries::<K>() {
            if let Some(parsed) = parse(&value) {
                found.insert(name, parsed);
            } else {
                problems.borrow_mut().add(path, shown(&value), allowed);
            }
        }
        found
    }

    /// All entries of a table whose keys are names, each with its path.
    pub(super) fn entries<K: FromStr>(self) -> Vec<(K, String, Value)> {
        let Self { path, table, problems, .. } = self;
        let mut found = Vec::new();
        for (key, value) in table {
            match key.parse() {
                Ok(name) => found.push((name, format!("{path}.{key}"), value)),
                Err(_) => problems.borrow_mut().add(path.clone(), format!("{key:?}"), NAME),
            }
        }
        found
    }

    /// Notes a problem with a key.
    pub(super) fn problem(&self, key: &str, value: impl Display, allowed: impl Into<String>) {
        self.problems.borrow_mut().add(self.at(key), value, allowed);
    }

    /// Where the problems go.
    pub(super) const fn problems(&self) -> &'p RefCell<Problems> {
        self.problems
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let near = self.known.iter().map(|known| (distance(key, known), *known)).min();
            let hint = match near {
                Some((steps, near)) if steps <= 1 + near.len() / 4 => {
                    format!("did you mean `{near}`? ")
                }
                _ => String::new(),
            };
            let shown = key.escape_debug().to_string();
            self.problem(&shown, "this key", format!("{hint}keys here: {}", self.known.join(", ")));
        }
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// A value as an error shows it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// How many letters must be changed, added or left out to make `wanted` of `given`.
fn distance(given: &str, wanted: &str) -> usize {
    let wanted: Vec<char> = wanted.chars().collect();
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    // A key that is this long is near to nothing.
    for (line, letter) in given.chars().take(64).enumerate() {
        let mut next = vec![line + 1];
        for (known, window) in wanted.iter().zip(row.windows(2)) {
            let &[corner, above] = window else { continue };
            let left = next.last().copied().unwrap_or_default();
            let step = usize::from(letter != *known);
            next.push((corner + step).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

pub(super) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(super) fn filled(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

pub(super) fn name<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

pub(super) fn switch(value: &Value) -> Option<bool> {
    value.as_bool()
}

pub(super) fn number<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    value.as_integer()?.try_into().ok()
}

pub(super) fn span_of(value: &Value) -> Option<Duration> {
    match value.as_integer() {
        Some(seconds) => seconds.try_into().ok().map(Duration::from_secs),
        None => span::parse(value.as_str()?),
    }
}

/// What a score may be.
pub(super) const SCORE: &str = "-1000000 to 1000000, \"infinity\" or \"-infinity\"";

pub(super) fn score(value: &Value) -> Option<Score> {
    match value.as_str() {
        Some("infinity") => Some(Score::INFINITY),
        Some("-infinity") => Some(Score::NEVER),
        Some(_) => None,
        None => {
            let score = value.as_integer()?;
            let most = i64::from(Score::INFINITY.get());
            (-most..=most).contains(&score).then(|| i32::try_from(score).ok().map(Score::new))?
        }
    }
}

/// One of the words of a type.
pub(super) fn word<T: DeserializeOwned>(value: &Value) -> Option<T> {
    // A word only: a table would be read as a variant, too.
    value.as_str()?;
    T::deserialize(value.clone()).ok()
}

/// What a parameter may be.
pub(super) const PARAMETER: &str = "text without NUL, a whole number, true or false";

/// A parameter of an agent: all of them are text in the end.
pub(super) fn parameter(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.contains('\0') => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::String(_)
        | Value::Float(_)
        | Value::Datetime(_)
        | Value::Array(_)
        | Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_changes() {
        for (given, wanted, steps) in
            [("agent", "agent", 0), ("agnet", "agent", 2), ("", "key", 3), ("datta", "data", 1)]
        {
            assert_eq!(distance(given, wanted), steps, "{given} {wanted}");
        }
    }
}
