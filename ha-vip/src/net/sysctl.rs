//! The kernel's settings of an interface, changed for a time.

use std::io;
use std::path::{Path, PathBuf};

/// Where the IPv4 settings of interfaces are, in the network namespace of the calling thread.
const IPV4: &str = "/proc/sys/net/ipv4/conf";

/// Settings that were changed, and what they were before.
#[derive(Debug, Default)]
pub(crate) struct Changed(Vec<(PathBuf, String)>);

impl Changed {
    /// Sets an IPv4 setting of an interface to at least a number, or exactly to it.
    pub(crate) fn set_ipv4(
        &mut self,
        interface: &str,
        key: &str,
        wanted: Wanted,
    ) -> io::Result<()> {
        let path = Path::new(IPV4).join(interface).join(key);
        let before = std::fs::read_to_string(&path)?;
        let is: i32 = before.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        let value = match wanted {
            Wanted::AtLeast(value) if is >= value => return Ok(()),
            Wanted::Exactly(value) if is == value => return Ok(()),
            Wanted::AtLeast(value) | Wanted::Exactly(value) => value,
        };
        std::fs::write(&path, value.to_string())?;
        self.0.push((path, before));
        Ok(())
    }

    /// Takes over what another one is to put back.
    pub(crate) fn inherit(&mut self, earlier: Self) {
        let later = std::mem::replace(&mut self.0, earlier.0);
        self.0.extend(later);
    }

    /// Puts everything back; what is gone with its interface is no error.
    pub(crate) fn restore(self) {
        for (path, before) in self.0.into_iter().rev() {
            match std::fs::write(&path, before) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %path.display(), "setting not put back");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// What a setting is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    AtLeast(i32),
    Exactly(i32),
}
