//! How a script of the standard is called: its path, its environment, its answer.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use ha_core::id::ResourceName;
use tokio::process::Command;

use crate::agent::{OpContext, OpResult, Report, RunDetails};
#[cfg(feature = "attributes")]
use crate::attributes::Helpers;
use crate::leftovers;
use crate::outcome::Outcome;
use crate::program::{self, Call, Manner, PATH};
use crate::run::Guard;

/// The marker of the standard, before the reason on standard error.
const REASON: &str = "ocf-exit-reason:";

/// A script on disk.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) root: PathBuf,
    pub(super) provider: String,
    pub(super) kind: String,
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) grace: Duration,
    #[cfg(feature = "attributes")]
    pub(super) helpers: Option<Helpers>,
}

impl Script {
    pub(super) fn path(&self) -> PathBuf {
        self.root.join("resource.d").join(&self.provider).join(&self.kind)
    }

    /// A call of `action` with everything that does not depend on the operation.
    pub(super) fn call(&self, action: &str, instance: &ResourceName) -> Command {
        let mut command = Command::new(self.path());
        command
            .arg(action)
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C")
            .env("OCF_ROOT", &self.root)
            .env("OCF_RA_VERSION_MAJOR", "1")
            .env("OCF_RA_VERSION_MINOR", "1")
            .env("OCF_RESOURCE_INSTANCE", instance.as_str())
            .env("OCF_RESOURCE_PROVIDER", &self.provider)
            .env("OCF_RESOURCE_TYPE", &self.kind)
            .env("OCF_EXIT_REASON_PREFIX", REASON)
            .env("OCF_OUTPUT_FORMAT", "text")
            // Words of the agent's own library go to standard error, which we keep.
            .env("HA_LOGFACILITY", "none")
            .current_dir("/");
        #[cfg(feature = "attributes")]
        if let Some(helpers) = &self.helpers {
            let mut path = helpers.programs().as_os_str().to_owned();
            path.push(":");
            path.push(PATH);
            command.env("PATH", path).envs(helpers.environment());
        }
        command.envs(&self.env);
        command
    }

    /// Runs `action` as the operation says.
    pub(super) async fn act(
        &self,
        what: &'static str,
        action: &str,
        context: &OpContext,
        depth: Option<u8>,
    ) -> OpResult {
        let mut command = self.call(action, &context.resource);
        for (name, value) in variables(action, context) {
            if name.contains(['=', '\0']) || value.contains('\0') {
                let reason = format!("{name:?} cannot be a variable of the environment");
                return Ok(Report::new(Outcome::NotConfigured, reason));
            }
            command.env(name, value);
        }
        if let Some(depth) = depth {
            command.env("OCF_CHECK_LEVEL", depth.to_string());
        }
        let guard = match action {
            "monitor" | "validate-all" => Guard::Nobody,
            _ => Guard::Warden,
        };
        let manner = Manner { what, grace: self.grace, guard };
        Ok(match program::call(command, &self.path(), manner, context).await? {
            Call::Exited(status, details) => answer(status, details),
            Call::Refused(report) => report,
        })
    }
}

/// The parameters and meta attributes, as the standard and Pacemaker name them.
fn variables(action: &str, context: &OpContext) -> BTreeMap<String, String> {
    let millis = |time: Duration| time.as_millis().to_string();
    let own = [
        ("CRM_meta_name", action.to_owned()),
        ("CRM_meta_timeout", millis(context.timeout)),
        ("CRM_meta_interval", millis(context.interval.unwrap_or_default())),
    ];
    let own = own.map(|(name, value)| (format!("OCF_RESKEY_{name}"), value));
    // The mark is for us, and in the environment already.
    let meta =
        context.meta.iter().filter(|(name, _)| *name != leftovers::NODE).map(|(name, value)| {
            (format!("OCF_RESKEY_CRM_meta_{}", name.replace('-', "_")), value.clone())
        });
    let parameters = context.parameters.iter();
    let parameters = parameters.map(|(name, value)| (format!("OCF_RESKEY_{name}"), value.clone()));
    parameters.chain(meta).chain(own).collect()
}

fn answer(status: ExitStatus, details: RunDetails) -> Report {
    let outcome = status.code().map_or(Outcome::GenericError, Outcome::from_code);
    let reason = reason(outcome, status, &details);
    program::report(outcome, &reason, status, details)
}

/// The agent's reason; for a failure without one its last words, and at least how it ended.
fn reason(outcome: Outcome, status: ExitStatus, details: &RunDetails) -> String {
    let lines = || details.errors.lines().rev().map(str::trim);
    let given = lines().find_map(|line| line.split_once(REASON)).map(|(_, reason)| reason.trim());
    let given = given.filter(|reason| !reason.is_empty());
    let fine = matches!(outcome, Outcome::Success | Outcome::NotRunning | Outcome::RunningPromoted);
    match given {
        Some(reason) => reason.to_owned(),
        None if fine => String::new(),
        None => match lines().find(|line| !line.is_empty()) {
            Some(words) => format!("{status}: {words}"),
            None => status.to_string(),
        },
    }
}
