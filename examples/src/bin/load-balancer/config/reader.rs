//! Takes values out of what was given and notes what is wrong with them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_lb::algorithm::Algorithm;
use ha_lb::endpoint::{Endpoint, parse_list};
use ha_lb::health::agent::AgentCheck;
use ha_lb::health::schedule::Pace;
use ha_lb::health::{self, HealthCheck};

use super::discover::Discover;
use super::{Given, Value};

/// Takes values out and notes what is wrong with them.
pub(super) struct Reader {
    pub(super) given: BTreeMap<String, Given>,
    pub(super) problems: Problems,
}

impl Reader {
    /// The text of a key with its path; a text that is not there is `None`.
    pub(super) fn text(&mut self, key: &str) -> Option<(String, String)> {
        match self.given.remove(key)? {
            Given { path, value: Value::Text(text) } => Some((path, text)),
            Given { path, value: Value::Backends(_) } => {
                self.problems.add(path, "a list", "a single value");
                None
            }
        }
    }

    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, allowed: &str) -> Option<T> {
        let (path, text) = self.text(key)?;
        let parsed = text.parse();
        if parsed.is_err() {
            self.problems.add(path, text, allowed);
        }
        parsed.ok()
    }

    pub(super) fn required<T: FromStr>(&mut self, key: &str, allowed: &str) -> Option<T> {
        if !self.given.contains_key(key) {
            self.problems.add(format!("--{key}"), "nothing", allowed);
            return None;
        }
        self.parsed(key, allowed)
    }

    pub(super) fn number(&mut self, key: &str, least: u64, most: u64, default: u64) -> u64 {
        let Some((path, text)) = self.text(key) else { return default };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.problems.add(path, text, format!("{least} to {most}"));
        }
        number.unwrap_or(default)
    }

    pub(super) fn millis(&mut self, key: &str, least: u64, most: u64, default: u64) -> Duration {
        Duration::from_millis(self.number(key, least, most, default))
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some((path, text)) = self.text(key) else { return default };
        let choice = choices.iter().find(|(name, _)| *name == text);
        if choice.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.problems.add(path, text, names.join(" or "));
        }
        choice.map_or(default, |(_, value)| *value)
    }

    pub(super) fn algorithm(&mut self) -> Algorithm {
        self.read("algorithm", "algorithm").unwrap_or_default()
    }

    pub(super) fn check(&mut self) -> Option<Arc<dyn HealthCheck>> {
        let (path, text) = self.text("check")?;
        if text == "none" {
            return None;
        }
        let check = health::parse(&text).map_err(|error| {
            let mut problems = Problems::new();
            for problem in renamed(&error, "check", &path).problems() {
                // A text that is no check at all could have been meant to switch checks off.
                let none = if problem.path == path { "none, " } else { "" };
                problems.add(&problem.path, &problem.value, format!("{none}{}", problem.allowed));
            }
            problems.into_result(()).err().unwrap_or(error)
        });
        self.take(check)
    }

    pub(super) fn pace(&mut self) -> Option<Pace> {
        let interval = self.millis("check-interval-ms", 1, 86_400_000, 2_000);
        let default = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let timeout = self.millis("check-timeout-ms", 1, 86_400_000, default);
        let mut checks =
            |key, default| u32::try_from(self.number(key, 1, 1_000, default)).unwrap_or(u32::MAX);
        let (rise, fall) = (checks("rise", 2), checks("fall", 3));
        let fast = self.millis("check-fast-interval-ms", 1, 86_400_000, default);
        let down = self.millis("check-down-interval-ms", 1, 86_400_000, default);
        let spread = u8::try_from(self.number("check-spread-percent", 0, 50, 0)).unwrap_or(50);
        let pace = Pace::builder()
            .interval(interval)
            .fast_interval(fast)
            .down_interval(down)
            .spread_percent(spread)
            .timeout(timeout)
            .rise(rise)
            .fall(fall);
        self.take(pace.build())
    }

    pub(super) fn agent(&mut self) -> Option<AgentCheck> {
        let port = u16::try_from(self.number("agent-port", 0, 65_535, 0)).unwrap_or(0);
        let interval = self.millis("agent-interval-ms", 1, 86_400_000, 2_000);
        if port == 0 {
            return None;
        }
        self.take(AgentCheck::builder(port).interval(interval).build())
    }

    /// The backends of the list; none if they are found elsewhere.
    pub(super) fn backends(&mut self, found_elsewhere: bool) -> Vec<Endpoint> {
        match self.given.remove("backends") {
            None if found_elsewhere => Vec::new(),
            None => {
                let allowed = "at least one ADDRESS:PORT, separated by commas; or --discover";
                self.problems.add("--backends", "nothing", allowed);
                Vec::new()
            }
            Some(Given { path, .. }) if found_elsewhere => {
                self.problems.add(path, "a list", "nothing, as --discover finds the backends");
                Vec::new()
            }
            Some(Given { value: Value::Backends(list), .. }) => list,
            Some(Given { path, value: Value::Text(text) }) => {
                let list = parse_list(&text).map_err(|error| renamed(&error, "backends", &path));
                self.take(list).unwrap_or_default()
            }
        }
    }

    /// A value that the library reads, with the path where it was written.
    pub(super) fn read<T>(&mut self, key: &str, name: &str) -> Option<T>
    where
        T: FromStr<Err = ConfigError>,
    {
        let (path, text) = self.text(key)?;
        let parsed = text.parse().map_err(|error| renamed(&error, name, &path));
        self.take(parsed)
    }

    pub(super) fn discover(&mut self) -> Option<Discover> {
        let (path, text) = self.text("discover")?;
        let discover = Discover::new(&text).map_err(|error| renamed(&error, "discover", &path));
        self.take(discover)
    }

    pub(super) fn take<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.absorb(error);
                None
            }
        }
    }
}

/// The same problems, below the path where the value was written.
pub(super) fn renamed(error: &ConfigError, key: &str, path: &str) -> ConfigError {
    let mut problems = Problems::new();
    for problem in error.problems() {
        let below = problem.path.strip_prefix(key).unwrap_or_default();
        problems.add(format!("{path}{below}"), &problem.value, problem.allowed.clone());
    }
    problems.into_result(()).err().unwrap_or_else(|| error.clone())
}
