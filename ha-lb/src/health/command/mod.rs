//! A check that is a command.

mod group;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use async_trait::async_trait;
use ha_core::config::ConfigError;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Command;

use self::group::Group;
use super::{Failed, HealthCheck, Passed, Target};

/// The most that is kept of what a command writes, in bytes.
const MAX_OUTPUT: usize = 4096;

/// Where commands are looked for by commands.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Passes if a command ends with code 0 (HAProxy's `external-check`); scripts made for that run as
/// they are.
///
/// It gets HAProxy's four arguments, `NOT_USED NOT_USED ADDRESS PORT`, unless others are set, and an
/// environment of its own: `PATH`, `HAPROXY_SERVER_ADDR`, `HAPROXY_SERVER_PORT`, and of an endpoint
/// of a pool `HAPROXY_SERVER_NAME` and `HAPROXY_SERVER_MAXCONN`. What it writes, up to 4 KiB of it, is
/// the reason. When the check is given up, the command is killed with its process group, and so are
/// processes that it leaves behind.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_lb::health::command::CommandCheck;
/// use ha_lb::health::{HealthCheck, Target};
///
/// let check = CommandCheck::new("/bin/sh")?
///     .with_arguments(["-c", "echo $HAPROXY_SERVER_PORT; test $HAPROXY_SERVER_PORT = 80"]);
/// let target: Target = "192.0.2.1:80".parse::<std::net::SocketAddr>()?.into();
/// assert_eq!(check.check(&target).await.unwrap().reason(), "exit code 0: 80");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct CommandCheck {
    program: PathBuf,
    arguments: Option<Vec<OsString>>,
    environment: Vec<(OsString, OsString)>,
}

impl CommandCheck {
    /// Runs the program at this path.
    ///
    /// # Errors
    ///
    /// When the path is not absolute: which program runs must not depend on a directory.
    pub fn new(program: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let program = program.as_ref();
        if !program.is_absolute() {
            let allowed = "the absolute path of a program, such as /usr/local/bin/check-web";
            return Err(ConfigError::new("check.command", program.display(), allowed));
        }
        let environment = vec![("PATH".into(), PATH.into())];
        Ok(Self { program: program.to_owned(), arguments: None, environment })
    }

    /// Sets its arguments. Default: HAProxy's.
    #[must_use]
    pub fn with_arguments<A: Into<OsString>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.arguments = Some(arguments.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a variable to its environment, such as `HAPROXY_PROXY_NAME`, or another `PATH`.
    #[must_use]
    pub fn with_variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn command(&self, target: &Target) -> Command {
        let address: SocketAddr = target.address();
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let mut command = Command::new(&self.program);
        match &self.arguments {
            Some(arguments) => command.args(arguments),
            None => command.args(["NOT_USED", "NOT_USED", &ip, &port]),
        };
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("HAPROXY_SERVER_ADDR", ip).env("HAPROXY_SERVER_PORT", port);
        if let Some(endpoint) = target.endpoint() {
            command.env("HAPROXY_SERVER_NAME", endpoint.name().as_str());
            let limit = endpoint.max_connections().map_or(0, std::num::NonZeroU32::get);
            command.env("HAPROXY_SERVER_MAXCONN", limit.to_string());
        }
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs it to its end; what it wrote, and how it ended.
    async fn run(&self, target: &Target) -> io::Result<(Vec<u8>, ExitStatus)> {
        let (reader, writer) = io::pipe()?;
        let mut command = self.command(target);
        command.stdout(writer.try_clone()?).stderr(writer);
        let group = Group::spawn(&mut command)?;
        drop(command); // and with it our copies of the pipe's end
        let mut pipe = pipe::Receiver::from_owned_fd(reader.into())?;
        let mut output = Vec::new();
        tokio::select! { biased;
            // Until it ends by itself, whoever else has the pipe.
            ended = group.exited() => ended?,
            () = listen(&mut pipe, &mut output) => {}
        }
        let mut rest = [0; MAX_OUTPUT];
        while output.len() < MAX_OUTPUT
            && let Ok(len @ 1..) = pipe.try_read(&mut rest)
        {
            keep(&mut output, rest.get(..len).unwrap_or_default());
        }
        Ok((output, group.finish().await?))
    }
}

/// Reads all that comes, for ever, and keeps the beginning.
async fn listen(pipe: &mut pipe::Receiver, output: &mut Vec<u8>) {
    let mut part = [0; 1024];
    while let Ok(len @ 1..) = pipe.read(&mut part).await {
        keep(output, part.get(..len).unwrap_or_default());
    }
    std::future::pending::<()>().await;
}

fn keep(output: &mut Vec<u8>, part: &[u8]) {
    let room = MAX_OUTPUT.saturating_sub(output.len());
    output.extend(part.iter().take(room));
}

#[async_trait]
impl HealthCheck for CommandCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let program = self.program.display();
        let ran = self.run(target).await;
        let (output, status) =
            ran.map_err(|error| Failed::because(format_args!("cannot run {program}: {error}")))?;
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        };
        let output = String::from_utf8_lossy(&output);
        let reason = match output.trim() {
            "" => ended,
            text => format!("{ended}: {text}"),
        };
        if status.success() { Ok(Passed::because(reason)) } else { Err(Failed::because(reason)) }
    }
}
