//! The command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};
use ha_core::config::ConfigError;

use crate::config::{Given, Settings, from_file};

/// Balances TCP or HTTP/1.1 connections over backends and takes out those whose health checks fail.
///
/// Stays in the foreground. Each event is one line of JSON on standard output: ready, health,
/// state, stopping, stopped. Logs go to standard error; `RUST_LOG` sets how much (default: warn). SIGTERM or
/// SIGINT stops accepting, finishes what is under way within the grace time and ends with status 0;
/// a second signal ends at once. Wrong flags or files end with status 2, a failure with status 1.
#[derive(Debug, Parser)]
#[command(name = "load-balancer", version, about, long_about, after_long_help = FILE_HELP)]
#[command(allow_negative_numbers = true)]
struct Flags {
    /// Where to listen; port 0 lets the kernel choose, and the ready event names it
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The backends in order, as ADDRESS:PORT or NAME=ADDRESS:PORT; weights go into the file
    #[arg(long, value_name = "A:P,B:P,…")]
    backends: Option<String>,
    /// What to balance: tcp connections or http requests [default: tcp]
    #[arg(long, value_name = "tcp|http")]
    mode: Option<String>,
    /// How many threads serve, each with a listening socket of its own, 1 to 256 [default: 1]
    #[arg(long, value_name = "N")]
    threads: Option<String>,
    /// How to pick: `round-robin`, `least-connections`, `random[,draws=N]` or
    /// `source[,hash-type=map-based|consistent][,function=F][,avalanche=B]`; HAProxy's names work,
    /// too [default: round-robin]
    #[arg(long, value_name = "NAME[,option=value…]")]
    algorithm: Option<String>,
    /// How to check backends: `tcp`, `http:/PATH` (status 200 to 399), `https:/PATH`, `h2:/PATH`,
    /// `h2s:/PATH`, `grpc[:SERVICE]`, `grpcs[:SERVICE]`, `tls[:NAME]`,
    /// `redis[:master|:replica][@[USER]:PASSWORD]`, `mysql[@USER]`,
    /// `postgres[:primary|:replica][@USER[:PASSWORD]]`,
    /// `galera[:writer|:donor|:writer+donor]@USER[:PASSWORD]`, `smtp[:NAME]`,
    /// `ldap[@NAME:PASSWORD]` or `none`; certificates are not verified, and passwords belong in
    /// the file, where `ps` does not show them [default: none]
    #[arg(long, value_name = "CHECK")]
    check: Option<String>,
    /// Milliseconds between two checks of a backend, 1 to 86400000 [default: 2000]
    #[arg(long, value_name = "MS")]
    check_interval_ms: Option<String>,
    /// Milliseconds that a check may take [default: the interval]
    #[arg(long, value_name = "MS")]
    check_timeout_ms: Option<String>,
    /// Passed checks in a row that bring a backend back, 1 to 1000 [default: 2]
    #[arg(long, value_name = "N")]
    rise: Option<String>,
    /// Failed checks in a row that take a backend out, 1 to 1000 [default: 3]
    #[arg(long, value_name = "N")]
    fall: Option<String>,
    /// Milliseconds that a stop waits for connections to be done [default: 5000]
    #[arg(long, value_name = "MS")]
    grace_ms: Option<String>,
    /// Milliseconds that connecting to a backend may take [default: 5000]
    #[arg(long, value_name = "MS")]
    connect_timeout_ms: Option<String>,
    /// Milliseconds that a connection may stand still [default: 600000]
    #[arg(long, value_name = "MS")]
    idle_timeout_ms: Option<String>,
    /// http: milliseconds that a client may take for the head of a request [default: 10000]
    #[arg(long, value_name = "MS")]
    header_timeout_ms: Option<String>,
    /// http: milliseconds that a backend may take to answer [default: 60000]
    #[arg(long, value_name = "MS")]
    response_timeout_ms: Option<String>,
    /// How often an attempt without effect is repeated on another backend [default: 3]
    #[arg(long, value_name = "N")]
    retries: Option<String>,
    /// Client connections that each thread has open at most [default: 10000]
    #[arg(long, value_name = "N")]
    max_connections: Option<String>,
    /// tcp: whether connections to a backend are cut when it becomes unhealthy [default: false]
    #[arg(long, value_name = "true|false")]
    cut_marked_down: Option<String>,
    /// Milliseconds between checks while the last one spoke against the health [default: the interval]
    #[arg(long, value_name = "MS")]
    check_fast_interval_ms: Option<String>,
    /// Milliseconds between checks of a backend that is down [default: the interval]
    #[arg(long, value_name = "MS")]
    check_down_interval_ms: Option<String>,
    /// By how much the intervals vary at random, 0 to 50 [default: 0]
    #[arg(long, value_name = "PERCENT")]
    check_spread_percent: Option<String>,
    /// The port of the agent on each backend that says its weight and state; 0 is no agent [default: 0]
    #[arg(long, value_name = "PORT")]
    agent_port: Option<String>,
    /// Milliseconds between two questions to an agent [default: 2000]
    #[arg(long, value_name = "MS")]
    agent_interval_ms: Option<String>,
    /// Whether backends whose work goes badly are taken out for a time [default: false]
    #[arg(long, value_name = "true|false")]
    outliers: Option<String>,
    /// Whether the connections of backups are cut when a regular backend is back [default: false]
    #[arg(long, value_name = "true|false")]
    shut_backups: Option<String>,
    /// Where the backends are found, instead of --backends: `file:PATH` (watched: lines or TOML),
    /// `dns:NAME:PORT` or `srv:_SERVICE._PROTOCOL.NAME`
    #[arg(long, value_name = "SOURCE")]
    discover: Option<String>,
    /// Whether a backend takes work before its first check [default: up]
    #[arg(long, value_name = "up|down")]
    init_state: Option<String>,
    /// The zone that this balancer is in: backends of the same zone are preferred
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Below so many percent of healthy backends health is ignored; 0 is never [default: 0]
    #[arg(long, value_name = "PERCENT")]
    panic_percent: Option<String>,
    /// How much more than its part the rest of a priority level can take [default: 140]
    #[arg(long, value_name = "PERCENT")]
    overprovisioning_percent: Option<String>,
    /// Milliseconds over which a backend that comes back takes up its share; needs --check
    /// [default: 0]
    #[arg(long, value_name = "MS")]
    slow_start_ms: Option<String>,
    /// Milliseconds that work waits while every backend is full; 0 is not at all [default: 0]
    #[arg(long, value_name = "MS")]
    queue_timeout_ms: Option<String>,
    /// How many may wait at once [default: 1024]
    #[arg(long, value_name = "N")]
    queue_length: Option<String>,
    /// http: a cookie that brings a client back to its backend, as
    /// `NAME[,mode=insert|prefix|rewrite][,secure=true][,domain=D][,max-age=SECONDS]`
    #[arg(long, value_name = "NAME[,option=value…]")]
    cookie: Option<String>,
    /// How many clients a table remembers with their backends; 0 is no table [default: 0]
    #[arg(long, value_name = "N")]
    stick_table: Option<String>,
    /// http: what the table remembers by: `source`, `uri`, `query,name=N`, `header,name=N` or
    /// `cookie,name=N` [default: source]
    #[arg(long, value_name = "KEY")]
    stick_on: Option<String>,
    /// Milliseconds after which the table forgets who did not come back [default: 1800000]
    #[arg(long, value_name = "MS")]
    stick_expire_ms: Option<String>,
    /// A TOML file with the same settings; flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const FILE_HELP: &str = r#"The file has the flags' names as keys, and backends with all their settings:

  listen = "0.0.0.0:80"
  mode = "http"
  algorithm = "source,hash-type=consistent"
  check = "http:/health"
  check-interval-ms = 500

  [[backends]]
  name = "web-1"               # default: the address
  address = "192.0.2.10:8080"
  weight = 10                  # 0 to 256, default 1; 0 takes no work
  max-connections = 200        # default: no limit
  backup = false               # true: only while no regular backend is usable
  priority = 0                 # 0 to 255; higher levels take over as those before them fail
  zone = "eu-west"             # see --zone
  id = 7                       # the number that HAProxy's consistent hashing goes by
  tags = { version = "7" }     # for people and programs; without a meaning here

The order of the backends decides where source hashing sends a client, as in HAProxy."#;

impl Flags {
    fn given(self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("listen", self.listen),
            ("backends", self.backends),
            ("mode", self.mode),
            ("threads", self.threads),
            ("algorithm", self.algorithm),
            ("check", self.check),
            ("check-interval-ms", self.check_interval_ms),
            ("check-timeout-ms", self.check_timeout_ms),
            ("rise", self.rise),
            ("fall", self.fall),
            ("grace-ms", self.grace_ms),
            ("connect-timeout-ms", self.connect_timeout_ms),
            ("idle-timeout-ms", self.idle_timeout_ms),
            ("header-timeout-ms", self.header_timeout_ms),
            ("response-timeout-ms", self.response_timeout_ms),
            ("retries", self.retries),
            ("max-connections", self.max_connections),
            ("cut-marked-down", self.cut_marked_down),
            ("check-fast-interval-ms", self.check_fast_interval_ms),
            ("check-down-interval-ms", self.check_down_interval_ms),
            ("check-spread-percent", self.check_spread_percent),
            ("agent-port", self.agent_port),
            ("agent-interval-ms", self.agent_interval_ms),
            ("outliers", self.outliers),
            ("shut-backups", self.shut_backups),
            ("discover", self.discover),
            ("init-state", self.init_state),
            ("zone", self.zone),
            ("panic-percent", self.panic_percent),
            ("overprovisioning-percent", self.overprovisioning_percent),
            ("slow-start-ms", self.slow_start_ms),
            ("queue-timeout-ms", self.queue_timeout_ms),
            ("queue-length", self.queue_length),
            ("cookie", self.cookie),
            ("stick-table", self.stick_table),
            ("stick-on", self.stick_on),
            ("stick-expire-ms", self.stick_expire_ms),
        ]
    }
}

/// What the command line asks for.
pub(crate) enum Answer {
    /// To run.
    Settings(Box<Settings>),
    /// To print this: help or version.
    Text(String),
}

/// Reads flags and file.
pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Answer, ConfigError> {
    let parsed = Flags::command()
        .try_get_matches_from(args)
        .and_then(|matches| Flags::from_arg_matches(&matches));
    let mut flags = match parsed {
        Ok(flags) => flags,
        Err(error) if error.use_stderr() => return Err(flattened(&error)),
        Err(help) => return Ok(Answer::Text(help.to_string())),
    };
    let mut given = match flags.config.take() {
        Some(path) => from_file(&path)?,
        None => BTreeMap::new(),
    };
    for (key, value) in flags.given() {
        if let Some(value) = value {
            given.insert(key.to_owned(), Given::flag(key, value));
        }
    }
    Settings::new(given).map(|settings| Answer::Settings(Box::new(settings)))
}

/// clap's error as path, value, what is allowed.
fn flattened(error: &clap::Error) -> ConfigError {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(" ")),
        _ => None,
    };
    let flag = text(ContextKind::InvalidArg);
    match (error.kind(), flag) {
        (ErrorKind::UnknownArgument, Some(flag)) => {
            ConfigError::new(flag, "this flag", "the flags of --help")
        }
        (ErrorKind::ArgumentConflict, Some(flag)) => {
            ConfigError::new(flag, "a second time", "every flag once")
        }
        (ErrorKind::InvalidValue, Some(flag)) => {
            let value = text(ContextKind::InvalidValue).filter(|value| !value.is_empty());
            let value = value.unwrap_or_else(|| "nothing".to_owned());
            ConfigError::new(flag, value, "a value after the flag; see --help")
        }
        (_, flag) => {
            let first = error.to_string().lines().next().unwrap_or_default().to_owned();
            ConfigError::new(flag.unwrap_or_else(|| "flags".to_owned()), first, "see --help")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(args: &[&str]) -> String {
        let args = ["load-balancer"].into_iter().chain(args.iter().copied());
        match read(args.map(OsString::from)) {
            Ok(Answer::Settings(_)) => "settings".to_owned(),
            Ok(Answer::Text(text)) => text,
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_wrong_flag_is_named_with_its_value_and_what_is_allowed() {
        let good = ["--listen", "127.0.0.1:0", "--backends", "127.0.0.1:1"];
        assert_eq!(complaint(&good), "settings");
        for (wrong, expected) in [
            (&["--mode", "udp"][..], "--mode: udp is not allowed: tcp or http"),
            (&["--threads", "0"], "--threads: 0 is not allowed: 1 to 256"),
            (&["--threads", "many"], "--threads: many is not allowed: 1 to 256"),
            (&["--algorithm", "best"], "--algorithm: best is not allowed: round-robin"),
            (&["--check", "ping"], "--check: ping is not allowed: none, tcp, http:/PATH, "),
            (&["--check", "http:health"], "--check.path: health is not allowed: a path that"),
            (&["--check", "galera:x@a:b"], "--check: galera:x@… is not allowed: none, tcp, "),
            (&["--rise", "0"], "--rise: 0 is not allowed: 1 to 1000"),
            (&["--speed", "9"], "--speed: this flag is not allowed: the flags of --help"),
            (&["--mode", "tcp", "--mode", "tcp"], "--mode <tcp|http>: a second time is not"),
            (&["--mode"], "--mode <tcp|http>: nothing is not allowed: a value"),
            (&["--grace-ms", "-1"], "--grace-ms: -1 is not allowed: 0 to 86400000"),
            (&["extra"], "extra: this flag is not allowed"),
            (&["--config", "/nowhere.toml"], "--config: /nowhere.toml is not allowed: a file"),
        ] {
            let args: Vec<_> = good.iter().chain(wrong).copied().collect();
            let complaint = complaint(&args);
            assert!(complaint.starts_with(expected), "{wrong:?}: {complaint}");
        }
        let complaint = complaint(&[]);
        assert!(complaint.contains("--listen: nothing is not allowed: ADDRESS:PORT"));
        assert!(complaint.contains("; --backends: nothing is not allowed: "), "{complaint}");
    }

    #[test]
    fn help_names_every_key_of_the_file() {
        let help = complaint(&["--help"]);
        for key in crate::config::KEYS {
            assert!(help.contains(&format!("--{key} ")), "{key} is missing");
        }
    }
}
