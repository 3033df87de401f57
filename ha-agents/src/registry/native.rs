//! The native agents, from their parameters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::ConfigError;

#[cfg(any(feature = "mysql", feature = "postgres", feature = "redis"))]
use super::databases;
use super::{Parameters, Registry, checks, network};
use crate::agent::ResourceAgent;
use crate::native::{Delay, Dummy, Lxc, Mount, Process, Stateful};

const ABSOLUTE: &str = "a path that begins with /";

type Given = BTreeMap<String, String>;
type Factory = fn(&Given) -> Made;
type Made = Result<Arc<dyn ResourceAgent>, ConfigError>;

/// Adds them all.
pub(super) fn register(registry: &mut Registry) {
    let agents: [(&str, Factory); _] = [
        ("native:delay", delay),
        ("native:dummy", dummy),
        ("native:lxc", lxc),
        ("native:mount", mount),
        ("native:process", |given| checks::beside(process, given)),
        ("native:stateful", stateful),
        ("native:symlink", network::symlink),
        ("native:tcp", checks::tcp),
    ];
    for (name, make) in agents {
        registry.register(name, move |_, given| make(given));
    }
    #[cfg(feature = "http")]
    registry.register("native:http", |_, given| checks::http(given));
    #[cfg(feature = "nftables")]
    registry.register("native:block-port", |_, given| network::block_port(given));
    #[cfg(feature = "route")]
    registry.register("native:route", |_, given| network::route(given));
    #[cfg(feature = "mysql")]
    registry.register("native:mysql", |_, given| databases::mysql(given));
    #[cfg(feature = "postgres")]
    registry.register("native:postgres", |_, given| databases::postgres(given));
    #[cfg(feature = "redis")]
    registry.register("native:redis", |_, given| databases::redis(given));
}

fn process(given: &Given) -> Made {
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
            // The value may be a secret.
            let name = format!("env.{name}");
            parameters.absorb(ConfigError::new(name, "(given)", "a name without '='"));
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

fn mount(given: &Given) -> Made {
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
    mount = mount.rescan(parameters.flag("rescan").unwrap_or_default());
    parameters.finish(Arc::new(mount))
}

fn dummy(given: &Given) -> Made {
    Parameters::new(given).finish(Arc::new(Dummy::new()))
}

fn delay(given: &Given) -> Made {
    let mut parameters = Parameters::new(given);
    let start = parameters.span("start_delay").unwrap_or(Duration::from_secs(30));
    let (stop, monitor) = (parameters.span("stop_delay"), parameters.span("monitor_delay"));
    let agent =
        Delay::new(start).stop_delay(stop.unwrap_or(start)).monitor_delay(monitor.unwrap_or(start));
    parameters.finish(Arc::new(agent))
}

fn lxc(given: &Given) -> Made {
    let mut parameters = Parameters::new(given);
    let mut agent = Lxc::new(parameters.required("container", "its name"));
    for name in ["path", "config"] {
        let Some(path) = parameters.optional(name) else { continue };
        if !path.starts_with('/') {
            parameters.refuse(name, ABSOLUTE);
        }
        agent = if name == "path" { agent.path(path) } else { agent.config(path) };
    }
    if let Some(grace) = parameters.span("stop_grace") {
        agent = agent.stop_grace(grace);
    }
    parameters.finish(Arc::new(agent))
}

fn stateful(given: &Given) -> Made {
    let mut parameters = Parameters::new(given);
    let state = absolute(&mut parameters, "state");
    parameters.finish(Arc::new(Stateful::new(state)))
}

/// A path that must be given.
pub(super) fn absolute<'a>(parameters: &mut Parameters<'a>, name: &str) -> &'a str {
    let path = parameters.required(name, ABSOLUTE);
    if !path.is_empty() && !path.starts_with('/') {
        parameters.refuse(name, ABSOLUTE);
    }
    path
}
