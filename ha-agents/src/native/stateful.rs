//! A promotable resource that is nothing but a file, for tests (`ocf:pacemaker:Stateful`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use ha_core::role::Role;

use super::described;
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// The most of the file that is read: a role, and no other file by mistake.
const MAX_LENGTH: usize = 64;
/// The promotion scores of Pacemaker's agent.
const PROMOTED_SCORE: i32 = 10;
const UNPROMOTED_SCORE: i32 = 5;

/// A promotable resource whose role is the word in a file: Pacemaker's `ocf:pacemaker:Stateful`,
/// which reads and writes the same file, so that either finds what the other has started.
///
/// Unlike [`Dummy`](super::Dummy) it outlives its program, and can be lost: a removed file is a
/// resource that has stopped, a file with another word in it one that has failed. Its answers
/// carry the promotion scores of Pacemaker's agent, 10 where it is promoted and 5 elsewhere.
///
/// A stop of a promoted one succeeds, as the standard wants; that of resource-agents 4.12 and
/// Pacemaker 2.1 answers 8.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use ha_agents::native::Stateful;
/// use ha_agents::{Check, OpContext, Outcome, ResourceAgent};
/// use ha_core::id::OpId;
///
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("state");
/// let agent = Stateful::new(&file);
/// let context = OpContext::new("s1".parse()?, OpId::FIRST);
/// agent.start(&context).await?;
/// agent.promote(&context).await?;
/// let seen = Stateful::new(&file).monitor(&context, Check::PROBE).await?;
/// assert_eq!((seen.outcome, seen.promotion), (Outcome::RunningPromoted, Some(10)));
/// agent.stop(&context).await?;
/// assert!(!file.exists());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Stateful {
    state: PathBuf,
}

impl Stateful {
    /// A resource that is the file `state`, in a directory that exists.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self { state: state.into() }
    }

    /// The file.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The role in the file; `Err`: the word in it is none.
    fn role(&self) -> io::Result<Result<Role, String>> {
        let text = match fs::read(&self.state) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Role::Stopped)),
            Err(error) => return Err(error),
        };
        let text = text.get(..MAX_LENGTH).unwrap_or(&text);
        let word = String::from_utf8_lossy(text).trim().to_owned();
        Ok(match word.to_ascii_lowercase().as_str() {
            "promoted" | "master" => Ok(Role::Promoted),
            "unpromoted" | "slave" | "started" => Ok(Role::Unpromoted),
            _ => Err(word),
        })
    }

    fn look(&self) -> io::Result<Report> {
        let (outcome, score) = match self.role()? {
            Ok(Role::Stopped) => return Ok(Report::new(Outcome::NotRunning, "")),
            Ok(Role::Promoted) => (Outcome::RunningPromoted, PROMOTED_SCORE),
            Ok(Role::Started | Role::Unpromoted) => (Outcome::Success, UNPROMOTED_SCORE),
            Err(word) => {
                let reason = format!("{} has no role in it: {word:?}", self.state.display());
                return Ok(Report::new(Outcome::GenericError, reason));
            }
        };
        Ok(Report::from(outcome).promotion(score))
    }

    /// Changes the role of one that runs.
    fn change(&self, role: Role) -> io::Result<Report> {
        match self.role()? {
            Ok(Role::Stopped) => Ok(Report::new(Outcome::NotRunning, "it is stopped")),
            Ok(_) => self.write(role),
            Err(_) => self.look(),
        }
    }

    fn write(&self, role: Role) -> io::Result<Report> {
        let promoted = role == Role::Promoted;
        fs::write(&self.state, if promoted { "Promoted\n" } else { "Unpromoted\n" })?;
        let score = if promoted { PROMOTED_SCORE } else { UNPROMOTED_SCORE };
        Ok(Report::success().promotion(score))
    }

    fn objection(&self) -> Option<Report> {
        if !self.state.is_absolute() {
            let reason = format!("the path {} does not begin with /", self.state.display());
            return Some(Report::new(Outcome::NotConfigured, reason));
        }
        let parent = self.state.parent().unwrap_or(Path::new("/"));
        if parent.is_dir() {
            return None;
        }
        let reason = format!("there is no directory {}; make it", parent.display());
        Some(Report::new(Outcome::InvalidArguments, reason))
    }
}

/// The system's refusal as an error of the operation.
fn told(context: &OpContext, what: &'static str, result: io::Result<Report>) -> OpResult {
    result.map_err(|source| AgentError::Io { resource: context.resource.clone(), what, source })
}

#[async_trait]
impl ResourceAgent for Stateful {
    async fn start(&self, context: &OpContext) -> OpResult {
        if let Some(report) = self.objection() {
            return Ok(report);
        }
        let result = self.role().and_then(|role| match role {
            Ok(Role::Stopped) => self.write(Role::Unpromoted),
            Ok(_) => Ok(Report::success()),
            Err(_) => self.look(),
        });
        told(context, "start", result)
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        let result = match fs::remove_file(&self.state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(Report::success()),
        };
        told(context, "stop", result)
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        told(context, "monitor", self.look())
    }

    async fn validate(&self, _context: &OpContext) -> OpResult {
        Ok(self.objection().unwrap_or_else(Report::success))
    }

    fn metadata(&self) -> Metadata {
        let parameters = [("state", "the file that is the resource", None)];
        let metadata = described("stateful", "Remembers its role in a file", &parameters);
        Metadata { promotable: true, ..metadata }
    }

    async fn promote(&self, context: &OpContext) -> OpResult {
        told(context, "promote", self.change(Role::Promoted))
    }

    async fn demote(&self, context: &OpContext) -> OpResult {
        told(context, "demote", self.change(Role::Unpromoted))
    }

    async fn notify(&self, _context: &OpContext) -> OpResult {
        Ok(Report::success())
    }
}
