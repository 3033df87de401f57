//! What is tracked: `vrrp_script`, `vrrp_track_process`, `track_file`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ha_core::config::ConfigError;
use ha_core::health::RiseFall;

use super::block::Statement;
use super::global::unknown;
use super::report::Report;
use super::script::{Command, Runner};
use crate::track::{CommandTracker, FileTracker, ParamMatch, ProcessTracker, Tracker, Weight};

/// What kind of thing is tracked. Things of different kinds may have the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Bfd,
    File,
    Process,
    Script,
}

impl Kind {
    /// The name of the tracker of a thing: no interface is called so, as it has a space in it.
    pub(super) fn tracker(self, name: &str) -> String {
        let kind = match self {
            Self::Bfd => "bfd",
            Self::File => "file",
            Self::Process => "process",
            Self::Script => "script",
        };
        format!("{kind} {name}")
    }
}

/// Everything that can be tracked, with its own weight.
pub(super) type Checks = BTreeMap<(Kind, String), ((Weight, bool), Option<Check>)>;

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    File { path: PathBuf, init: Option<(i32, bool)> },
    Process(ProcessCheck),
    Script(ScriptCheck),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProcessCheck {
    words: Vec<String>,
    /// Whether the command line is compared, not the name.
    whole: bool,
    params: Option<ParamMatch>,
    quorum: usize,
    quorum_max: Option<usize>,
    fork_delay: Duration,
    terminate_delay: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptCheck {
    command: Command,
    interval: Duration,
    timeout: Option<Duration>,
    rise: u32,
    fall: u32,
    init_fail: bool,
}

impl Check {
    /// Makes the tracker.
    pub(super) fn tracker(&self, name: &str) -> Result<Box<dyn Tracker>, ConfigError> {
        Ok(match self {
            Self::File { path, init } => {
                if let Some((value, overwrite)) = *init
                    && (overwrite || !path.exists())
                    && let Err(error) = std::fs::write(path, format!("{value}\n"))
                {
                    tracing::warn!(tracker = name, %error, "the file cannot be written");
                }
                Box::new(FileTracker::new(name, path))
            }
            Self::Process(check) => Box::new(check.tracker(name)?),
            Self::Script(check) => Box::new(check.tracker(name)?),
        })
    }
}

impl ProcessCheck {
    fn tracker(&self, name: &str) -> Result<ProcessTracker, ConfigError> {
        let first = self.words.first().map_or("", String::as_str);
        let builder = if self.whole || self.words.len() > 1 || self.params.is_some() {
            ProcessTracker::command_line(name, self.words.iter().map(String::as_bytes))
                .param_match(self.params.unwrap_or_default())
        } else if first.contains('/') {
            // The kernel's name of a process has no path.
            ProcessTracker::command_line(name, [first.as_bytes()]).param_match(ParamMatch::Partial)
        } else {
            ProcessTracker::process_name(name, first)
        };
        let builder = builder.quorum(self.quorum);
        let builder = builder.fork_delay(self.fork_delay).terminate_delay(self.terminate_delay);
        match self.quorum_max {
            Some(max) => builder.quorum_max(max).build(),
            None => builder.build(),
        }
    }
}

impl ScriptCheck {
    fn tracker(&self, name: &str) -> Result<CommandTracker, ConfigError> {
        let (program, args) = match self.command.argv.split_first() {
            Some((program, args)) => (program.as_str(), args),
            None => ("", &[][..]),
        };
        let builder = CommandTracker::builder(name, program).args(args.iter().cloned());
        let builder = builder.interval(self.interval).init_fail(self.init_fail);
        let builder = builder.rise_fall(RiseFall::new(self.rise, self.fall));
        let builder = match self.timeout {
            Some(timeout) => builder.timeout(timeout),
            None => builder,
        };
        match self.command.user {
            Some((user, group)) => builder.run_as(user, group).build(),
            None => builder.build(),
        }
    }
}

/// Adds what a block defines.
pub(super) fn take(
    kind: Kind,
    block: &Statement,
    runner: &mut Runner<'_>,
    checks: &mut Checks,
    report: &mut Report,
) {
    let Some(name) = block.name(report) else {
        return;
    };
    let read = match kind {
        Kind::Script => script(block, runner, report),
        Kind::Process => Some(process(block, report)),
        Kind::File => file(block, report),
        Kind::Bfd => None,
    };
    let Some((weight, check)) = read else {
        return;
    };
    if let Err(error) = check.tracker_config(name) {
        for problem in error.problems() {
            let what = format!("{} of `{name}`: {}", problem.path, problem.value);
            report.wrong(&block.at, what, problem.allowed.clone());
        }
    }
    if checks.insert((kind, name.to_owned()), (weight, Some(check))).is_some() {
        report.wrong(&block.at, format!("a second `{name}`"), "each name once");
    }
}

impl Check {
    /// Whether the tracker could be made; touches no file.
    fn tracker_config(&self, name: &str) -> Result<(), ConfigError> {
        match self {
            Self::File { .. } => Ok(()),
            Self::Process(check) => check.tracker(name).map(drop),
            Self::Script(check) => check.tracker(name).map(drop),
        }
    }
}

type Weighed = ((Weight, bool), Check);

fn script(block: &Statement, runner: &mut Runner<'_>, report: &mut Report) -> Option<Weighed> {
    let second = Duration::from_secs(1);
    let (mut argv, mut user, mut weight) =
        (None, runner.globals.script_user, (Weight::FAULT, false));
    let (mut interval, mut timeout, mut rise, mut fall) = (second, None, 1, 1);
    let (mut init_fail, mut missing) = (false, true);
    for statement in block.inner() {
        match statement.keyword() {
            "script" => {
                missing = false;
                argv = super::script::check(statement, report).map(|argv| (argv, statement));
            }
            "interval" => interval = statement.seconds(report, 86_400).unwrap_or(second),
            "timeout" => timeout = statement.seconds(report, 86_400),
            "weight" => weight = statement.weight(report).unwrap_or(weight),
            "rise" => rise = statement.number(report, 1..=1_000_000).unwrap_or(1),
            "fall" => fall = statement.number(report, 1..=1_000_000).unwrap_or(1),
            "user" => {
                let given = statement.args();
                user = super::script::user(statement, given, runner.accounts, report).or(user);
            }
            "init_fail" => init_fail = true,
            _ => unknown(&statement.at, statement, "vrrp_script", report),
        }
    }
    if missing {
        report.wrong(&block.at, block.text(), "it needs a `script`");
    }
    let (argv, at) = argv?;
    let command = Command { argv, user };
    runner.check_security(at, &command, report);
    let check = ScriptCheck { command, interval, timeout, rise, fall, init_fail };
    Some((weight, Check::Script(check)))
}

fn process(block: &Statement, report: &mut Report) -> Weighed {
    let mut weight = (Weight::new(1).unwrap_or_default(), false);
    let mut check = ProcessCheck {
        words: Vec::new(),
        whole: false,
        params: None,
        quorum: 1,
        quorum_max: None,
        fork_delay: Duration::ZERO,
        terminate_delay: Duration::ZERO,
    };
    for statement in block.inner() {
        match statement.keyword() {
            "process" => {
                check.words = statement.args().iter().map(|word| word.text.clone()).collect();
            }
            "param_match" => match statement.arg(0) {
                Some("initial") => check.params = Some(ParamMatch::Initial),
                Some("partial") => check.params = Some(ParamMatch::Partial),
                Some("exact") => check.params = Some(ParamMatch::Exact),
                Some(_) | None => {
                    report.wrong(&statement.at, statement.text(), "initial, partial or exact");
                }
            },
            "weight" => weight = statement.weight(report).unwrap_or(weight),
            "quorum" => check.quorum = statement.number(report, 0..=1_000_000).unwrap_or(1),
            "quorum_max" => check.quorum_max = statement.number(report, 0..=1_000_000),
            "fork_delay" => check.fork_delay = statement.seconds(report, 3600).unwrap_or_default(),
            "terminate_delay" => {
                check.terminate_delay = statement.seconds(report, 3600).unwrap_or_default();
            }
            "delay" => {
                let delay = statement.seconds(report, 3600).unwrap_or_default();
                (check.fork_delay, check.terminate_delay) = (delay, delay);
            }
            "full_command" => check.whole = true,
            _ => unknown(&statement.at, statement, "vrrp_track_process", report),
        }
    }
    // A quorum above its maximum is meant to be "must not run" when the maximum is 0.
    if check.quorum_max == Some(0) {
        check.quorum = 0;
    }
    (weight, Check::Process(check))
}

fn file(block: &Statement, report: &mut Report) -> Option<Weighed> {
    let mut weight = (Weight::new(1).unwrap_or_default(), false);
    let (mut path, mut init) = (None, None);
    for statement in block.inner() {
        match statement.keyword() {
            "file" => path = statement.one(report, "the path of a file").map(PathBuf::from),
            "weight" => weight = statement.weight(report).unwrap_or(weight),
            "init_file" => {
                let overwrite = statement.args().iter().any(|word| word.text == "overwrite");
                let mut values = statement.args().iter().filter(|word| word.text != "overwrite");
                let value = values.next().map_or(Some(0), |word| word.text.parse().ok());
                match value {
                    Some(value) => init = Some((value, overwrite)),
                    None => report.wrong(&statement.at, statement.text(), "a number"),
                }
            }
            _ => unknown(&statement.at, statement, "track_file", report),
        }
    }
    let Some(path) = path.filter(|path| path.is_absolute()) else {
        report.wrong(&block.at, block.text(), "it needs a `file` with an absolute path");
        return None;
    };
    Some((weight, Check::File { path, init }))
}
