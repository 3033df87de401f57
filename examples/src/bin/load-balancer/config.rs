//! The settings, from flags and a TOML file.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_lb::algorithm::Algorithm;
use ha_lb::endpoint::{Endpoint, Weight, parse_list};
use ha_lb::health::schedule::Pace;
use ha_lb::health::{self, HealthCheck};
use ha_lb::pool::Pool;
use ha_lb::{l7, proxy};

/// The keys of the file, which are the flags' names.
pub(crate) const KEYS: [&str; 18] = [
    "listen",
    "backends",
    "mode",
    "threads",
    "algorithm",
    "check",
    "check-interval-ms",
    "check-timeout-ms",
    "rise",
    "fall",
    "grace-ms",
    "connect-timeout-ms",
    "idle-timeout-ms",
    "header-timeout-ms",
    "response-timeout-ms",
    "retries",
    "max-connections",
    "cut-marked-down",
];

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// What to balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// HTTP/1.1 requests.
    Http,
    /// TCP connections.
    Tcp,
}

/// A value as it was written, and where.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    path: String,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Backends(Vec<Endpoint>),
    Text(String),
}

impl Given {
    /// The value of a flag.
    pub(crate) fn flag(key: &str, value: String) -> Self {
        Self { path: format!("--{key}"), value: Value::Text(value) }
    }
}

/// Everything the program needs to run; checked.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) threads: usize,
    pub(crate) pool: Pool,
    pub(crate) check: Option<Arc<dyn HealthCheck>>,
    pub(crate) pace: Pace,
    pub(crate) proxy: proxy::ConfigBuilder,
    pub(crate) listen: SocketAddr,
    header_timeout: Duration,
    response_timeout: Duration,
}

impl Settings {
    /// Checks what was given; every problem is reported.
    pub(crate) fn new(given: BTreeMap<String, Given>) -> Result<Self, ConfigError> {
        let mut reader = Reader { given, problems: Problems::new() };
        let listen = reader.required("listen", "ADDRESS:PORT, such as 0.0.0.0:80 or [::]:80");
        let backends = reader.backends();
        let mode = reader.one_of("mode", &[("tcp", Mode::Tcp), ("http", Mode::Http)], Mode::Tcp);
        let threads = reader.number("threads", 1, 256, 1);
        let algorithm = reader.algorithm();
        let check = reader.check();
        let pace = reader.pace();
        let day = 86_400_000;
        let grace = reader.millis("grace-ms", 0, day, 5_000);
        let connect_timeout = reader.millis("connect-timeout-ms", 1, 600_000, 5_000);
        let idle_timeout = reader.millis("idle-timeout-ms", 1, day, 600_000);
        let header_timeout = reader.millis("header-timeout-ms", 1, 600_000, 10_000);
        let response_timeout = reader.millis("response-timeout-ms", 1, day, 60_000);
        let retries = reader.number("retries", 0, 100, 3);
        let max_connections = reader.number("max-connections", 1, 1_000_000, 10_000);
        let cut = reader.one_of("cut-marked-down", &[("true", true), ("false", false)], false);
        let pool = reader.take(Pool::new(&algorithm, backends));
        let listen = listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let proxy = proxy::Config::builder(listen)
            .grace(grace)
            .connect_timeout(connect_timeout)
            .idle_timeout(idle_timeout)
            .retries(u32::try_from(retries).unwrap_or(u32::MAX))
            .max_connections(usize::try_from(max_connections).unwrap_or(usize::MAX))
            .cut_marked_down(cut);
        let (Some(pool), Some(pace)) = (pool, pace) else {
            // One of them is missing because of a problem that was noted.
            return reader.problems.into_result(()).and(Err(ConfigError::new("flags", "", "")));
        };
        reader.problems.into_result(Self {
            mode,
            threads: usize::try_from(threads).unwrap_or(1),
            pool,
            check,
            pace,
            proxy,
            listen,
            header_timeout,
            response_timeout,
        })
    }

    /// The settings of an HTTP proxy.
    pub(crate) fn http(&self, proxy: proxy::Config) -> Result<l7::Config, ConfigError> {
        l7::Config::builder(proxy)
            .header_timeout(self.header_timeout)
            .response_timeout(self.response_timeout)
            .build()
    }
}

/// Takes values out and notes what is wrong with them.
struct Reader {
    given: BTreeMap<String, Given>,
    problems: Problems,
}

impl Reader {
    /// The text of a key with its path; a text that is not there is `None`.
    fn text(&mut self, key: &str) -> Option<(String, String)> {
        match self.given.remove(key)? {
            Given { path, value: Value::Text(text) } => Some((path, text)),
            Given { path, value: Value::Backends(_) } => {
                self.problems.add(path, "a list", "a single value");
                None
            }
        }
    }

    fn parsed<T: FromStr>(&mut self, key: &str, allowed: &str) -> Option<T> {
        let (path, text) = self.text(key)?;
        let parsed = text.parse();
        if parsed.is_err() {
            self.problems.add(path, text, allowed);
        }
        parsed.ok()
    }

    fn required<T: FromStr>(&mut self, key: &str, allowed: &str) -> Option<T> {
        if !self.given.contains_key(key) {
            self.problems.add(format!("--{key}"), "nothing", allowed);
            return None;
        }
        self.parsed(key, allowed)
    }

    fn number(&mut self, key: &str, least: u64, most: u64, default: u64) -> u64 {
        let Some((path, text)) = self.text(key) else { return default };
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.problems.add(path, text, format!("{least} to {most}"));
        }
        number.unwrap_or(default)
    }

    fn millis(&mut self, key: &str, least: u64, most: u64, default: u64) -> Duration {
        Duration::from_millis(self.number(key, least, most, default))
    }

    fn one_of<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some((path, text)) = self.text(key) else { return default };
        let choice = choices.iter().find(|(name, _)| *name == text);
        if choice.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.problems.add(path, text, names.join(" or "));
        }
        choice.map_or(default, |(_, value)| *value)
    }

    fn algorithm(&mut self) -> Algorithm {
        let Some((path, text)) = self.text("algorithm") else { return Algorithm::default() };
        let parsed = text.parse().map_err(|error| renamed(&error, "algorithm", &path));
        self.take(parsed).unwrap_or_default()
    }

    fn check(&mut self) -> Option<Arc<dyn HealthCheck>> {
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

    fn pace(&mut self) -> Option<Pace> {
        let interval = self.millis("check-interval-ms", 1, 86_400_000, 2_000);
        let default = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let timeout = self.millis("check-timeout-ms", 1, 86_400_000, default);
        let mut checks =
            |key, default| u32::try_from(self.number(key, 1, 1_000, default)).unwrap_or(u32::MAX);
        let (rise, fall) = (checks("rise", 2), checks("fall", 3));
        let pace = Pace::builder().interval(interval).timeout(timeout).rise(rise).fall(fall);
        self.take(pace.build())
    }

    fn backends(&mut self) -> Vec<Endpoint> {
        match self.given.remove("backends") {
            None => {
                let allowed = "at least one ADDRESS:PORT, separated by commas";
                self.problems.add("--backends", "nothing", allowed);
                Vec::new()
            }
            Some(Given { value: Value::Backends(list), .. }) => list,
            Some(Given { path, value: Value::Text(text) }) => {
                let list = parse_list(&text).map_err(|error| renamed(&error, "backends", &path));
                self.take(list).unwrap_or_default()
            }
        }
    }

    fn take<T>(&mut self, result: Result<T, ConfigError>) -> Option<T> {
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
fn renamed(error: &ConfigError, key: &str, path: &str) -> ConfigError {
    let mut problems = Problems::new();
    for problem in error.problems() {
        let below = problem.path.strip_prefix(key).unwrap_or_default();
        problems.add(format!("{path}{below}"), &problem.value, problem.allowed.clone());
    }
    problems.into_result(()).err().unwrap_or_else(|| error.clone())
}

/// Reads a TOML file.
pub(crate) fn from_file(path: &Path) -> Result<BTreeMap<String, Given>, ConfigError> {
    let unreadable = |why: &dyn Display| {
        let allowed = format!("a file of TOML that can be read: {why}");
        ConfigError::new("--config", path.display(), allowed)
    };
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > MAX_FILE {
        return Err(unreadable(&format!("it has {size} bytes, more than {MAX_FILE}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    from_toml(&path.display().to_string(), &text)
}

fn from_toml(file: &str, text: &str) -> Result<BTreeMap<String, Given>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            let before = text.get(..span.start).unwrap_or_default();
            before.lines().count().max(1)
        });
        ConfigError::new(format!("{file}:{line}"), "this line", error.message().to_owned())
    })?;
    let mut problems = Problems::new();
    let mut given = BTreeMap::new();
    for (key, value) in table {
        let path = format!("{file}: {key}");
        if !KEYS.contains(&key.as_str()) {
            problems.add(path, "this key", KEYS.join(", "));
            continue;
        }
        let list = if key == "backends" { value.as_array() } else { None };
        let value = match list {
            Some(list) => backends(&path, list).map(Value::Backends),
            None => scalar(&value)
                .map(Value::Text)
                .ok_or_else(|| ConfigError::new(&path, value.type_str(), "a single value")),
        };
        match value {
            Ok(value) => {
                given.insert(key, Given { path, value });
            }
            Err(error) => problems.absorb(error),
        }
    }
    problems.into_result(given)
}

/// A value that a flag could have, as text.
fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => None,
    }
}

fn backends(path: &str, list: &[toml::Value]) -> Result<Vec<Endpoint>, ConfigError> {
    let mut problems = Problems::new();
    let mut endpoints = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let endpoint = if let Some(table) = value.as_table() {
            backend(&path, table.clone())
        } else if let Some(text) = value.as_str() {
            text.parse::<Endpoint>().map_err(|error| renamed(&error, "backend", &path))
        } else {
            let allowed = "a table with address, or \"ADDRESS:PORT\"";
            Err(ConfigError::new(path, value.type_str(), allowed))
        };
        match endpoint {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(error) => problems.absorb(error),
        }
    }
    problems.into_result(endpoints)
}

fn backend(path: &str, mut table: toml::Table) -> Result<Endpoint, ConfigError> {
    let mut problems = Problems::new();
    let mut text = |key: &str| table.remove(key).map(|value| scalar(&value).unwrap_or_default());
    let (name, address) = (text("name"), text("address").unwrap_or_default());
    let (weight, most, backup) = (text("weight"), text("max-connections"), text("backup"));
    let written = match &name {
        Some(name) => format!("{name}={address}"),
        None => address,
    };
    let endpoint = written.parse::<Endpoint>();
    let number = |problems: &mut Problems, key, text: Option<String>, most: u32, default: u32| {
        let Some(text) = text else { return default };
        let number = text.parse().ok().filter(|number| *number <= most);
        if number.is_none() {
            problems.add(format!("{path}.{key}"), text, format!("0 to {most}"));
        }
        number.unwrap_or(default)
    };
    let weight = number(&mut problems, "weight", weight, 256, 1);
    let most = number(&mut problems, "max-connections", most, u32::MAX, 0);
    let backup = match backup.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            problems.add(format!("{path}.backup"), other, "true or false");
            false
        }
    };
    for (key, _) in table {
        let allowed = "name, address, weight, max-connections or backup";
        problems.add(format!("{path}.{key}"), "this key", allowed);
    }
    let endpoint = match endpoint {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            problems.absorb(renamed(&error, "backend", &format!("{path}.address")));
            None
        }
    };
    let weight = Weight::new(u16::try_from(weight).unwrap_or(u16::MAX)).unwrap_or_default();
    let Some(endpoint) = endpoint else {
        return Err(problems
            .into_result(())
            .err()
            .unwrap_or_else(|| ConfigError::new(path, "this", "a table with address")));
    };
    problems
        .into_result(endpoint.with_weight(weight).with_max_connections(most).with_backup(backup))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, ConfigError> {
        Settings::new(from_toml("lb.toml", text)?)
    }

    #[test]
    fn a_file_sets_everything() {
        let settings = read(
            r#"
            listen = "127.0.0.1:0"
            mode = "http"
            threads = 2
            algorithm = "source,hash-type=consistent"
            check = "http:/health"
            check-interval-ms = 500
            cut-marked-down = true
            [[backends]]
            name = "a"
            address = "127.0.0.1:81"
            weight = 10
            max-connections = 7
            [[backends]]
            address = "127.0.0.1:82"
            backup = true
            "#,
        );
        let settings = settings.expect("all is right");
        assert_eq!((settings.mode, settings.threads), (Mode::Http, 2));
        assert_eq!(settings.pool.algorithm(), "source");
        let snapshot = settings.pool.snapshot();
        let seen: Vec<_> = snapshot
            .iter()
            .map(|(e, _)| (e.name().to_string(), e.weight().get(), e.is_backup()))
            .collect();
        let expected = [("a".to_owned(), 10, false), ("127.0.0.1:82".to_owned(), 1, true)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn every_wrong_key_is_named_with_its_place() {
        let good = "listen = \"127.0.0.1:0\"\nbackends = [\"127.0.0.1:1\"]\n";
        assert!(read(good).is_ok());
        for (wrong, expected) in [
            ("lissten = 1", "lb.toml: lissten: this key is not allowed: listen, backends"),
            ("threads = 1.5", "lb.toml: threads: float is not allowed: a single value"),
            ("threads = 300", "lb.toml: threads: 300 is not allowed: 1 to 256"),
            ("mode =", "lb.toml:3: this line is not allowed: "),
            ("[[backends]]\naddress = \"127.0.0.1:2\"", "lb.toml:3: this line is not allowed: "),
        ] {
            let error = read(&format!("{good}{wrong}\n")).expect_err(wrong).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for (wrong, expected) in [
            ("weight = 257", "lb.toml: backends[0].weight: 257 is not allowed: 0 to 256"),
            ("weight = -1", "lb.toml: backends[0].weight: -1 is not allowed: 0 to 256"),
            ("backup = 1", "lb.toml: backends[0].backup: 1 is not allowed: true or false"),
            ("port = 1", "lb.toml: backends[0].port: this key is not allowed: name"),
        ] {
            let text = format!(
                "listen = \"127.0.0.1:0\"\n[[backends]]\naddress = \"127.0.0.1:1\"\n{wrong}"
            );
            let error = read(&text).expect_err(wrong).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let twice = "listen = \"127.0.0.1:0\"\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:1\"]";
        let error = read(twice).expect_err("twice").to_string();
        assert!(error.starts_with("backends[1].name: 127.0.0.1:1 is not allowed"), "{error}");
    }

    #[test]
    fn no_file_makes_it_panic() {
        // Every prefix and every file with one byte changed of a file that uses all there is.
        let file = "listen = \"127.0.0.1:0\"\nthreads = 2\nrise = 1\n[[backends]]\n\
                    name = \"a\"\naddress = \"[::1]:81\"\nweight = 10\nbackup = true\n";
        for at in 0..file.len() {
            let _answer = read(&file[..at]);
            for byte in 1..128_u8 {
                let mut bytes = file.as_bytes().to_vec();
                bytes[at] = byte;
                let _answer = read(&String::from_utf8(bytes).expect("ASCII"));
            }
        }
    }
}
