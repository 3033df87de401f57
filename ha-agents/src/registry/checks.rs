//! The checks of services, from their parameters: alone, and beside another agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use ha_core::config::{ConfigError, Problems};

use super::Parameters;
use crate::agent::ResourceAgent;
#[cfg(feature = "http")]
use crate::native::HttpCheck;
use crate::native::{Checked, ServiceCheck, TcpCheck, Watch};

type Given = BTreeMap<String, String>;
type Made = Result<Arc<dyn ResourceAgent>, ConfigError>;

/// What the parameters of a check beside another agent begin with.
const BESIDE: &str = "check.";
const SOCKET: &str = "a host and a port, such as 127.0.0.1:80 or [::1]:80";

/// `native:tcp`.
pub(super) fn tcp(given: &Given) -> Made {
    let mut parameters = Parameters::new(given);
    let check = tcp_check(&mut parameters);
    parameters.finish(Arc::new(Watch::new(check)))
}

/// `native:http`.
#[cfg(feature = "http")]
pub(super) fn http(given: &Given) -> Made {
    let mut parameters = Parameters::new(given);
    let check = http_check(&mut parameters);
    let watched = check.map(|check| Arc::new(Watch::new(check)) as Arc<dyn ResourceAgent>);
    let made = parameters.finish(watched)?;
    made.ok_or_else(|| ConfigError::new("url", "(nothing)", "a URL"))
}

/// An agent with a check beside it, if parameters beginning with `check.` tell of one.
pub(super) fn beside(make: impl Fn(&Given) -> Made, given: &Given) -> Made {
    let (of_check, of_agent): (Given, Given) =
        given.clone().into_iter().partition(|(name, _)| name.starts_with(BESIDE));
    if of_check.is_empty() {
        return make(given);
    }
    let inner = |(name, value): (String, String)| {
        (name.strip_prefix(BESIDE).unwrap_or(&name).to_owned(), value)
    };
    let of_check: Given = of_check.into_iter().map(inner).collect();
    let mut parameters = Parameters::new(&of_check);
    let depth: Option<u8> = parameters.parsed("depth", "a depth, such as 0, 10 or 20");
    let check: Option<Arc<dyn ServiceCheck>> = check(&mut parameters);
    let (agent, check) = match (make(&of_agent), parameters.finish(check)) {
        (Ok(agent), Ok(check)) => (agent, check),
        (agent, check) => {
            let mut problems = Problems::new();
            let beside = check.err().map(|error| error.below("check"));
            for error in agent.err().into_iter().chain(beside) {
                problems.absorb(error);
            }
            return problems.into_result(()).and(Err(ConfigError::new("check", "it", SOCKET)));
        }
    };
    let missing = || ConfigError::new("check.address", "(nothing)", SOCKET);
    let check = check.ok_or_else(missing)?;
    Ok(Arc::new(Checked::new(agent, check).depth(depth.unwrap_or(10))))
}

/// By HTTP with `url`, else by TCP.
#[cfg_attr(
    not(feature = "http"),
    expect(clippy::unnecessary_wraps, reason = "only of a wrong URL no check can be made")
)]
fn check(parameters: &mut Parameters<'_>) -> Option<Arc<dyn ServiceCheck>> {
    #[cfg(feature = "http")]
    if parameters.optional("url").is_some() {
        return Some(Arc::new(http_check(parameters)?));
    }
    Some(Arc::new(tcp_check(parameters)))
}

fn tcp_check(parameters: &mut Parameters<'_>) -> TcpCheck {
    let address = parameters.required("address", SOCKET);
    let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    let good = matches!(port, Some((host, Ok(1..))) if !host.is_empty());
    if !address.is_empty() && !good {
        parameters.refuse("address", SOCKET);
    }
    let mut check = TcpCheck::new(address);
    if let Some(send) = parameters.optional("send") {
        check = check.send(unescape(send));
    }
    if let Some(expect) = parameters.optional("expect") {
        check = check.expect(unescape(expect));
    }
    match parameters.span("limit") {
        Some(limit) => check.limit(limit),
        None => check,
    }
}

/// Lets a configuration write line ends: `\r`, `\n`, `\t`, `\0`, `\\`.
fn unescape(text: &str) -> Vec<u8> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let escaped = (c == '\\').then(|| rest.clone().next()).flatten();
        let meant = match escaped {
            Some('r') => '\r',
            Some('n') => '\n',
            Some('t') => '\t',
            Some('0') => '\0',
            Some('\\') => '\\',
            Some(_) | None => {
                plain.push(c);
                continue;
            }
        };
        rest.next();
        plain.push(meant);
    }
    plain.into_bytes()
}

/// `None`: something is wrong, and noted.
#[cfg(feature = "http")]
fn http_check(parameters: &mut Parameters<'_>) -> Option<HttpCheck> {
    let url = parameters.required("url", "a URL, such as http://127.0.0.1/health");
    let mut check = match HttpCheck::new(url) {
        Ok(check) => Some(check),
        Err(error) => {
            if !url.is_empty() {
                parameters.absorb(error);
            }
            // What else is wrong is told as well.
            HttpCheck::new("http://localhost/").ok()
        }
    };
    if let Some(method) = parameters.optional("method") {
        check = add(check, parameters, |check| check.method(method));
    }
    for (name, value) in parameters.with_prefix("header.") {
        check = add(check, parameters, |check| check.header(name, value));
    }
    if let Some(text) = parameters.optional("status") {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) if (100..=last).contains(&first) && last <= 999 => {
                check = check.map(|check| check.status(first..=last));
            }
            _ => parameters.refuse("status", "a status or a range of them, such as 200-299"),
        }
    }
    if let Some(text) = parameters.optional("contains") {
        check = check.map(|check| check.contains(text));
    }
    if let Some(file) = parameters.optional("authority") {
        if !file.starts_with('/') {
            parameters.refuse("authority", "a path that begins with /");
        }
        check = check.map(|check| check.authority(file));
    }
    if let Some(limit) = parameters.span("limit") {
        check = check.map(|check| check.limit(limit));
    }
    check
}

#[cfg(feature = "http")]
fn add(
    check: Option<HttpCheck>,
    parameters: &mut Parameters<'_>,
    set: impl FnOnce(HttpCheck) -> Result<HttpCheck, ConfigError>,
) -> Option<HttpCheck> {
    set(check?).map_err(|error| parameters.absorb(error)).ok()
}
