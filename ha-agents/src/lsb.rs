//! Init scripts as the Linux Standard Base describes them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ha_core::time::{BootClock, Clock};
use tokio::process::Command;

use crate::agent::{Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;
use crate::program::{self, Call, Manner, PATH};

/// The largest script that is read for its header, in bytes.
const MAX_SCRIPT: u64 = 1024 * 1024;

/// An init script, `/etc/init.d/NAME`, as a resource agent.
///
/// How it differs from an OCF script:
///
/// - A monitor is the action `status`, whose codes are others: 3 is stopped, 1 and 2 are dead with
///   a pid or lock file left (reported as not running, with that reason), 4 is unknown.
/// - Starting what runs and stopping what is stopped must succeed, but many scripts fail then: a
///   start asks `status` first, and does nothing for what runs; a stop that fails is a success
///   when `status` says that it is stopped.
/// - There are no parameters. Any that is given is [`Outcome::NotConfigured`].
/// - Its environment has `PATH` and `LC_ALL=C`, and no other variable of this process.
/// - On a machine that systemd runs, Debian's scripts hand over to `systemctl`.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use ha_agents::lsb::Lsb;
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// let nginx = Lsb::load("nginx")?;
/// let context = OpContext::new("web".parse()?, OpId::FIRST);
/// nginx.start(&context).await?;
/// assert_eq!(nginx.monitor(&context, Check::STARTED).await?.outcome, Outcome::Success);
/// # Ok(()) }
/// ```
///
/// # Source
///
/// Linux Standard Base Core 5.0, section "Init Script Actions" and "Comment Conventions for Init
/// Scripts".
#[derive(Debug)]
pub struct Lsb {
    name: String,
    path: PathBuf,
    header: LsbHeader,
}

/// The block `### BEGIN INIT INFO` of an init script.
///
/// ```
/// use ha_agents::lsb::LsbHeader;
///
/// let lines = [
///     "#!/bin/sh",
///     "### BEGIN INIT INFO",
///     "# Provides: web httpd",
///     "# Description: Serves",
///     "#  pages.",
///     "### END INIT INFO",
/// ];
/// let header = LsbHeader::parse(&lines.join("\n"));
/// assert_eq!(header.provides, ["web", "httpd"]);
/// assert_eq!(header.description, "Serves pages.");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LsbHeader {
    /// The names under which others require it.
    pub provides: Vec<String>,
    /// What must run while it starts.
    pub required_start: Vec<String>,
    /// What must still run while it stops.
    pub required_stop: Vec<String>,
    /// One sentence.
    pub summary: String,
    /// The long description.
    pub description: String,
}

/// The script cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LsbError {
    /// The name is none.
    #[error(
        "cannot use lsb:{name}: a script's name has letters, digits, '-', '_' and '.', and starts with a letter or digit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// It does not know `status`.
    #[error(
        "cannot use lsb:{name}: {} knows no action `status`, so nobody can tell whether it runs; add it, or use another agent", .path.display()
    )]
    NoStatus {
        /// The name.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot use lsb:{name}: {} cannot be read; install it or correct its name", .path.display())]
    Unreadable {
        /// The name.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LsbError {
    /// What a probe of a resource of this agent would answer.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Name { .. } => Outcome::NotConfigured,
            Self::NoStatus { .. } => Outcome::Unimplemented,
            Self::Unreadable { source, .. } => {
                program::refusal(source).unwrap_or(Outcome::GenericError)
            }
        }
    }
}

impl LsbHeader {
    /// Reads the block; what is not there is empty.
    #[must_use]
    pub fn parse(script: &str) -> Self {
        let mut header = Self::default();
        let lines = script.lines().map(str::trim_end);
        let block = lines
            .skip_while(|line| *line != "### BEGIN INIT INFO")
            .skip(1)
            .take_while(|line| *line != "### END INIT INFO");
        let mut in_description = false;
        for line in block {
            let Some(line) = line.strip_prefix('#') else { continue };
            // Only the description goes on, on lines that begin with a tab or two spaces.
            if in_description && (line.starts_with('\t') || line.starts_with("  ")) {
                header.description.push(' ');
                header.description.push_str(line.trim());
                continue;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim(), value.trim());
            let words = || value.split_whitespace().map(str::to_owned).collect();
            in_description = name == "Description";
            match name {
                "Provides" => header.provides = words(),
                "Required-Start" => header.required_start = words(),
                "Required-Stop" => header.required_stop = words(),
                "Short-Description" => value.clone_into(&mut header.summary),
                "Description" => value.clone_into(&mut header.description),
                _ => {}
            }
        }
        header
    }
}

impl Lsb {
    /// The script `/etc/init.d/NAME`.
    ///
    /// # Errors
    ///
    /// [`LsbError`]: not there, or without `status`.
    pub fn load(name: &str) -> Result<Self, LsbError> {
        Self::load_from("/etc/init.d", name)
    }

    /// The script `NAME` in another directory.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_from(directory: impl Into<PathBuf>, name: &str) -> Result<Self, LsbError> {
        if !is_name(name) {
            return Err(LsbError::Name { name: name.chars().take(80).collect() });
        }
        let path = directory.into().join(name);
        let text = read(&path).map_err(|source| LsbError::Unreadable {
            name: name.to_owned(),
            path: path.clone(),
            source,
        })?;
        if !text.contains("status") {
            return Err(LsbError::NoStatus { name: name.to_owned(), path });
        }
        Ok(Self { name: name.to_owned(), path, header: LsbHeader::parse(&text) })
    }

    /// What it says of itself.
    #[must_use]
    pub const fn header(&self) -> &LsbHeader {
        &self.header
    }

    async fn call(&self, action: &str, manner: Manner, context: &OpContext) -> OpResult {
        let mut command = Command::new(&self.path);
        command.arg(action).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
        let (status, details) = match program::call(command, &self.path, manner, context).await? {
            Call::Exited(status, details) => (status, details),
            Call::Refused(report) => return Ok(report),
        };
        let words = program::last_words(status, &details);
        let (outcome, reason) = match (action, status.code()) {
            (_, Some(0)) => (Outcome::Success, String::new()),
            ("status", Some(3)) => (Outcome::NotRunning, String::new()),
            ("status", Some(1)) => (Outcome::NotRunning, "dead, with a pid file left".to_owned()),
            ("status", Some(2)) => (Outcome::NotRunning, "dead, with a lock file left".to_owned()),
            ("status", _) | (_, None) => (Outcome::GenericError, words),
            (_, Some(code)) => (Outcome::from_code(code), words),
        };
        Ok(program::report(outcome, &reason, status, details))
    }

    async fn status(&self, context: &OpContext) -> OpResult {
        self.call("status", Manner::looking("monitor"), context).await
    }
}

impl fmt::Display for Lsb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lsb:{}", self.name)
    }
}

/// Parameters where there are none.
pub(crate) fn refuse_parameters(parameters: &BTreeMap<String, String>) -> Option<Report> {
    let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
    (!names.is_empty()).then(|| {
        let reason = format!("it takes no parameters; take away: {}", names.join(", "));
        Report::new(Outcome::NotConfigured, reason)
    })
}

/// A name that is one part of a path and nothing else.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}

/// The beginning of a file, as text.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_SCRIPT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[async_trait]
impl ResourceAgent for Lsb {
    async fn start(&self, context: &OpContext) -> OpResult {
        if let Some(refused) = refuse_parameters(&context.parameters) {
            return Ok(refused);
        }
        let began = BootClock::new().now();
        let before = self.status(context).await?;
        if before.outcome == Outcome::Success {
            return Ok(before);
        }
        let rest = program::rest(context, began);
        self.call("start", Manner::changing("start"), &rest).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        let began = BootClock::new().now();
        let mut report = self.call("stop", Manner::changing("stop"), context).await?;
        if report.outcome != Outcome::Success
            && self.status(&program::rest(context, began)).await?.outcome == Outcome::NotRunning
        {
            report.reason = format!("it is stopped all the same ({})", report.reason);
            report.outcome = Outcome::Success;
        }
        Ok(report)
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        self.status(context).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        Ok(refuse_parameters(&context.parameters).unwrap_or_else(Report::success))
    }

    async fn reload(&self, context: &OpContext) -> OpResult {
        self.call("reload", Manner::changing("reload"), context).await
    }

    fn metadata(&self) -> Metadata {
        Metadata::new(self.to_string(), &self.header.summary)
    }
}
