//! A symbolic link as a resource.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::described;
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;

/// A symbolic link, there while it is started: `ocf:heartbeat:symlink`.
///
/// A start makes the link; what lies in its place and is no link is moved aside if a
/// [`backup_suffix`](Self::backup_suffix) is given, and brought back by the stop; without one it is
/// left alone and the start fails. A link to something else is another's: it is not changed, and a
/// stop leaves it. The target need not be there.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::native::Symlink;
/// use ha_agents::{OpContext, ResourceAgent};
/// use ha_core::id::OpId;
///
/// # let folder = tempfile::tempdir()?;
/// # let link = folder.path().join("config");
/// let agent = Symlink::new(&link, "/srv/shared/config");
/// let context = OpContext::new("link".parse()?, OpId::FIRST);
/// agent.start(&context).await?;
/// assert_eq!(std::fs::read_link(&link)?, std::path::Path::new("/srv/shared/config"));
/// agent.stop(&context).await?;
/// assert!(std::fs::symlink_metadata(&link).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Symlink {
    link: PathBuf,
    target: PathBuf,
    backup_suffix: Option<String>,
}

/// What lies in the link's place.
enum Place {
    Free,
    Ours,
    /// A link to something else.
    Other(PathBuf),
    /// No link.
    Occupied,
}

impl Symlink {
    /// The link `link` to `target`.
    pub fn new(link: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { link: link.into(), target: target.into(), backup_suffix: None }
    }

    /// Sets what is put behind the name of a file in the link's place while it is started.
    /// Default: such a file is left alone.
    #[must_use]
    pub fn backup_suffix(mut self, suffix: impl Into<String>) -> Self {
        self.backup_suffix = Some(suffix.into());
        self
    }

    fn look(&self) -> io::Result<Place> {
        match fs::symlink_metadata(&self.link) {
            Ok(metadata) if !metadata.is_symlink() => Ok(Place::Occupied),
            Ok(_) => {
                let target = fs::read_link(&self.link)?;
                Ok(if target == self.target { Place::Ours } else { Place::Other(target) })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::Free),
            Err(error) => Err(error),
        }
    }

    fn backup(&self) -> Option<PathBuf> {
        let mut name = self.link.clone().into_os_string();
        name.push(self.backup_suffix.as_ref()?);
        Some(name.into())
    }

    fn objection(&self) -> Option<Report> {
        let relative = !self.link.is_absolute();
        let suffix = self.backup_suffix.as_deref().unwrap_or("~");
        if relative || suffix.is_empty() || suffix.contains('/') {
            let reason = "the link must begin with /, and the backup's suffix be a part of a name";
            return Some(Report::new(Outcome::NotConfigured, reason));
        }
        let parent = self.link.parent().unwrap_or(Path::new("/"));
        let reason = || format!("there is no directory {}; make it", parent.display());
        (!parent.is_dir()).then(|| Report::new(Outcome::NotInstalled, reason()))
    }

    fn make(&self) -> io::Result<Report> {
        let link = self.link.display();
        match self.look()? {
            Place::Ours => return Ok(Report::success()),
            Place::Other(target) => {
                let reason = format!("{link} is a link to {}; remove it", target.display());
                return Ok(Report::new(Outcome::GenericError, reason));
            }
            Place::Free => {}
            Place::Occupied => match self.backup() {
                Some(backup) if fs::symlink_metadata(&backup).is_ok() => {
                    let reason = format!("{} is there already; remove it", backup.display());
                    return Ok(Report::new(Outcome::GenericError, reason));
                }
                Some(backup) => fs::rename(&self.link, backup)?,
                None => {
                    let reason = format!("{link} is there and no link; remove it");
                    return Ok(Report::new(Outcome::GenericError, reason));
                }
            },
        }
        std::os::unix::fs::symlink(&self.target, &self.link)?;
        Ok(Report::success())
    }

    fn remove(&self) -> io::Result<Report> {
        if let Place::Ours = self.look()? {
            fs::remove_file(&self.link)?;
        }
        // Also after a stop that was cut off in between.
        if let (Place::Free, Some(backup)) = (self.look()?, self.backup())
            && fs::symlink_metadata(&backup).is_ok()
        {
            fs::rename(backup, &self.link)?;
        }
        Ok(Report::success())
    }

    /// Does the work on a thread that may hang where a dead disk is on the way.
    async fn work(
        &self,
        context: &OpContext,
        what: &'static str,
        work: fn(&Self) -> io::Result<Report>,
    ) -> OpResult {
        let agent = self.clone();
        let done = async {
            let done = tokio::task::spawn_blocking(move || work(&agent)).await;
            done.map_err(io::Error::from).flatten().map_err(|source| AgentError::Io {
                resource: context.resource.clone(),
                what,
                source,
            })
        };
        context.limit(what, done).await
    }
}

#[async_trait]
impl ResourceAgent for Symlink {
    async fn start(&self, context: &OpContext) -> OpResult {
        let start = |agent: &Self| agent.objection().map_or_else(|| agent.make(), Ok);
        self.work(context, "start", start).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        self.work(context, "stop", Self::remove).await
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        let look = |agent: &Self| {
            Ok(match agent.look()? {
                Place::Ours => Report::success(),
                Place::Free | Place::Occupied => Report::new(Outcome::NotRunning, ""),
                Place::Other(target) => {
                    let reason = format!("it is a link to {}", target.display());
                    Report::new(Outcome::NotRunning, reason)
                }
            })
        };
        self.work(context, "monitor", look).await
    }

    async fn validate(&self, context: &OpContext) -> OpResult {
        let look = |agent: &Self| Ok(agent.objection().unwrap_or_else(Report::success));
        self.work(context, "validate", look).await
    }

    fn metadata(&self) -> Metadata {
        let parameters = [
            ("link", "the link", None),
            ("target", "what it leads to", None),
            ("backup_suffix", "what is put behind the name of a file in its place", Some("")),
        ];
        described("symlink", "A symbolic link", &parameters)
    }
}
