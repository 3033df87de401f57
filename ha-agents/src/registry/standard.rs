//! The agents of other standards than OCF, from their parameters.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ha_core::config::ConfigError;

use super::Parameters;
use crate::agent::ResourceAgent;
use crate::command::Commands;
use crate::nagios::Nagios;

type Made = Result<Arc<dyn ResourceAgent>, ConfigError>;

/// Where Debian's packages put the plugins.
const PLUGINS: &str = "/usr/lib/nagios/plugins";

/// Plain commands, each in words.
pub(super) fn command(given: &BTreeMap<String, String>) -> Made {
    let mut parameters = Parameters::new(given);
    let [start, stop, check] = ["start", "stop", "check"].map(|name| {
        parameters.required(name, "a program with its arguments");
        parameters.words(name)
    });
    let mut commands = Commands::new(start, stop, check);
    if parameters.flag("ocf_codes").unwrap_or_default() {
        commands = commands.ocf_codes();
    }
    for (name, value) in parameters.with_prefix("env.") {
        commands = commands.env(name, value);
    }
    parameters.finish(Arc::new(commands))
}

/// A plugin by its name; its options come with each operation.
pub(super) fn nagios(name: &str) -> Arc<dyn ResourceAgent> {
    Arc::new(Nagios::new(Path::new(PLUGINS).join(name)))
}

/// A unit by its name.
#[cfg(feature = "systemd")]
pub(super) fn systemd(name: &str, given: &BTreeMap<String, String>) -> Made {
    let unit = crate::systemd::Unit::new(name).map_err(|error| {
        ConfigError::new("agent", format!("{:?}", error.name), error.to_string())
    })?;
    Parameters::new(given).finish(Arc::new(unit))
}
