//! Where backends come from, if not from a list.

use std::path::PathBuf;

use ha_core::config::ConfigError;
use ha_lb::discovery::Discovery;
use ha_lb::discovery::dns::Dns;
use ha_lb::discovery::file::WatchedFile;

/// What is asked for the backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Discover {
    /// The addresses of a name, all with this port.
    Addresses { name: String, port: u16 },
    /// A file that is watched.
    File(PathBuf),
    /// The servers of a service.
    Service(String),
}

impl Discover {
    /// Reads `file:PATH`, `dns:NAME:PORT` or `srv:_SERVICE._PROTOCOL.NAME`.
    pub(super) fn new(text: &str) -> Result<Self, ConfigError> {
        let allowed = "file:PATH, dns:NAME:PORT or srv:_SERVICE._PROTOCOL.NAME";
        let wrong = || ConfigError::new("discover", text, allowed);
        let discover = match text.split_once(':').ok_or_else(wrong)? {
            ("file", path) if !path.is_empty() => Self::File(path.into()),
            ("srv", name) => Self::Service(name.to_owned()),
            ("dns", rest) => {
                let (name, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
                Self::Addresses { name: name.to_owned(), port }
            }
            _ => return Err(wrong()),
        };
        // What is wrong with a name is said now, not when it is asked for.
        discover.source().map(|_| discover)
    }

    /// What a follower follows.
    pub(crate) fn source(&self) -> Result<Box<dyn Discovery>, ConfigError> {
        Ok(match self {
            Self::Addresses { name, port } => Box::new(Dns::addresses(name, *port).build()?),
            Self::File(path) => Box::new(WatchedFile::new(path)),
            Self::Service(name) => Box::new(Dns::service(name).build()?),
        })
    }
}
