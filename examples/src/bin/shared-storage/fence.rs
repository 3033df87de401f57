//! The fence agent of the show: asks the lab's power switch, as the program `fence_lab` does.
//!
//! The nodes find it as a program named `fence_lab`, which is a link to this one.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ha_lab::switch::ask;

pub(crate) const NAME: &str = "fence_lab";
const METADATA: &str = include_str!("../fence_lab/metadata.xml");
/// How long the switch may take; the node gives up earlier.
const LIMIT: Duration = Duration::from_secs(50);
const MAX_INPUT: u64 = 64 * 1024;

/// Whether this program was called by the name of the agent.
pub(crate) fn is_asked_for() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == NAME))
}

/// Does what stdin asks for.
pub(crate) fn act() -> ExitCode {
    match act_on(io::stdin().take(MAX_INPUT)) {
        Ok(status) => status,
        Err(why) => {
            eprintln!("{NAME}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn act_on(mut input: impl Read) -> io::Result<ExitCode> {
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let get = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value).unwrap_or_default()
    };
    let action = get("action");
    let line = match action {
        "metadata" => {
            io::stdout().write_all(METADATA.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        "monitor" | "list" => "list".to_owned(),
        _ => format!("{action} {}", get("port")),
    };
    let answer = ask(Path::new(get("socket")), &line, LIMIT)?;
    match answer.as_str() {
        // The agents' way to say so.
        "ok off" if action == "status" => Ok(ExitCode::from(2)),
        answer if answer.starts_with("ok") => Ok(ExitCode::SUCCESS),
        answer => Err(io::Error::other(format!("the switch answered: {answer}"))),
    }
}
