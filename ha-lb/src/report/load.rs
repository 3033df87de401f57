//! One report of an endpoint's load.

use std::collections::BTreeMap;
use std::fmt;

/// The largest report that is read, in bytes, and the most metrics of a kind in it.
const MAX_BYTES: usize = 8 * 1024;
const MAX_METRICS: usize = 64;

/// What an endpoint says of its load.
///
/// What is not reported is 0. Utilisations are parts of what the endpoint may use: of the processor it
/// can be above 1, of memory not.
///
/// ```
/// use ha_lb::report::LoadReport;
///
/// let report = LoadReport::read("TEXT cpu_utilization=0.3, rps_fractional=120, named_metrics.gpu=7")?;
/// assert_eq!((report.cpu_utilization(), report.rps()), (0.3, 120.0));
/// assert_eq!(report.named_metric("gpu"), Some(7.0));
/// assert!(LoadReport::read("TEXT mem_utilization=1.5").is_err());
/// # Ok::<(), ha_lb::report::ReportError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "http", derive(serde::Deserialize), serde(default))]
pub struct LoadReport {
    #[cfg_attr(feature = "http", serde(alias = "cpuUtilization"))]
    cpu_utilization: f64,
    #[cfg_attr(feature = "http", serde(alias = "memUtilization"))]
    mem_utilization: f64,
    #[cfg_attr(feature = "http", serde(alias = "applicationUtilization"))]
    application_utilization: f64,
    #[cfg_attr(feature = "http", serde(alias = "rpsFractional"))]
    rps_fractional: f64,
    eps: f64,
    #[cfg_attr(feature = "http", serde(alias = "namedMetrics"))]
    named_metrics: BTreeMap<String, f64>,
    utilization: BTreeMap<String, f64>,
    #[cfg_attr(feature = "http", serde(alias = "requestCost"))]
    request_cost: BTreeMap<String, f64>,
}

/// Why a report is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// It is neither in the text nor in the JSON form.
    #[error("cannot read a load report: it begins with neither TEXT nor JSON")]
    Format,
    /// The JSON is malformed, or a value has another type.
    #[error("cannot read a load report: {why}")]
    Json {
        /// What is wrong with it.
        why: String,
    },
    /// A metric is not a number, stands there twice, or is out of range.
    #[error("cannot read a load report: {metric} is {value}; it must be {allowed}")]
    Metric {
        /// Which.
        metric: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// It is longer than 8 KiB or has more than 64 metrics of a kind.
    #[error("cannot read a load report: it is too large; 8 KiB and 64 metrics of a kind are read")]
    TooLarge,
}

const ONCE: &str = "there once";
const NUMBER: &str = "0 or a positive number";
const PART: &str = "0 to 1";

fn wrong(metric: &str, value: impl fmt::Display, allowed: &'static str) -> ReportError {
    let short = |text: String| text.chars().take(60).collect();
    let (metric, value) = (short(metric.to_owned()), short(value.to_string()));
    ReportError::Metric { metric, value, allowed }
}

impl LoadReport {
    /// A report of this part of the processor in use, and these requests per second.
    #[must_use]
    pub fn new(cpu_utilization: f64, rps: f64) -> Self {
        Self { cpu_utilization, rps_fractional: rps, ..Self::default() }
    }

    /// Sets the utilisation as the application counts it; it is used before that of the processor.
    #[must_use]
    pub const fn with_application_utilization(mut self, utilization: f64) -> Self {
        self.application_utilization = utilization;
        self
    }

    /// Sets the errors per second.
    #[must_use]
    pub const fn with_eps(mut self, eps: f64) -> Self {
        self.eps = eps;
        self
    }

    /// Reads the value of the header [`HEADER`](super::HEADER): `TEXT name=value, …`, or with the feature
    /// `http` `JSON {…}`. Metrics that are not known are passed over.
    ///
    /// # Errors
    ///
    /// [`ReportError`] says what is wrong; a report with one wrong metric is not taken at all.
    pub fn read(value: &str) -> Result<Self, ReportError> {
        if value.len() > MAX_BYTES {
            return Err(ReportError::TooLarge);
        }
        let value = value.trim();
        let report = if let Some(text) = value.strip_prefix("TEXT ") {
            Self::read_text(text)?
        } else if let Some(json) = value.strip_prefix("JSON ") {
            Self::read_json(json)?
        } else {
            return Err(ReportError::Format);
        };
        report.check()?;
        Ok(report)
    }

    fn read_text(text: &str) -> Result<Self, ReportError> {
        let mut report = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (name, value) =
                entry.split_once(['=', ':']).ok_or_else(|| wrong(entry, "alone", "NAME=VALUE"))?;
            let (name, value) = (name.trim(), value.trim());
            let number = value.parse().map_err(|_| wrong(name, value, NUMBER))?;
            if !seen.insert(name) {
                return Err(wrong(name, "there twice", ONCE));
            }
            report.take(name, number)?;
        }
        Ok(report)
    }

    #[cfg(feature = "http")]
    fn read_json(json: &str) -> Result<Self, ReportError> {
        serde_json::from_str(json).map_err(|error| ReportError::Json { why: error.to_string() })
    }

    #[cfg(not(feature = "http"))]
    fn read_json(_: &str) -> Result<Self, ReportError> {
        Err(ReportError::Format)
    }

    fn take(&mut self, name: &str, value: f64) -> Result<(), ReportError> {
        let metric = match name {
            "cpu_utilization" => &mut self.cpu_utilization,
            "mem_utilization" => &mut self.mem_utilization,
            "application_utilization" => &mut self.application_utilization,
            "rps_fractional" => &mut self.rps_fractional,
            "eps" => &mut self.eps,
            _ => {
                let (metrics, name) = match name.split_once('.') {
                    Some(("named_metrics", name)) => (&mut self.named_metrics, name),
                    Some(("utilization", name)) => (&mut self.utilization, name),
                    Some(("request_cost", name)) => (&mut self.request_cost, name),
                    Some(_) | None => return Ok(()),
                };
                if metrics.len() >= MAX_METRICS {
                    return Err(ReportError::TooLarge);
                }
                metrics.entry(name.to_owned()).or_default()
            }
        };
        *metric = value;
        Ok(())
    }

    /// Whether every number makes sense.
    fn check(&self) -> Result<(), ReportError> {
        for (name, value, most, allowed) in [
            ("cpu_utilization", self.cpu_utilization, f64::MAX, NUMBER),
            ("mem_utilization", self.mem_utilization, 1.0, PART),
            ("application_utilization", self.application_utilization, f64::MAX, NUMBER),
            ("rps_fractional", self.rps_fractional, f64::MAX, NUMBER),
            ("eps", self.eps, f64::MAX, NUMBER),
        ] {
            // What is not a number is in no range.
            if !(0.0..=most).contains(&value) {
                return Err(wrong(name, value, allowed));
            }
        }
        let all = [&self.named_metrics, &self.utilization, &self.request_cost];
        if all.iter().any(|metrics| metrics.len() > MAX_METRICS) {
            return Err(ReportError::TooLarge);
        }
        for (name, value) in &self.utilization {
            if !(0.0..=1.0).contains(value) {
                return Err(wrong(name, value, PART));
            }
        }
        for (name, value) in self.named_metrics.iter().chain(&self.request_cost) {
            if !value.is_finite() {
                return Err(wrong(name, value, "a number"));
            }
        }
        Ok(())
    }

    /// The part of the processor in use; may be above 1.
    #[must_use]
    pub const fn cpu_utilization(&self) -> f64 {
        self.cpu_utilization
    }

    /// The part of the memory in use, 0 to 1.
    #[must_use]
    pub const fn mem_utilization(&self) -> f64 {
        self.mem_utilization
    }

    /// The utilisation as the application counts it; may be above 1.
    #[must_use]
    pub const fn application_utilization(&self) -> f64 {
        self.application_utilization
    }

    /// Requests per second (`rps_fractional`).
    #[must_use]
    pub const fn rps(&self) -> f64 {
        self.rps_fractional
    }

    /// Errors per second.
    #[must_use]
    pub const fn eps(&self) -> f64 {
        self.eps
    }

    /// A metric of the application's own (`named_metrics.NAME`).
    #[must_use]
    pub fn named_metric(&self, name: &str) -> Option<f64> {
        self.named_metrics.get(name).copied()
    }

    /// The utilisation of some other resource, 0 to 1 (`utilization.NAME`).
    #[must_use]
    pub fn utilization_of(&self, resource: &str) -> Option<f64> {
        self.utilization.get(resource).copied()
    }

    /// What the request cost of something (`request_cost.NAME`).
    #[must_use]
    pub fn request_cost(&self, name: &str) -> Option<f64> {
        self.request_cost.get(name).copied()
    }

    /// What weights are made of: the application's utilisation, or else the processor's.
    pub(super) fn load(&self) -> f64 {
        if self.application_utilization > 0.0 {
            self.application_utilization
        } else {
            self.cpu_utilization
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let text = "TEXT cpu_utilization=0.3, mem_utilization=0.8,application_utilization=1.2,\
                    rps_fractional=10.0,eps=1,named_metrics.custom.a=124.5,utilization.disk=0.5,\
                    request_cost.rows=7,unknown=1";
        let text = LoadReport::read(text).expect("well formed");
        assert_eq!(text.named_metric("custom.a"), Some(124.5));
        assert_eq!((text.load(), text.rps(), text.eps()), (1.2, 10.0, 1.0));
        assert_eq!(
            (text.utilization_of("disk"), text.request_cost("rows")),
            (Some(0.5), Some(7.0))
        );
        #[cfg(feature = "http")]
        for json in [
            r#"JSON {"cpu_utilization":0.3,"mem_utilization":0.8,"application_utilization":1.2,
               "rps_fractional":10,"eps":1,"named_metrics":{"custom.a":124.5},
               "utilization":{"disk":0.5},"request_cost":{"rows":7},"unknown":[1]}"#,
            r#"JSON {"cpuUtilization":0.3,"memUtilization":0.8,"applicationUtilization":1.2,
               "rpsFractional":10,"eps":1,"namedMetrics":{"custom.a":124.5},
               "utilization":{"disk":0.5},"requestCost":{"rows":7}}"#,
        ] {
            assert_eq!(LoadReport::read(json).as_ref(), Ok(&text));
        }
    }

    #[test]
    fn one_wrong_metric_makes_a_wrong_report() {
        for (report, why) in [
            ("TEXT cpu_utilization=-0.1", "cpu_utilization is -0.1; it must be 0 or a positive"),
            ("TEXT cpu_utilization=NaN", "cpu_utilization is NaN"),
            ("TEXT eps=inf", "eps is inf"),
            ("TEXT mem_utilization=1.1", "mem_utilization is 1.1; it must be 0 to 1"),
            ("TEXT rps_fractional=many", "rps_fractional is many"),
            ("TEXT eps=1,eps=1", "eps is there twice"),
            ("TEXT named_metrics.a=NaN", "a is NaN; it must be a number"),
            ("TEXT eps", "eps is alone; it must be NAME=VALUE"),
            ("BIN AAAA", "begins with neither"),
            ("", "begins with neither"),
        ] {
            let error = LoadReport::read(report).expect_err(report).to_string();
            assert!(error.contains(why), "{error}");
        }
        #[cfg(feature = "http")]
        for json in ["JSON {", "JSON {\"eps\":\"x\"}", "JSON {\"eps\":-1}", "JSON [1e999]"] {
            assert!(LoadReport::read(json).is_err(), "{json}");
        }
        let many = (0..65).map(|n| format!("named_metrics.m{n}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(LoadReport::read(&format!("TEXT {many}")), Err(ReportError::TooLarge));
        let long = format!("TEXT eps={}", "1".repeat(9000));
        assert_eq!(LoadReport::read(&long), Err(ReportError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_text_is_a_report_in_range_or_an_error(text: String, json: String) {
            for value in [format!("TEXT {text}"), format!("JSON {json}"), text] {
                if let Ok(report) = LoadReport::read(&value) {
                    prop_assert!(report.cpu_utilization() >= 0.0 && report.rps().is_finite());
                }
            }
        }

        #[test]
        fn numbers_are_read_as_they_are(cpu in 0.0_f64..10.0, rps in 0.0_f64..1e9) {
            let report = LoadReport::read(&format!("TEXT cpu_utilization={cpu},rps_fractional={rps}"));
            prop_assert_eq!(report, Ok(LoadReport::new(cpu, rps)));
        }
    }
}
