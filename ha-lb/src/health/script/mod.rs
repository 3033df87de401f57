//! A check that is a dialogue: send this, expect that.

mod parse;
mod pattern;

use std::fmt;

use async_trait::async_trait;
use ha_core::config::{ConfigError, Problems};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use self::pattern::Pattern;

use super::{Failed, HealthCheck, Passed, Target};

/// The most that is kept of what an endpoint says while a pattern is looked for, in bytes.
const MAX_BUFFER: usize = 16 * 1024;
/// The most steps, and the most bytes of one.
const MAX_STEPS: usize = 100;
const MAX_BYTES: usize = 8 * 1024;

/// What is done in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    /// To the endpoint's port, or another one.
    Connect(Option<u16>),
    /// What must come, or must not.
    Expect {
        pattern: Pattern,
        wanted: bool,
    },
    Send(Vec<u8>),
}

/// A step, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    action: Action,
    comment: String,
}

/// Passes if a dialogue over TCP goes as written (HAProxy's `option tcp-check`).
///
/// It connects to the endpoint's port first, unless the script begins with a connect of its own. An
/// expected pattern is waited for, up to 16 KiB and as long as the check may take; the next step
/// looks at what comes after it. The connection is closed at the end.
///
/// As text, it is HAProxy's lines, without regular expressions; in their place `wild` has `*` for
/// anything:
///
/// ```
/// use ha_lb::health::script::Script;
///
/// let redis: Script = r"
///     comment is it there
///     send PING\r\n
///     expect string +PONG
///     comment is it the master
///     send info\ replication\r\n
///     expect wild role:master*\r\n
///     expect ! string loading
/// ".parse()?;
/// let same = Script::new()
///     .send("PING\r\n").comment("is it there")
///     .expect("+PONG").comment("is it there");
/// # let _ = (redis, same.build()?);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    steps: Vec<Step>,
}

/// Makes a [`Script`], step by step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct ScriptBuilder {
    steps: Vec<Step>,
}

impl ScriptBuilder {
    fn step(mut self, action: Action) -> Self {
        self.steps.push(Step { action, comment: String::new() });
        self
    }

    /// Connects to the endpoint's port, anew if it was connected before (`tcp-check connect`).
    pub fn connect(self) -> Self {
        self.step(Action::Connect(None))
    }

    /// Connects to another port of the endpoint (`tcp-check connect port`).
    pub fn connect_to(self, port: u16) -> Self {
        self.step(Action::Connect(Some(port)))
    }

    /// Sends text or bytes, up to 8 KiB (`tcp-check send` and `send-binary`).
    pub fn send(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Action::Send(bytes.into()))
    }

    /// Waits for text or bytes (`tcp-check expect string` and `binary`).
    pub fn expect(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.expect_pattern(Pattern::exact(bytes))
    }

    /// Waits for a pattern.
    pub fn expect_pattern(self, pattern: Pattern) -> Self {
        self.step(Action::Expect { pattern, wanted: true })
    }

    /// Fails if the pattern is in what comes next (`tcp-check expect !`). It waits for the first bytes,
    /// or the end of the connection, and judges by what is there then.
    pub fn expect_not(self, pattern: Pattern) -> Self {
        self.step(Action::Expect { pattern, wanted: false })
    }

    /// Says what the last step is for; a failure tells it (`tcp-check comment`).
    pub fn comment(mut self, text: impl Into<String>) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.comment = text.into();
        }
        self
    }

    /// Checks the steps.
    ///
    /// # Errors
    ///
    /// Every step that is empty or too large, and more than 100 of them.
    pub fn build(self) -> Result<Script, ConfigError> {
        let mut problems = Problems::new();
        if self.steps.len() > MAX_STEPS {
            problems.add("script", format!("{} steps", self.steps.len()), "at most 100 steps");
        }
        for (number, step) in (1..).zip(&self.steps) {
            let len = match &step.action {
                Action::Connect(Some(0)) => {
                    problems.add(format!("script.step[{number}].port"), 0, "1 to 65535");
                    continue;
                }
                Action::Connect(_) => continue,
                Action::Expect { pattern, .. } => pattern.len(),
                Action::Send(bytes) => bytes.len(),
            };
            if !(1..=MAX_BYTES).contains(&len) {
                let path = format!("script.step[{number}]");
                problems.add(path, format!("{len} bytes"), "1 to 8192 bytes");
            }
        }
        let begins_elsewhere =
            matches!(self.steps.first(), Some(Step { action: Action::Connect(_), .. }));
        let first = Step { action: Action::Connect(None), comment: String::new() };
        let first = (!begins_elsewhere).then_some(first);
        problems.into_result(Script { steps: first.into_iter().chain(self.steps).collect() })
    }
}

impl Script {
    /// Starts with no step.
    #[expect(clippy::new_ret_no_self, reason = "a script is made step by step")]
    pub const fn new() -> ScriptBuilder {
        ScriptBuilder { steps: Vec::new() }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(None) => f.write_str("connect"),
            Self::Connect(Some(port)) => write!(f, "connect to port {port}"),
            Self::Expect { pattern, wanted: true } => write!(f, "expect {pattern}"),
            Self::Expect { pattern, wanted: false } => write!(f, "expect not {pattern}"),
            Self::Send(bytes) => write!(f, "send \"{}\"", excerpt(bytes)),
        }
    }
}

/// The beginning of bytes, for people.
fn excerpt(bytes: &[u8]) -> impl fmt::Display {
    let (start, more) = match bytes.get(..60) {
        Some(start) => (start, "…"),
        None => (bytes, ""),
    };
    format!("{}{more}", start.escape_ascii())
}

/// A dialogue under way.
struct Dialogue<'a> {
    target: &'a Target,
    stream: Option<TcpStream>,
    /// What was said and not looked at yet.
    heard: Vec<u8>,
}

impl Dialogue<'_> {
    async fn act(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Connect(port) => {
                let port = port.unwrap_or(self.target.address().port());
                let target = self.target.clone().with_port(port);
                let stream = TcpStream::connect(target.address()).await;
                self.stream = Some(stream.map_err(|error| format!("cannot connect: {error}"))?);
                self.heard.clear();
                Ok(())
            }
            Action::Send(bytes) => {
                let stream = self.stream.as_mut().ok_or("not connected")?;
                stream.write_all(bytes).await.map_err(|error| format!("cannot send: {error}"))
            }
            Action::Expect { pattern, wanted: true } => loop {
                if let Some(end) = pattern.find(&self.heard) {
                    self.heard.drain(..end);
                    return Ok(());
                }
                if self.heard.len() >= MAX_BUFFER {
                    let heard = excerpt(&self.heard);
                    return Err(format!("not in the first 16 KiB: \"{heard}\""));
                }
                if !self.listen().await? {
                    let heard = excerpt(&self.heard);
                    return Err(format!("the connection ended after \"{heard}\""));
                }
            },
            Action::Expect { pattern, wanted: false } => {
                if self.heard.is_empty() {
                    self.listen().await?;
                }
                match pattern.find(&self.heard) {
                    Some(_) => Err(format!("it is in \"{}\"", excerpt(&self.heard))),
                    None => Ok(()),
                }
            }
        }
    }

    /// Waits for more; false at the end of the connection.
    async fn listen(&mut self) -> Result<bool, String> {
        let stream = self.stream.as_mut().ok_or("not connected")?;
        let room = MAX_BUFFER.saturating_sub(self.heard.len());
        let mut limited = stream.take(u64::try_from(room).unwrap_or_default());
        let read = limited.read_buf(&mut self.heard).await;
        match read {
            Ok(len) => Ok(len > 0),
            Err(error) => {
                let heard = excerpt(&self.heard);
                Err(format!("the connection broke after \"{heard}\": {error}"))
            }
        }
    }
}

#[async_trait]
impl HealthCheck for Script {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let mut dialogue = Dialogue { target, stream: None, heard: Vec::new() };
        for (number, Step { action, comment }) in (1..).zip(&self.steps) {
            let acted = dialogue.act(action).await;
            acted.map_err(|why| {
                let comment = if comment.is_empty() { "" } else { &format!(" ({comment})") };
                Failed::because(format_args!("step {number}{comment}, {action}: {why}"))
            })?;
        }
        Ok(Passed::because(format_args!("all {} steps", self.steps.len())))
    }
}
