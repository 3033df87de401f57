//! Reads the parameters of a native agent, and notes everything that is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use crate::span;

/// Reads the parameters of a native agent one by one; at the end tells all that is wrong at once:
/// the missing, the wrong, and those that nobody asked for.
///
/// ```
/// use ha_agents::registry::Parameters;
///
/// let given = [("port", "http"), ("adress", "192.0.2.1")].map(|(n, v)| (n.into(), v.into()));
/// let given = given.into();
/// let mut parameters = Parameters::new(&given);
/// let port = parameters.parsed::<u16>("port", "a number from 1 to 65535");
/// let address = parameters.required("address", "an address, such as 192.0.2.1");
/// let error = parameters.finish(()).unwrap_err();
/// assert_eq!(error.problems().len(), 3); // port is wrong, address missing, adress unknown
/// ```
#[derive(Debug)]
pub struct Parameters<'a> {
    given: &'a BTreeMap<String, String>,
    known: BTreeSet<String>,
    problems: Problems,
}

impl<'a> Parameters<'a> {
    /// Begins to read.
    #[must_use]
    pub const fn new(given: &'a BTreeMap<String, String>) -> Self {
        Self { given, known: BTreeSet::new(), problems: Problems::new() }
    }

    /// A parameter that need not be given.
    pub fn optional(&mut self, name: &str) -> Option<&'a str> {
        self.known.insert(name.to_owned());
        self.given.get(name).map(String::as_str)
    }

    /// A parameter that must be given and not be empty; empty if it is not, which is noted.
    pub fn required(&mut self, name: &str, allowed: &str) -> &'a str {
        let value = self.optional(name).unwrap_or_default();
        if value.is_empty() {
            let told = if self.given.contains_key(name) { "(empty)" } else { "(nothing)" };
            self.problems.add(name, told, format!("it is required: {allowed}"));
        }
        value
    }

    /// A parameter that need not be given and is parsed.
    pub fn parsed<T: std::str::FromStr>(&mut self, name: &str, allowed: &str) -> Option<T> {
        self.read(name, allowed, |value| value.parse().ok())
    }

    /// A span of time: `500ms`, `10s`, `2min`, `1h`, or a number of seconds.
    pub fn span(&mut self, name: &str) -> Option<Duration> {
        self.read(name, "a time, such as 500ms, 10s or 2min", span::parse)
    }

    /// Yes or no: `true`, `yes`, `on`, `1`, or `false`, `no`, `off`, `0`.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        self.read(name, "true or false", |value| match value.to_ascii_lowercase().as_str() {
            "1" | "on" | "true" | "yes" => Some(true),
            "0" | "false" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    /// Words with blanks between; `'…'` and `"…"` keep blanks, and the other quote, in a word.
    /// There is no other way to quote, and no shell looks at them. If they are wrong the text is
    /// not told, as a program's arguments may have secrets among them.
    pub fn words(&mut self, name: &str) -> Vec<String> {
        let words = self.optional(name).map(split);
        if words == Some(None) {
            self.problems.add(name, "(given)", "words with blanks between, each quote closed");
        }
        words.flatten().unwrap_or_default()
    }

    /// All parameters that begin with `prefix`, without it.
    pub fn with_prefix(&mut self, prefix: &str) -> Vec<(&'a str, &'a str)> {
        let found: Vec<_> = self
            .given
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
            .filter(|(name, _)| !name.is_empty())
            .collect();
        self.known.extend(found.iter().map(|(name, _)| format!("{prefix}{name}")));
        self.known.insert(format!("{prefix}…"));
        found
    }

    /// Notes that the value of a parameter is not allowed.
    pub fn refuse(&mut self, name: &str, allowed: &str) {
        let value = self.given.get(name).map_or("(nothing)", String::as_str);
        self.problems.add(name, format!("{value:?}"), allowed);
    }

    /// Notes the problems of what was made of parameters.
    pub fn absorb(&mut self, error: ConfigError) {
        self.problems.absorb(error);
    }

    /// `value` if nothing is wrong.
    ///
    /// # Errors
    ///
    /// All that is wrong; parameters that were not asked for are.
    pub fn finish<T>(mut self, value: T) -> Result<T, ConfigError> {
        for name in self.given.keys().filter(|name| !self.known.contains(*name)) {
            // Without those that `with_prefix` found.
            let known = self.known.iter().filter(|known| {
                let group = known.split_once('.').map(|(group, _)| format!("{group}.…"));
                group.is_none_or(|group| group == **known || !self.known.contains(&group))
            });
            let known: Vec<&str> = known.map(String::as_str).collect();
            let allowed = format!("it is unknown to the agent, which has: {}", known.join(", "));
            self.problems.add(name, "(given)", allowed);
        }
        self.problems.into_result(value)
    }

    fn read<T>(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.optional(name)?;
        let parsed = parse(value.trim());
        if parsed.is_none() {
            self.refuse(name, allowed);
        }
        parsed
    }
}

/// `None`: a quote is not closed.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if matches!(c, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            Some(_) | None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_at_blanks_outside_of_quotes() {
        for (text, words) in [
            ("", &[][..]),
            ("  -a  b\tc ", &["-a", "b", "c"]),
            (r#"-m 'two words' "it's" x'y z'"w" ''"#, &["-m", "two words", "it's", "xy zw", ""]),
            (r"$HOME \n *", &["$HOME", r"\n", "*"]),
        ] {
            assert_eq!(
                split(text).as_deref(),
                Some(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]),
                "{text}"
            );
        }
        assert_eq!(split("it's"), None);
    }

    #[test]
    fn unknown_ones_are_told_what_is_known_and_prefixes_once() {
        let given = [("env.A", "1"), ("env.B", "2"), ("flag", "maybe"), ("odd", "")];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut parameters = Parameters::new(&given);
        assert_eq!(parameters.with_prefix("env."), [("A", "1"), ("B", "2")]);
        assert_eq!(parameters.flag("flag"), None);
        let error = parameters.finish(()).expect_err("two problems");
        let told: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("flag: \"maybe\"") && told[0].contains("true or false"));
        assert!(told[1].starts_with("odd: ") && told[1].ends_with("has: env.…, flag"), "{told:?}");
    }

    #[test]
    fn arguments_that_cannot_be_split_are_not_told() {
        let given = [("args".to_owned(), "--password 's3cret".to_owned())].into();
        let mut parameters = Parameters::new(&given);
        assert_eq!(parameters.words("args"), Vec::<String>::new());
        let error = parameters.finish(()).expect_err("a quote is open");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        assert!(error.problems()[0].to_string().contains("each quote closed"), "{error}");
    }
}
