//! The settings, from flags and a TOML file.

mod discover;
mod file;
mod reader;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_lb::algorithm::hash::Key;
use ha_lb::endpoint::Endpoint;
use ha_lb::health::HealthCheck;
use ha_lb::health::agent::AgentCheck;
use ha_lb::health::schedule::Pace;
use ha_lb::pool::{Pool, SlowStart};
use ha_lb::queue::QueueConfig;
use ha_lb::stick::{Cookie, StickTable};
use ha_lb::{l7, proxy};

pub(crate) use self::discover::Discover;
pub(crate) use self::file::from_file;
use self::reader::Reader;

/// The keys of the file, which are the flags' names.
pub(crate) const KEYS: [&str; 37] = [
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
    "discover",
    "init-state",
    "zone",
    "panic-percent",
    "overprovisioning-percent",
    "slow-start-ms",
    "queue-timeout-ms",
    "queue-length",
    "cookie",
    "stick-table",
    "stick-on",
    "stick-expire-ms",
    "check-fast-interval-ms",
    "check-down-interval-ms",
    "check-spread-percent",
    "agent-port",
    "agent-interval-ms",
    "outliers",
    "shut-backups",
];

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
    pub(crate) discover: Option<Discover>,
    pub(crate) check: Option<Arc<dyn HealthCheck>>,
    pub(crate) pace: Pace,
    pub(crate) agent: Option<AgentCheck>,
    /// Whether backends whose work goes badly are ejected.
    pub(crate) outliers: bool,
    /// Whether the sessions of backups end when a regular backend is back.
    pub(crate) shut_backups: bool,
    pub(crate) proxy: proxy::ConfigBuilder,
    pub(crate) listen: SocketAddr,
    http: Http,
}

/// What only HTTP has.
#[derive(Debug)]
struct Http {
    header_timeout: Duration,
    response_timeout: Duration,
    cookie: Option<Cookie>,
    stick_on: Key,
}

impl Settings {
    /// Checks what was given; every problem is reported.
    pub(crate) fn new(given: BTreeMap<String, Given>) -> Result<Self, ConfigError> {
        let mut reader = Reader { given, problems: Problems::new() };
        let listen = reader.required("listen", "ADDRESS:PORT, such as 0.0.0.0:80 or [::]:80");
        let listen = listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let mode = reader.one_of("mode", &[("tcp", Mode::Tcp), ("http", Mode::Http)], Mode::Tcp);
        let threads = reader.number("threads", 1, 256, 1);
        let discover = reader.discover();
        let check = reader.check();
        let pace = reader.pace();
        let agent = reader.agent();
        let outliers = reader.one_of("outliers", &TRUTH, false);
        let shut_backups = reader.one_of("shut-backups", &TRUTH, false);
        let http = Http::new(&mut reader, mode);
        let proxy = proxy(&mut reader, listen);
        let pool = pool(&mut reader, discover.is_some(), check.is_some() || agent.is_some());
        let (Some(pool), Some(pace)) = (pool, pace) else {
            // One of them is missing because of a problem that was noted.
            return reader.problems.into_result(()).and(Err(ConfigError::new("flags", "", "")));
        };
        let threads = usize::try_from(threads).unwrap_or(1);
        let settings = Self {
            mode,
            threads,
            pool,
            discover,
            check,
            pace,
            agent,
            outliers,
            shut_backups,
            proxy,
            listen,
            http,
        };
        reader.problems.into_result(settings)
    }

    /// The settings of an HTTP proxy.
    pub(crate) fn http(&self, proxy: proxy::Config) -> Result<l7::Config, ConfigError> {
        let builder = l7::Config::builder(proxy)
            .header_timeout(self.http.header_timeout)
            .response_timeout(self.http.response_timeout)
            .stick_on(self.http.stick_on.clone());
        self.http.cookie.iter().cloned().fold(builder, l7::ConfigBuilder::cookie).build()
    }
}

impl Http {
    fn new(reader: &mut Reader, mode: Mode) -> Self {
        if mode == Mode::Tcp {
            for key in ["cookie", "stick-on"] {
                if let Some((path, text)) = reader.text(key) {
                    reader.problems.add(path, text, "nothing, unless the mode is http");
                }
            }
        }
        Self {
            header_timeout: reader.millis("header-timeout-ms", 1, 600_000, 10_000),
            response_timeout: reader.millis("response-timeout-ms", 1, DAY, 60_000),
            cookie: reader.read("cookie", "cookie"),
            stick_on: reader.read("stick-on", "key").unwrap_or_default(),
        }
    }
}

const TRUTH: [(&str, bool); 2] = [("true", true), ("false", false)];

/// A day in milliseconds.
const DAY: u64 = 86_400_000;

fn proxy(reader: &mut Reader, listen: SocketAddr) -> proxy::ConfigBuilder {
    let retries = reader.number("retries", 0, 100, 3);
    let most = reader.number("max-connections", 1, 1_000_000, 10_000);
    proxy::Config::builder(listen)
        .grace(reader.millis("grace-ms", 0, DAY, 5_000))
        .connect_timeout(reader.millis("connect-timeout-ms", 1, 600_000, 5_000))
        .idle_timeout(reader.millis("idle-timeout-ms", 1, DAY, 600_000))
        .retries(u32::try_from(retries).unwrap_or(u32::MAX))
        .max_connections(usize::try_from(most).unwrap_or(usize::MAX))
        .cut_marked_down(reader.one_of("cut-marked-down", &TRUTH, false))
}

fn pool(reader: &mut Reader, found_elsewhere: bool, checked: bool) -> Option<Pool> {
    let (algorithm, backends) = (reader.algorithm(), reader.backends(found_elsewhere));
    let small = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let panic = small(reader.number("panic-percent", 0, 100, 0));
    let overprovisioning = small(reader.number("overprovisioning-percent", 100, 1_000, 140));
    let states = [("up", true), ("down", false)];
    let mut builder = Pool::builder(algorithm.balancer())
        .endpoints(backends)
        .trust_unchecked(reader.one_of("init-state", &states, true))
        .overprovisioning(overprovisioning)
        .panic_threshold(u8::try_from(panic).unwrap_or(100));
    if let Some((_, zone)) = reader.text("zone") {
        builder = builder.zone(zone);
    }
    for key in ["slow-start-ms", "init-state"] {
        if let (false, Some(Given { path, .. })) = (checked, reader.given.get(key)) {
            reader.problems.add(path.clone(), "this", "a setting only with --check");
        }
    }
    let window = reader.millis("slow-start-ms", 0, DAY, 0);
    if !window.is_zero() {
        builder = builder.slow_start(SlowStart::new(window));
    }
    let waits = reader.millis("queue-timeout-ms", 0, DAY, 0);
    let most = usize::try_from(reader.number("queue-length", 1, 1_000_000, 1_024));
    if !waits.is_zero() {
        builder = builder.queue(QueueConfig::new(waits).with_max_len(most.unwrap_or(usize::MAX)));
    }
    let size = usize::try_from(reader.number("stick-table", 0, 10_000_000, 0)).unwrap_or(0);
    let expire = reader.millis("stick-expire-ms", 1, 30 * DAY, 1_800_000);
    if size > 0 {
        builder = builder.stick_table(StickTable::new(size, expire));
    }
    reader.take(builder.build())
}

#[cfg(test)]
mod tests {
    use super::file::from_toml;
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
    fn selection_and_stickiness_are_set() {
        let settings = read(
            r#"
            listen = "127.0.0.1:0"
            mode = "http"
            check = "tcp"
            zone = "a"
            panic-percent = 50
            slow-start-ms = 30_000
            init-state = "down"
            queue-timeout-ms = 5_000
            stick-table = 1_000
            stick-on = "header,name=x-user"
            cookie = "SERVERID,secure=true"
            [[backends]]
            address = "127.0.0.1:81"
            zone = "a"
            tags = { version = 7, rack = "r1" }
            id = 3
            [[backends]]
            address = "127.0.0.1:82"
            priority = 1
            "#,
        );
        let settings = settings.expect("all is right");
        let proxy = settings.proxy.clone().build().expect("in range");
        let http = settings.http(proxy).expect("in range");
        assert_eq!(http.cookie().map(Cookie::name), Some("SERVERID"));
        assert_eq!(http.stick_on(), &Key::Header("x-user".into()));
        assert!(settings.pool.stick_table().is_some());
        let snapshot = settings.pool.snapshot();
        let (first, _) = snapshot.iter().next().expect("two backends");
        assert_eq!((first.zone(), first.tag("version")), (Some("a"), Some("7")));
        assert_eq!(snapshot.groups().len(), 2, "one for each priority");
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let good = "listen = \"127.0.0.1:0\"\n";
        for (wrong, expected) in [
            ("discover = \"file:/x\"\nbackends = [\"127.0.0.1:1\"]", "lb.toml: backends: a list"),
            ("discover = \"zookeeper:x\"", "lb.toml: discover: zookeeper:x is not allowed: file:"),
            ("discover = \"dns:web.example\"", "lb.toml: discover: dns:web.example is not allowed"),
            (
                "discover = \"file:/x\"\ncookie = \"A\"",
                "lb.toml: cookie: A is not allowed: nothing",
            ),
            (
                "discover = \"file:/x\"\nmode = \"http\"\ncookie = \"A,mode=b\"",
                "lb.toml: cookie.mode: b is not allowed: insert",
            ),
            ("discover = \"file:/x\"\nslow-start-ms = 5", "lb.toml: slow-start-ms: this is not"),
        ] {
            let error = read(&format!("{good}{wrong}\n")).expect_err(wrong).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(read(&format!("{good}discover = \"file:/x\"")).is_ok(), "the file may come later");
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
