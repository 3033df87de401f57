//! Parameters of agents by their types: read, checked, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::ResourceName;

use super::metadata::{AgentMetadata, ParameterMetadata};
use crate::span;

/// What the value of a parameter can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterType {
    /// Yes or no.
    Boolean,
    /// A whole number.
    Integer,
    /// One of [`options`](ParameterMetadata::options).
    Select,
    /// A text.
    String,
    /// A span of time.
    Time,
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParameterValue {
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text, or one of a selection.
    Text(String),
    /// A span of time.
    Time(Duration),
}

/// What a change of parameters asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a manager has to decide on each")]
pub enum ParameterChange {
    /// Nothing is different.
    None,
    /// The agent takes it over while the resource runs.
    Reload,
    /// The resource has to be stopped and started.
    Restart {
        /// The parameters for whose sake it has to.
        because: Vec<String>,
    },
}

/// The spellings that the agents' shell library takes for yes; it takes *all* others for no.
const YES: [&str; 9] = ["yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON"];
/// What is meant as no.
const NO: [&str; 5] = ["no", "false", "0", "off", "nein"];

impl ParameterMetadata {
    /// The type of its value; one that is not known is a text, and so is one that the agent's own
    /// default is not of (as of Debian's `pingd`, whose name is an integer).
    #[must_use]
    pub fn value_type(&self) -> ParameterType {
        let told = match self.kind.as_str() {
            "boolean" => ParameterType::Boolean,
            "integer" => ParameterType::Integer,
            "select" if !self.options.is_empty() => ParameterType::Select,
            "second" | "seconds" | "time" | "timeout" | "duration" => ParameterType::Time,
            _ => ParameterType::String,
        };
        let default = self.default.as_deref().unwrap_or_default();
        let is_true = default.is_empty() || self.parse(told, default).is_some();
        if is_true { told } else { ParameterType::String }
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// What is allowed, as half a sentence.
    pub fn read(&self, value: &str) -> Result<ParameterValue, String> {
        let kind = self.value_type();
        self.parse(kind, value).ok_or_else(|| match kind {
            ParameterType::Boolean => {
                "true, yes, on or 1, or false, no, off or 0, in small letters; the agent would take \
                 everything else for no"
                    .to_owned()
            }
            ParameterType::Integer => "a whole number, such as 5".to_owned(),
            ParameterType::Select => format!("one of {}", self.options.join(", ")),
            ParameterType::Time => "a time, such as 500ms, 10s, 2min, or a number of seconds".into(),
            ParameterType::String => "a text".to_owned(),
        })
    }

    fn parse(&self, kind: ParameterType, value: &str) -> Option<ParameterValue> {
        let trimmed = value.trim();
        match kind {
            ParameterType::Boolean if YES.contains(&trimmed) => Some(ParameterValue::Boolean(true)),
            ParameterType::Boolean => {
                let no = NO.contains(&trimmed.to_ascii_lowercase().as_str());
                no.then_some(ParameterValue::Boolean(false))
            }
            ParameterType::Integer => trimmed.parse().ok().map(ParameterValue::Integer),
            ParameterType::Time => span::parse(trimmed).map(ParameterValue::Time),
            ParameterType::Select => {
                let known = self.options.iter().any(|option| option == value);
                known.then(|| ParameterValue::Text(value.to_owned()))
            }
            ParameterType::String => Some(ParameterValue::Text(value.to_owned())),
        }
    }
}

impl AgentMetadata {
    /// Reads all parameters by their types, with the agent's defaults for those that are not
    /// given; a parameter without default that is not given has no value.
    ///
    /// ```
    /// use ha_agents::ocf::{AgentMetadata, ParameterValue};
    ///
    /// let metadata = AgentMetadata::parse(
    ///     r#"<resource-agent name="web"><parameters>
    ///     <parameter name="port"><content type="integer" default="80"/></parameter>
    ///     <parameter name="tls"><content type="boolean" default="false"/></parameter>
    ///     </parameters></resource-agent>"#,
    /// )?;
    /// let values = metadata.values(&[("tls".into(), "on".into())].into()).unwrap();
    /// assert_eq!(values["port"], ParameterValue::Integer(80));
    /// assert_eq!(values["tls"], ParameterValue::Boolean(true));
    /// let error = metadata.values(&[("tls".into(), "On".into())].into()).unwrap_err();
    /// assert!(error.to_string().contains("tls"));
    /// # Ok::<(), ha_agents::ocf::MetadataError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All that is wrong, by the parameters' names: missing, unknown, not of their type. Values
    /// are not told, as they may be secrets.
    pub fn values(
        &self,
        given: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, ParameterValue>, ConfigError> {
        self.check_values(given, &[], |_| true)?;
        let values = self.parameters.iter().filter_map(|parameter| {
            let value = effective(parameter, given)?;
            Some((parameter.name.clone(), parameter.read(value).ok()?))
        });
        Ok(values.collect())
    }

    /// As [`check_strictly`](Self::check_strictly), but a value that is not of its type is an
    /// error, too. One that is no boolean is a doubt: metadata says boolean where the agent knows
    /// more than two words (as of Debian's `Filesystem`, whose `force_unmount` may be `safe`).
    #[cfg(feature = "tokio")]
    pub(crate) fn check_typed(
        &self,
        given: &BTreeMap<String, String>,
        others: &[&str],
    ) -> Result<Vec<String>, ConfigError> {
        self.check_values(given, others, |kind| kind != ParameterType::Boolean)
    }

    /// What is wrong, a value that is not of its type if it `must_be`; what is doubtful.
    fn check_values(
        &self,
        given: &BTreeMap<String, String>,
        others: &[&str],
        must_be: impl Fn(ParameterType) -> bool,
    ) -> Result<Vec<String>, ConfigError> {
        let (mut problems, mut untyped) = (Problems::new(), Vec::new());
        for (name, value) in given.iter().filter(|(_, value)| !value.is_empty()) {
            let Some(parameter) = self.parameter(name) else { continue };
            let Err(allowed) = parameter.read(value) else { continue };
            if must_be(parameter.value_type()) {
                problems.add(name, "(given)", allowed);
            } else {
                untyped.push(parameter.untyped());
            }
        }
        let mut doubts = self.check_strictly(given, others).unwrap_or_else(|error| {
            problems.absorb(error);
            Vec::new()
        });
        untyped.retain(|doubt| !doubts.contains(doubt));
        doubts.extend(untyped);
        problems.into_result(doubts)
    }

    /// As [`check`](Self::check), but a parameter that is neither known nor among `others` is an
    /// error, too: it is a misspelt one.
    pub(crate) fn check_strictly(
        &self,
        given: &BTreeMap<String, String>,
        others: &[&str],
    ) -> Result<Vec<String>, ConfigError> {
        let known = given.iter().filter(|(name, _)| self.parameter(name).is_some());
        let known: BTreeMap<_, _> = known.map(|(n, v)| (n.clone(), v.clone())).collect();
        let mut problems = Problems::new();
        let doubts = self.check(&known).unwrap_or_else(|error| {
            problems.absorb(error);
            Vec::new()
        });
        let strange = given.keys().filter(|name| !known.contains_key(*name));
        for name in strange.filter(|name| !others.contains(&name.as_str())) {
            let names: Vec<&str> = self.parameters.iter().map(|p| p.name.as_str()).collect();
            let allowed = format!("it is unknown to the agent, which has: {}", names.join(", "));
            problems.add(name, "(given)", allowed);
        }
        problems.into_result(doubts)
    }

    /// Whether the resources of this agent differ where they must: all parameters of a unique
    /// group together have other values in any two resources, as two must not have one pid file.
    ///
    /// What nobody gave is not compared: agents make their defaults from the resource's name.
    ///
    /// # Errors
    ///
    /// Each pair that does not differ, at the parameters of the group.
    pub fn check_unique(
        &self,
        resources: &[(&ResourceName, &BTreeMap<String, String>)],
    ) -> Result<(), ConfigError> {
        let groups: BTreeSet<&str> =
            self.parameters.iter().filter_map(|it| it.unique_group.as_deref()).collect();
        let mut problems = Problems::new();
        for group in groups {
            let of_it = |it: &&ParameterMetadata| it.unique_group.as_deref() == Some(group);
            let members: Vec<_> = self.parameters.iter().filter(of_it).collect();
            let names: Vec<&str> = members.iter().map(|it| it.name.as_str()).collect();
            let mut seen = BTreeMap::new();
            for (resource, given) in resources {
                if !members.iter().any(|it| given.contains_key(&it.name)) {
                    continue;
                }
                let values: Vec<_> = members.iter().map(|it| effective(it, given)).collect();
                if let Some(other) = seen.insert(values, *resource) {
                    let both = format!("(the same in {other} and {resource})");
                    problems.add(names.join(", "), both, "another value in each resource");
                }
            }
        }
        problems.into_result(())
    }

    /// What has to be done for the parameters to become these.
    #[must_use]
    pub fn change(
        &self,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) -> ParameterChange {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let differs = |name: &str| {
            let value = |given: &BTreeMap<String, String>| match self.parameter(name) {
                Some(parameter) => effective(parameter, given).map(str::to_owned),
                None => given.get(name).cloned(),
            };
            value(old) != value(new)
        };
        let changed: Vec<&String> = names.into_iter().filter(|name| differs(name)).collect();
        if changed.is_empty() {
            return ParameterChange::None;
        }
        let can_reload = self.knows("reload-agent") || self.knows("reload");
        let reloadable =
            |name: &str| can_reload && self.parameter(name).is_some_and(|it| it.reloadable);
        let because: Vec<String> =
            changed.into_iter().filter(|name| !reloadable(name)).cloned().collect();
        if because.is_empty() {
            ParameterChange::Reload
        } else {
            ParameterChange::Restart { because }
        }
    }
}

/// What the agent takes: what is given, else its default; an empty value is none.
fn effective<'a>(
    parameter: &'a ParameterMetadata,
    given: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    let value = given.get(&parameter.name).filter(|value| !value.is_empty());
    let default = || parameter.default.as_ref().filter(|value| !value.is_empty());
    value.or_else(default).map(String::as_str)
}
