//! Commands that are told.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::{Notice, Notify, NotifyError, NotifyState};
use crate::child::{Spec, Stream};

/// A command, without a shell, in a clean environment and a process group of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Script {
    pub(crate) spec: Spec,
    timeout: Duration,
}

impl Script {
    /// The command `program`: a path, or a name to be found in `/usr/sbin`, `/usr/bin`, `/sbin` or
    /// `/bin`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { spec: Spec::new(program.into()), timeout: Duration::from_mins(1) }
    }

    /// Adds arguments, each as it is: no shell looks at them.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.spec.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable. There are no others but `PATH`.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.spec.environment.insert(key.into(), value.into());
        self
    }

    /// Runs it as this user and group, without any other groups; default: as this program. Needs
    /// to be root.
    pub const fn run_as(mut self, user: u32, group: u32) -> Self {
        self.spec.user = Some((user, group));
        self
    }

    /// Sets after what time it has failed and is killed with its whole group; default a minute.
    /// While it runs, nothing newer is told. (keepalived does not wait for it.)
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &std::ffi::OsStr {
        &self.spec.program
    }

    /// The arguments.
    #[must_use]
    pub fn arguments(&self) -> &[OsString] {
        &self.spec.args
    }

    async fn run(&self, more: Vec<String>) -> Result<(), NotifyError> {
        let program = self.spec.program.to_string_lossy().into_owned();
        let mut spec = self.spec.clone();
        spec.args.extend(more.into_iter().map(Into::into));
        let failed = |source| NotifyError::Command { program: program.clone(), source };
        let ended = spec.run_within(Stream::Errors, self.timeout).await.map_err(failed)?;
        let Some((status, said)) = ended else {
            return Err(NotifyError::NoAnswer { program, limit: self.timeout });
        };
        if status.success() {
            return Ok(());
        }
        let said: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
        Err(failed(io::Error::other(format!("{status}: {said:?}"))))
    }
}

/// Runs commands with keepalived's arguments.
///
/// The command for a state (keepalived's `notify_master`, `notify_backup`, `notify_fault` and
/// `notify_stop`) runs with the arguments that it was given; after it the one for every state
/// (`notify`) with four more: `INSTANCE` or `GROUP`, the name, the state, the priority. When one
/// fails and the notice is told again, those before it are not run again.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_vip::vrrp::StateName;
/// use ha_vip::vrrp::notify::{Notifier, NotifyState, Script, Scripts};
///
/// let scripts = Scripts::new()
///     .on(NotifyState::Master, Script::new("true"))
///     .always(Script::new("test").args(["INSTANCE", "="])); // test INSTANCE = INSTANCE …
/// let (router, state) = tokio::sync::watch::channel(StateName::Active);
/// drop(router);
/// Notifier::instance("VI_1", state, scripts).retry(1, std::time::Duration::ZERO).run().await;
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Scripts {
    on: BTreeMap<NotifyState, Script>,
    always: Option<Script>,
    /// The notice that failed, and how many commands had succeeded before.
    done: Option<(NotifyState, usize)>,
}

impl Scripts {
    /// No commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the command for this state.
    pub fn on(mut self, state: NotifyState, script: Script) -> Self {
        self.on.insert(state, script);
        self
    }

    /// Sets the command for every state.
    pub fn always(mut self, script: Script) -> Self {
        self.always = Some(script);
        self
    }

    /// The command for this state alone.
    #[must_use]
    pub fn script_on(&self, state: NotifyState) -> Option<&Script> {
        self.on.get(&state)
    }

    /// The command for every state.
    #[must_use]
    pub const fn script_always(&self) -> Option<&Script> {
        self.always.as_ref()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.on.is_empty() && self.always.is_none()
    }
}

#[async_trait]
impl Notify for Scripts {
    async fn notify(&mut self, notice: &Notice) -> Result<(), NotifyError> {
        let passed = self.done.take().filter(|(state, _)| *state == notice.state);
        let passed = passed.map_or(0, |(_, passed)| passed);
        let four = || {
            let (subject, state) = (notice.subject.as_str(), notice.state.as_str());
            vec![subject.into(), notice.name.clone(), state.into(), notice.priority.to_string()]
        };
        let own = self.on.get(&notice.state).map(|script| (script, Vec::new()));
        let commands = own.into_iter().chain(self.always.iter().map(|script| (script, four())));
        for (index, (script, more)) in commands.enumerate().skip(passed) {
            if let Err(error) = script.run(more).await {
                self.done = Some((notice.state, index));
                return Err(error);
            }
        }
        Ok(())
    }
}
