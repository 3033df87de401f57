//! The native agents, from their parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::config::ConfigError;

use super::Parameters;
use crate::agent::ResourceAgent;
use crate::native::{Dummy, Mount, Process};

type Made = Result<Arc<dyn ResourceAgent>, ConfigError>;

pub(super) fn process(given: &BTreeMap<String, String>) -> Made {
    let mut parameters = Parameters::new(given);
    let mut process = Process::new(parameters.required("program", "a path, or a name on PATH"));
    for word in parameters.words("args") {
        process = process.arg(word);
    }
    if let Some(directory) = parameters.optional("directory") {
        if !directory.starts_with('/') {
            parameters.refuse("directory", "a path that begins with /");
        }
        process = process.directory(directory);
    }
    for (name, value) in parameters.with_prefix("env.") {
        if name.contains('=') {
            parameters.refuse(&format!("env.{name}"), "a name without '='");
        }
        process = process.env(name, value);
    }
    if let Some(grace) = parameters.span("stop_grace") {
        process = process.stop_grace(grace);
    }
    process = lasting(process, &mut parameters);
    parameters.finish(Arc::new(process))
}

/// How it tells that it serves, where its words go, and by what it is found again.
fn lasting(mut process: Process, parameters: &mut Parameters<'_>) -> Process {
    let log = parameters.optional("log").filter(|log| !log.is_empty());
    if let Some(log) = log {
        process = process.log(log);
    }
    let ready = parameters.optional("ready").filter(|ready| !ready.is_empty());
    let port = |text: &str| text.strip_prefix("port ")?.trim().parse().ok();
    let line = |text: &str| text.strip_prefix("line ").map(str::to_owned);
    match ready.map(|text| (text, port(text), line(text))) {
        None => {}
        Some(("notify", ..)) => process = process.ready_on_notify(),
        Some((_, Some(address), _)) => process = process.ready_on_port(address),
        Some((_, None, Some(text))) => match log {
            Some(log) => process = process.ready_on_line(log, text),
            None => parameters.refuse("ready", "line TEXT only with a log"),
        },
        Some((_, None, None)) => parameters.refuse("ready", "notify, port IP:PORT or line TEXT"),
    }
    let daemon = parameters.flag("daemon").unwrap_or_default();
    match parameters.optional("pidfile").filter(|file| !file.is_empty()) {
        Some(file) if file.starts_with('/') && daemon => process.daemon(file),
        Some(file) if file.starts_with('/') => process.pidfile(file),
        Some(_) => {
            parameters.refuse("pidfile", "a path that begins with /");
            process
        }
        None => {
            if daemon {
                parameters.refuse("daemon", "true only with a pidfile");
            }
            process
        }
    }
}

pub(super) fn mount(given: &BTreeMap<String, String>) -> Made {
    let mut parameters = Parameters::new(given);
    let source = parameters.required("source", "a device, a file, or what its type mounts");
    let directory = parameters.required("directory", "a directory that exists");
    if !directory.is_empty() && (!directory.starts_with('/') || directory == "/") {
        parameters.refuse("directory", "a path that begins with /, and not / itself");
    }
    let mut mount = Mount::new(source, directory);
    if let Some(fstype) = parameters.optional("fstype").filter(|fstype| !fstype.is_empty()) {
        mount = mount.fstype(fstype);
    }
    if let Some(options) = parameters.optional("options") {
        mount = mount.options(options);
    }
    mount = mount.kill_holders(parameters.flag("kill_holders").unwrap_or_default());
    mount = mount.exclusive(parameters.flag("exclusive").unwrap_or(true));
    parameters.finish(Arc::new(mount))
}

pub(super) fn dummy(given: &BTreeMap<String, String>) -> Made {
    Parameters::new(given).finish(Arc::new(Dummy::new()))
}
