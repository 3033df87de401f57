//! Reads the settings of a TOML file.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use ha_core::config::{ConfigError, Problems};
use ha_lb::endpoint::{Endpoint, Weight};

use super::reader::renamed;
use super::{Given, KEYS, Value};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Reads a TOML file.
pub(crate) fn from_file(path: &Path) -> Result<BTreeMap<String, Given>, ConfigError> {
    let unreadable = |why: &dyn Display| {
        let allowed = format!("a file of TOML that can be read: {why}");
        ConfigError::new("--config", path.display(), allowed)
    };
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > MAX_FILE {
        return Err(unreadable(&format!("it has {size} bytes, more than {MAX_FILE}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    from_toml(&path.display().to_string(), &text)
}

pub(super) fn from_toml(file: &str, text: &str) -> Result<BTreeMap<String, Given>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| {
            let before = text.get(..span.start).unwrap_or_default();
            before.lines().count().max(1)
        });
        ConfigError::new(format!("{file}:{line}"), "this line", error.message().to_owned())
    })?;
    let mut problems = Problems::new();
    let mut given = BTreeMap::new();
    for (key, value) in table {
        let path = format!("{file}: {key}");
        if !KEYS.contains(&key.as_str()) {
            problems.add(path, "this key", KEYS.join(", "));
            continue;
        }
        let list = if key == "backends" { value.as_array() } else { None };
        let value = match list {
            Some(list) => backends(&path, list).map(Value::Backends),
            None => scalar(&value)
                .map(Value::Text)
                .ok_or_else(|| ConfigError::new(&path, value.type_str(), "a single value")),
        };
        match value {
            Ok(value) => {
                given.insert(key, Given { path, value });
            }
            Err(error) => problems.absorb(error),
        }
    }
    problems.into_result(given)
}

/// A value that a flag could have, as text.
fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Float(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => None,
    }
}

fn backends(path: &str, list: &[toml::Value]) -> Result<Vec<Endpoint>, ConfigError> {
    let mut problems = Problems::new();
    let mut endpoints = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let endpoint = if let Some(table) = value.as_table() {
            backend(&path, table.clone())
        } else if let Some(text) = value.as_str() {
            text.parse::<Endpoint>().map_err(|error| renamed(&error, "backend", &path))
        } else {
            let allowed = "a table with address, or \"ADDRESS:PORT\"";
            Err(ConfigError::new(path, value.type_str(), allowed))
        };
        match endpoint {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(error) => problems.absorb(error),
        }
    }
    problems.into_result(endpoints)
}

/// The keys of a backend.
const BACKEND: &str = "name, address, weight, max-connections, backup, priority, zone, id or tags";

fn backend(path: &str, table: toml::Table) -> Result<Endpoint, ConfigError> {
    let mut fields = Fields { path, table, problems: Problems::new() };
    let (name, address) = (fields.text("name"), fields.text("address").unwrap_or_default());
    let written = match &name {
        Some(name) => format!("{name}={address}"),
        None => address,
    };
    let endpoint = written
        .parse::<Endpoint>()
        .map_err(|error| renamed(&error, "backend", &format!("{path}.address")));
    let weight = fields.number("weight", 0, 256).and_then(|weight| u16::try_from(weight).ok());
    let weight = Weight::new(weight.unwrap_or(1)).unwrap_or_default();
    let most = fields.number("max-connections", 0, u32::MAX).unwrap_or(0);
    let id = fields.number("id", 1, u32::MAX);
    let priority = fields.number("priority", 0, 255).and_then(|level| u8::try_from(level).ok());
    let backup = fields.truth("backup");
    let zone = fields.text("zone");
    let tags = fields.tags();
    let problems = fields.into_problems();
    let endpoint = match (endpoint, problems.into_result(())) {
        (Ok(endpoint), Ok(())) => endpoint,
        (Ok(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        (Err(error), Err(more)) => {
            let mut all = Problems::new();
            all.absorb(error);
            all.absorb(more.clone());
            return all.into_result(()).and(Err(more));
        }
    };
    let endpoint = endpoint
        .with_weight(weight)
        .with_max_connections(most)
        .with_backup(backup)
        .with_priority(priority.unwrap_or(0));
    let endpoint = id.into_iter().fold(endpoint, Endpoint::with_id);
    let endpoint = zone.into_iter().fold(endpoint, Endpoint::with_zone);
    Ok(tags.into_iter().fold(endpoint, |endpoint, (key, value)| endpoint.with_tag(key, value)))
}

/// The fields of a backend that were not read yet.
struct Fields<'a> {
    path: &'a str,
    table: toml::Table,
    problems: Problems,
}

impl Fields<'_> {
    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.table.remove(key)?;
        let text = scalar(&value);
        if text.is_none() {
            self.complain(key, value.type_str(), "a single value");
        }
        text
    }

    fn number(&mut self, key: &str, least: u32, most: u32) -> Option<u32> {
        let text = self.text(key)?;
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.complain(key, &text, &format!("{least} to {most}"));
        }
        number
    }

    fn truth(&mut self, key: &str) -> bool {
        match self.text(key).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                self.complain(key, other, "true or false");
                false
            }
        }
    }

    fn tags(&mut self) -> Vec<(String, String)> {
        let Some(value) = self.table.remove("tags") else { return Vec::new() };
        let Some(table) = value.as_table() else {
            self.complain("tags", value.type_str(), "a table of single values");
            return Vec::new();
        };
        let mut tags = Vec::new();
        for (key, value) in table {
            match scalar(value) {
                Some(text) => tags.push((key.clone(), text)),
                None => self.complain(&format!("tags.{key}"), value.type_str(), "a single value"),
            }
        }
        tags
    }

    fn complain(&mut self, key: &str, value: &str, allowed: &str) {
        self.problems.add(format!("{}.{key}", self.path), value, allowed);
    }

    /// What is wrong, and every key that is not known.
    fn into_problems(mut self) -> Problems {
        for (key, _) in self.table {
            self.problems.add(format!("{}.{key}", self.path), "this key", BACKEND);
        }
        self.problems
    }
}
