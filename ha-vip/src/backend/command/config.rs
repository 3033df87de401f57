//! Which commands, and how long each may take.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

use super::{CommandBackend, LONGEST};
use crate::address::VirtualAddress;
use crate::child::PATH;

const PLACES: [&str; 4] = ["{address}", "{ip}", "{prefix}", "{interface}"];

/// Builds a [`CommandBackend`].
#[derive(Debug, Clone)]
#[must_use]
pub struct CommandBackendBuilder {
    interface: String,
    pub(super) add: Vec<String>,
    pub(super) remove: Vec<String>,
    pub(super) list: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) timeout: Duration,
}

impl CommandBackendBuilder {
    pub(super) fn new(interface: String) -> Self {
        Self {
            interface,
            add: Vec::new(),
            remove: Vec::new(),
            list: Vec::new(),
            environment: BTreeMap::from([("PATH".into(), PATH.into())]),
            timeout: Duration::from_secs(10),
        }
    }

    /// Sets the command that puts an address there. Required.
    pub fn add_command<A: Into<String>>(mut self, argv: impl IntoIterator<Item = A>) -> Self {
        self.add = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the command that takes an address away. Required.
    pub fn remove_command<A: Into<String>>(mut self, argv: impl IntoIterator<Item = A>) -> Self {
        self.remove = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the command that prints the addresses that these commands have put there and that are
    /// there now, one `ADDRESS/PREFIX` a line, at most 64 KiB.
    ///
    /// Only `{interface}` may stand in it. Default: none; what this value has added counts as
    /// there, and what an earlier life has left is not known.
    pub fn list_command<A: Into<String>>(mut self, argv: impl IntoIterator<Item = A>) -> Self {
        self.list = argv.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable. There are no others but `PATH`, which is
    /// `/usr/sbin:/usr/bin:/sbin:/bin` by default.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(key.into(), value.into());
        self
    }

    /// Sets how long a command may take: 1 ms to 24 h, 10 s by default. Choose several times what
    /// the slowest good answer of the system takes: a command that is killed may have done its
    /// work.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// All problems: a command without a program, an unknown placeholder, a NUL byte, a timeout
    /// out of range.
    pub fn build(self) -> Result<CommandBackend, ConfigError> {
        let mut problems = Problems::new();
        let commands = [("add_command", &self.add, true), ("remove_command", &self.remove, true)];
        for (key, argv, required) in
            commands.into_iter().chain([("list_command", &self.list, false)])
        {
            let program = argv.first();
            if program.is_some_and(String::is_empty) || (required && program.is_none()) {
                problems.add(key, "\"\"", "a program and its arguments");
            }
            let known = PLACES.get(if required { 0.. } else { 3.. }).unwrap_or_default();
            for argument in argv {
                check(&mut problems, key, argument, known);
            }
        }
        for (key, value) in &self.environment {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                let allowed = "a name without `=`, and no NUL byte";
                problems.add("env", format!("{key:?}={value:?}"), allowed);
            }
        }
        if self.interface.contains('\0') {
            problems.add("interface", format!("{:?}", self.interface), "no NUL byte in it");
        }
        if self.timeout < Duration::from_millis(1) || self.timeout > LONGEST {
            problems.add("timeout", format!("{:?}", self.timeout), "1 ms to 24 h");
        }
        problems.into_result(()).map(|()| CommandBackend::new(self))
    }

    /// The command with what the placeholders stand for; each is replaced once, from left to
    /// right, so that nothing that was put in is looked at again.
    pub(super) fn expand(
        &self,
        template: &[String],
        address: Option<VirtualAddress>,
    ) -> Vec<String> {
        let value = |place: &str| match place {
            "{address}" => address.map(|address| address.to_string()),
            "{ip}" => address.map(|address| address.ip().to_string()),
            "{prefix}" => address.map(|address| address.prefix_len().to_string()),
            "{interface}" => Some(self.interface.clone()),
            _ => None,
        };
        template
            .iter()
            .map(|argument| {
                let (mut expanded, mut rest) = (String::new(), argument.as_str());
                while let Some((before, place, after)) = placeholder(rest) {
                    expanded.push_str(before);
                    expanded.push_str(&value(place).unwrap_or_else(|| place.to_owned()));
                    rest = after;
                }
                expanded + rest
            })
            .collect()
    }
}

/// The first `{word}` in a text, with what is before and after it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    for (start, _) in text.match_indices('{') {
        let (before, place) = text.split_at_checked(start)?;
        let inside = place.get(1..)?;
        let len = inside.find(|c: char| !c.is_ascii_lowercase())?;
        if len > 0 && inside.get(len..)?.starts_with('}') {
            let (place, after) = place.split_at_checked(len.saturating_add(2))?;
            return Some((before, place, after));
        }
    }
    None
}

fn check(problems: &mut Problems, key: &'static str, argument: &str, known: &[&str]) {
    if argument.contains('\0') {
        problems.add(key, format!("{argument:?}"), "no NUL byte in it");
    }
    let mut rest = argument;
    while let Some((_, place, after)) = placeholder(rest) {
        if !known.contains(&place) {
            problems.add(key, place, format!("one of {}", known.join(", ")));
        }
        rest = after;
    }
}
