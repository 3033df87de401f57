//! The agents of other standards than OCF, from their parameters.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ha_core::config::ConfigError;

use super::Parameters;
use crate::agent::ResourceAgent;
use crate::command::Commands;
use crate::lsb::{Lsb, is_name};
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

/// The init scripts and plugins that are installed.
pub(super) fn installed() -> Vec<String> {
    let with = |prefix: &str, folder: &str| {
        let files = files(Path::new(folder), false).into_iter();
        files.map(|name| format!("{prefix}:{name}")).collect::<Vec<_>>()
    };
    let scripts = with("lsb", "/etc/init.d").into_iter();
    let usable = |name: &String| name.strip_prefix("lsb:").is_some_and(|it| Lsb::load(it).is_ok());
    let plugins = with("nagios", PLUGINS).into_iter();
    let is_check = |name: &String| name.starts_with("nagios:check_");
    scripts.filter(usable).chain(plugins.filter(is_check)).collect()
}

/// The names of the programs, or else of the folders, in a folder.
pub(super) fn files(folder: &Path, folders: bool) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let found = fs::metadata(entry.path()).ok()?;
        let is_it = if folders {
            found.is_dir()
        } else {
            found.is_file() && found.permissions().mode() & 0o111 != 0
        };
        let name = entry.file_name().into_string().ok()?;
        (is_it && is_name(&name)).then_some(name)
    });
    names.collect()
}

/// A unit by its name.
#[cfg(feature = "systemd")]
pub(super) fn systemd(name: &str) -> Made {
    let unit = crate::systemd::Unit::new(name).map_err(|error| {
        ConfigError::new("agent", format!("{:?}", error.name), error.to_string())
    })?;
    Ok(Arc::new(unit))
}
