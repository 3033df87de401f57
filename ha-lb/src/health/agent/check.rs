//! Asking an agent.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::AgentReport;
use crate::health::schedule::Pace;
use crate::health::{Failed, Target};

/// The most that is read of an answer, in bytes.
const MAX_ANSWER: u64 = 4096;

/// How agents are asked: at a port of the endpoint's address (HAProxy's `agent-check`).
///
/// An agent that does not answer changes nothing, as in HAProxy: whether the endpoint works is what
/// health checks find out.
///
/// ```
/// use std::time::Duration;
/// use ha_lb::health::agent::AgentCheck;
///
/// let agent = AgentCheck::builder(9777).send("web\n").interval(Duration::from_secs(5)).build()?;
/// assert_eq!(agent.port(), 9777);
/// assert!(AgentCheck::builder(0).build().is_err());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentCheck {
    port: u16,
    port_tag: Option<String>,
    send: String,
    pace: Pace,
}

/// Makes an [`AgentCheck`]; see there.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct AgentCheckBuilder {
    port: u16,
    port_tag: Option<String>,
    send: String,
    interval: Duration,
    timeout: Option<Duration>,
}

impl AgentCheckBuilder {
    /// Sets the tag of an endpoint that has its agent's port, where it differs. Default: none.
    pub fn port_tag(mut self, tag: impl Into<String>) -> Self {
        self.port_tag = Some(tag.into());
        self
    }

    /// Sets what is sent to the agent, up to 1024 bytes; write the end of the line too. Default: nothing
    /// (HAProxy's `agent-send`).
    pub fn send(mut self, text: impl Into<String>) -> Self {
        self.send = text.into();
        self
    }

    /// Sets how often an agent is asked; 1 ms to 24 h, default 2 s (HAProxy's `agent-inter`).
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how long its answer may take; 1 ms to 24 h, default: the interval.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Every setting that is out of range.
    pub fn build(self) -> Result<AgentCheck, ConfigError> {
        let mut problems = Problems::new();
        if self.port == 0 {
            problems.add("agent.port", self.port, "1 to 65535");
        }
        if self.send.len() > 1024 {
            problems.add("agent.send", &self.send, "at most 1024 bytes");
        }
        let mut pace = Pace::builder().interval(self.interval);
        if let Some(timeout) = self.timeout {
            pace = pace.timeout(timeout);
        }
        let pace = pace.build().unwrap_or_else(|error| {
            problems.absorb(error.below("agent"));
            Pace::default()
        });
        let Self { port, port_tag, send, .. } = self;
        problems.into_result(AgentCheck { port, port_tag, send, pace })
    }
}

impl AgentCheck {
    /// Starts with the port that agents listen on.
    pub const fn builder(port: u16) -> AgentCheckBuilder {
        AgentCheckBuilder {
            port,
            port_tag: None,
            send: String::new(),
            interval: Duration::from_secs(2),
            timeout: None,
        }
    }

    /// The port that agents listen on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// When agents are asked.
    pub(crate) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Asks an endpoint's agent once.
    ///
    /// # Errors
    ///
    /// [`Failed`] says what was seen instead of a line.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the connection is closed.
    pub async fn ask(&self, target: &Target) -> Result<AgentReport, Failed> {
        let tag = self.port_tag.as_deref();
        let tag = tag.and_then(|tag| target.endpoint()?.tag(tag));
        let port = match tag {
            None => self.port,
            Some(text) => text.parse().map_err(|_| {
                Failed::because(format_args!("the agent's port is {text}, not 1 to 65535"))
            })?,
        };
        let target = target.clone().with_port(port);
        let connecting = TcpStream::connect(target.address()).await;
        let mut stream = connecting.map_err(|error| {
            Failed::because(format_args!("cannot connect to the agent: {error}"))
        })?;
        let mut answer = Vec::new();
        let exchanging = async {
            stream.write_all(self.send.as_bytes()).await?;
            let mut limited = stream.take(MAX_ANSWER);
            while !answer.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
                if limited.read_buf(&mut answer).await? == 0 {
                    break;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        let exchanged = exchanging.await;
        match AgentReport::read(&answer) {
            Ok(report) => Ok(report),
            Err(unread) => Err(match exchanged {
                Ok(()) => Failed::because(unread),
                Err(error) => Failed::because(format_args!("no answer from the agent: {error}")),
            }),
        }
    }
}
