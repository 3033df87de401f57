//! The file with the services.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ha_agents::executor::Limits;
use ha_core::id::ResourceName;
use serde::Deserialize;

/// The whole file.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) limits: Limits,
    pub(crate) services: BTreeMap<ResourceName, Settings>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Percent of a processor's load above which less runs at once.
    #[serde(default)]
    load_threshold: Option<u32>,
    service: BTreeMap<String, Settings>,
}

/// One service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) agent: String,
    #[serde(default)]
    pub(crate) parameters: BTreeMap<String, String>,
    /// Time between two checks; 0: none.
    #[serde(default = "monitor_ms")]
    pub(crate) monitor_ms: u64,
    /// How closely to look: 0, 10 or 20.
    #[serde(default)]
    pub(crate) depth: u8,
    /// How long an operation may take.
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// How many restarts within the window.
    #[serde(default = "restarts")]
    pub(crate) restarts: u32,
    #[serde(default = "window_ms")]
    pub(crate) window_ms: u64,
    /// The first and the longest delay before a restart.
    #[serde(default = "backoff_ms")]
    pub(crate) backoff_ms: u64,
    #[serde(default = "backoff_most_ms")]
    pub(crate) backoff_most_ms: u64,
}

const fn monitor_ms() -> u64 {
    10_000
}
const fn timeout_ms() -> u64 {
    20_000
}
const fn restarts() -> u32 {
    5
}
const fn window_ms() -> u64 {
    600_000
}
const fn backoff_ms() -> u64 {
    200
}
const fn backoff_most_ms() -> u64 {
    30_000
}

impl Config {
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let told =
            |error: &dyn std::fmt::Display| format!("cannot use {}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
        let file: File = toml::from_str(&text).map_err(|error| told(&error))?;
        let mut limits = Limits::builder();
        if let Some(percent) = file.load_threshold {
            limits = limits.load_threshold(percent);
        }
        let mut services = BTreeMap::new();
        for (name, settings) in file.service {
            if settings.timeout_ms == 0 {
                return Err(
                    told(&format_args!("service.{name}.timeout_ms is 0; set 1 or more")).into()
                );
            }
            services.insert(name.parse()?, settings);
        }
        Ok(Self { limits: limits.build()?, services })
    }
}

impl Settings {
    pub(crate) const fn monitor(&self) -> Option<Duration> {
        match self.monitor_ms {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        }
    }
}
