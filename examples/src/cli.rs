//! Flags, signals and exit statuses, the same in every program.

use std::error::Error;
use std::fmt::Write;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// Exit status of a program that was used wrongly: bad flags or a bad configuration.
pub const USAGE: u8 = 2;
/// Exit status of a program that could not do its job.
pub const FAILURE: u8 = 1;

/// Reads the flags, or tells in one line what is wrong with them.
///
/// # Errors
///
/// The exit status to end with: 0 after `--help` and `--version`, else [`USAGE`].
pub fn parse<P: Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        if !error.use_stderr() {
            // Printing the help fails only when nobody reads it.
            return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) };
        }
        fail(USAGE, &one_line(&error.to_string()))
    })
}

/// Tells why the program ends, in one line on stderr.
#[must_use]
pub fn fail(status: u8, why: &str) -> ExitCode {
    eprintln!("{}: {}", program(), one_line(why));
    ExitCode::from(status)
}

/// Writes an answer on stdout, without control characters; returns the exit status.
#[must_use]
pub fn show(text: &str) -> ExitCode {
    let shown: String = text.chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    match io::stdout().write_all(shown.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &error.to_string()),
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        write!(text, ": {error}").unwrap_or_default();
        cause = error.source();
    }
    text
}

/// Logs to stderr what `RUST_LOG` says, else `default`, such as `warn`.
pub fn log(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter).init();
}

/// Runs a program's work on one thread; its error is told in one line.
pub fn run(work: impl Future<Output = Result<(), Box<dyn Error>>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => return fail(FAILURE, &error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(FAILURE, &chain(&*error)),
    }
}

/// Asks the kernel to prefer this process: `nice` from -20 (most) to 19; 0 changes nothing.
///
/// A router that stands still while the machine is busy is taken for dead. Not being allowed to
/// (`CAP_SYS_NICE`) is no reason not to serve: it is only logged.
pub fn prefer(nice: i32) {
    if nice != 0
        && let Err(error) = rustix::process::setpriority_process(None, nice)
    {
        tracing::info!(nice, %error, "priority not changed");
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
///
/// When the signals cannot be watched.
pub async fn asked_to_stop() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

fn program() -> String {
    let path = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = path.as_deref().and_then(|path| path.file_name());
    name.map_or_else(|| "ha".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// clap's errors have a first word and advice in lines of their own.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| {
        !line.is_empty() && !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let line = lines.collect::<Vec<_>>().join(" ");
    // Whatever the text quotes, the terminal shows it and does not obey it.
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.strip_prefix("error: ").map_or(line.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_become_one() {
        let text = "error: invalid value '0' for '--vrid <N>': 0 is not in 1..=255\n\n\
                    For more information, try '--help'.\n";
        assert_eq!(one_line(text), "invalid value '0' for '--vrid <N>': 0 is not in 1..=255");
    }

    #[test]
    fn causes_are_told_in_order() {
        let inner = io::Error::other("the disk is on fire");
        assert_eq!(chain(&io::Error::other(inner)), "the disk is on fire");
    }
}
