//! The socket at which the stand-ins ask, and the directory with their links.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ha_core::control::{Answer, ControlError, Lines, Responder, Server};

use super::NodeAttributes;
use super::command::{self, Call, PROGRAMS};
use super::helper::SOCKET;

/// Answers the stand-ins of agents for as long as it is kept.
///
/// The socket has mode 0600, and the directory 0700 when it is made: only this user and root
/// come in; whoever does may change all attributes. At most 64 stand-ins are served at a time.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
/// use ha_agents::attributes::{AttributeServer, MemoryAttributes, Membership, act_as_helper};
/// use ha_agents::ocf::Ocf;
///
/// // First in main: this program is also the one behind the links.
/// if let Some(code) = act_as_helper() {
///     std::process::exit(code.into());
/// }
/// let attributes = Arc::new(MemoryAttributes::new(Membership::single("n1".parse()?)));
/// let program = std::env::current_exe()?;
/// let server = AttributeServer::start("/run/example", &program, attributes).await?;
/// let ping = Ocf::builder("pacemaker", "ping").helpers(server.helpers()).load().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AttributeServer {
    server: Server,
    helpers: Helpers,
}

/// Where agents find the stand-ins, and what these change. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Helpers {
    programs: PathBuf,
    socket: PathBuf,
    attributes: Arc<dyn NodeAttributes>,
}

impl PartialEq for Helpers {
    /// Whether they are of the same server.
    fn eq(&self, other: &Self) -> bool {
        (&self.programs, &self.socket) == (&other.programs, &other.socket)
    }
}

impl Eq for Helpers {}

/// The stand-ins cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeServerError {
    /// The directory cannot be made.
    #[error(
        "cannot put the agents' programs into {}: the system refused; choose another directory", .directory.display()
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program behind the links is not there.
    #[error(
        "cannot use {} as the agents' programs: it is no file with an absolute path; give the path of ha-attribute-helper, or of this program", .program.display()
    )]
    Program {
        /// The program.
        program: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot serve the agents' programs: see the cause")]
    Socket(#[source] ControlError),
}

impl AttributeServer {
    /// Makes the socket and the links in `directory`, which is made too; `program` is what is
    /// behind the links, see [`act_as_helper`](super::act_as_helper). A directory of an earlier
    /// life is used again. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`AttributeServerError`]; among others when another process serves this directory.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe; the directory may be left.
    pub async fn start(
        directory: impl AsRef<Path>,
        program: &Path,
        attributes: Arc<dyn NodeAttributes>,
    ) -> Result<Self, AttributeServerError> {
        let directory = directory.as_ref();
        if !program.is_absolute() || !program.is_file() {
            return Err(AttributeServerError::Program { program: program.to_owned() });
        }
        let programs = directory.join("bin");
        link(&programs, program).map_err(|source| AttributeServerError::Directory {
            directory: directory.to_owned(),
            source,
        })?;
        let socket = directory.join("attributes.sock");
        let desk = Arc::new(Desk { attributes: Arc::clone(&attributes) });
        let server = Server::bind(&socket, desk).await.map_err(AttributeServerError::Socket)?;
        Ok(Self { server, helpers: Helpers { programs, socket, attributes } })
    }

    /// Where agents find the stand-ins.
    #[must_use]
    pub const fn helpers(&self) -> &Helpers {
        &self.helpers
    }

    /// Ends all connections and removes the socket. The links stay: an agent that calls one is
    /// told that nobody answers.
    ///
    /// # Cancel safety
    ///
    /// It has been told to stop from the first poll on.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

impl Helpers {
    /// The directory with the links.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// How much this node's copy of `resource` should be promoted, as its agent said last.
    #[cfg(feature = "ocf")]
    pub(crate) async fn promotion_score(
        &self,
        resource: &ha_core::id::ResourceName,
    ) -> Result<Option<i32>, super::AttributeError> {
        let node = self.attributes.local().await?;
        self.attributes.promotion_score(resource, &node).await
    }

    /// What an agent's environment needs besides `PATH`, which begins with
    /// [`programs`](Self::programs).
    #[must_use]
    pub fn environment(&self) -> [(&'static str, OsString); 2] {
        [
            ("HA_SBIN_DIR", self.programs.clone().into_os_string()),
            (SOCKET, self.socket.clone().into_os_string()),
        ]
    }
}

/// Makes the links; each takes the place of an old one at one moment, as an agent may be about.
fn link(programs: &Path, program: &Path) -> io::Result<()> {
    if let Some(directory) = programs.parent().filter(|directory| !directory.exists()) {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    }
    fs::create_dir_all(programs)?;
    for name in PROGRAMS {
        let made = programs.join(format!(".{name}-{}", std::process::id()));
        fs::remove_file(&made).unwrap_or_default();
        symlink(program, &made)?;
        fs::rename(&made, programs.join(name))?;
    }
    Ok(())
}

/// Reads a call and does it.
#[derive(Debug)]
struct Desk {
    attributes: Arc<dyn NodeAttributes>,
}

#[async_trait]
impl Responder for Desk {
    async fn respond(&self, line: &[u8], _from: &mut Lines) -> Answer {
        match serde_json::from_slice::<Call>(line) {
            Ok(call) => Answer::of(&command::run(&call, &*self.attributes).await),
            Err(error) => Answer::unreadable(&error),
        }
    }
}
