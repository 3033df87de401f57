//! Addresses that commands put there: a cloud's API, a router's configuration.

mod config;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

pub use self::config::CommandBackendBuilder;
use super::{AddressBackend, BackendError};
use crate::address::VirtualAddress;
use crate::child::{Spec, Stream};

/// Runs a command of the user for each address that is to come or go.
///
/// A command is a list of arguments, the first of which is the program; no shell looks at them. In
/// each argument `{address}` stands for the address with its prefix length, `{ip}` for the address
/// alone, `{prefix}` for the length alone, `{interface}` for the interface. A command runs in a
/// clean environment and a process group of its own, and has to exit with status 0. It must be
/// idempotent. One that takes longer than its timeout is killed with all of its group; what it did
/// is unknown then. Dropping the future that waits for it kills it, too.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_vip::backend::{AddressBackend, CommandBackend};
///
/// let backend = CommandBackend::builder("eth0")
///     .add_command(["test", "{ip}", "=", "192.0.2.10"])
///     .remove_command(["test", "{address}", "=", "192.0.2.10/24"])
///     .build()?;
/// let address = "192.0.2.10/24".parse()?;
/// backend.add(address).await?;
/// assert_eq!(backend.list().await?, [address]);
/// backend.remove(address).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct CommandBackend {
    config: CommandBackendBuilder,
    /// What this value has added, or may have.
    added: Mutex<BTreeSet<VirtualAddress>>,
}

impl CommandBackend {
    /// Starts a backend for the addresses of `interface`, a name that only the commands interpret.
    pub fn builder(interface: impl Into<String>) -> CommandBackendBuilder {
        CommandBackendBuilder::new(interface.into())
    }

    const fn new(config: CommandBackendBuilder) -> Self {
        Self { config, added: Mutex::new(BTreeSet::new()) }
    }

    fn added(&self) -> MutexGuard<'_, BTreeSet<VirtualAddress>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        &self,
        template: &[String],
        address: Option<VirtualAddress>,
        stream: Stream,
    ) -> Result<String, BackendError> {
        let mut argv = self.config.expand(template, address).into_iter();
        let program = argv.next().unwrap_or_default();
        let mut spec = Spec::new(program.clone().into());
        spec.args.extend(argv.map(Into::into));
        let environment = self.config.environment.iter();
        spec.environment = environment.map(|(key, value)| (key.into(), value.into())).collect();
        let limit = self.config.timeout;
        let failed = |source| BackendError::Command { program: program.clone(), source };
        let ended = spec.run_within(stream, limit).await.map_err(failed)?;
        let Some((status, text)) = ended else {
            return Err(BackendError::NoAnswer { program, limit });
        };
        if status.success() {
            return Ok(text);
        }
        let said = text.lines().next().unwrap_or_default();
        Err(failed(io::Error::other(format!("{status}: {said:?}"))))
    }
}

#[async_trait]
impl AddressBackend for CommandBackend {
    async fn add(&self, address: VirtualAddress) -> Result<(), BackendError> {
        // Before the command: if it is killed, the address may be there.
        self.added().insert(address);
        self.run(&self.config.add, Some(address), Stream::Errors).await.map(drop)
    }

    async fn remove(&self, address: VirtualAddress) -> Result<(), BackendError> {
        let ours = self.added().contains(&address);
        if !ours && !self.list().await?.contains(&address) {
            return Ok(());
        }
        self.run(&self.config.remove, Some(address), Stream::Errors).await?;
        self.added().remove(&address);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        if self.config.list.is_empty() {
            return Ok(self.added().iter().copied().collect());
        }
        let text = self.run(&self.config.list, None, Stream::Output).await?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                line.parse().map_err(|error| BackendError::Command {
                    program: self.config.list.first().cloned().unwrap_or_default(),
                    source: io::Error::new(io::ErrorKind::InvalidData, error),
                })
            })
            .collect()
    }
}

/// The longest time that a command may have: a day; longer is a mistake of the unit.
const LONGEST: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests;
