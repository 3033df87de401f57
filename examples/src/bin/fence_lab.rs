//! A fence agent for the laboratory: asks its power switch, in the words of the fence agent API.
//!
//! ```text
//! printf 'action=off\nplug=n1\nsocket=/run/lab/switch\n' | fence_lab
//! fence_lab -o metadata
//! ```
//!
//! A cluster in the laboratory fences with it as one on machines does with `fence_ipmilan`:
//! parameters come on stdin, one `name=value` a line, and the answer is the exit status: 0 done
//! (to `status`: on), 2 to `status`: off, 1 anything else, with the reason on stderr.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ha_lab::switch::ask;

const METADATA: &str = include_str!("fence_lab/metadata.xml");
/// The most that is read from stdin, in bytes.
const MAX_INPUT: u64 = 64 * 1024;
/// The answer to `status` of a node without power; nothing else may end so.
const OFF: u8 = 2;
/// What an action may take if `timeout` is not given: less than the caller's usual 60 s.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(50);

fn main() -> ExitCode {
    let done = parameters().and_then(|parameters| act(&parameters));
    done.unwrap_or_else(|why| {
        eprintln!("fence_lab: {why}");
        ExitCode::FAILURE
    })
}

/// The parameters: of the command line, or else of stdin.
fn parameters() -> Result<BTreeMap<String, String>, String> {
    let mut parameters = BTreeMap::new();
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let name = match flag.as_str() {
            "-o" | "--action" => "action",
            "-n" | "--plug" => "plug",
            "--socket" => "socket",
            "--timeout" => "timeout",
            _ => {
                return Err(format!(
                    "cannot understand {flag:?}: it is no flag of this agent; use --action, \
                     --plug, --socket or --timeout, each with a value after it"
                ));
            }
        };
        let value = args.next().ok_or_else(|| {
            format!("cannot understand {flag}: its value is missing; write it after it")
        })?;
        parameters.insert(name.to_owned(), value);
    }
    if parameters.is_empty() {
        let mut text = String::new();
        let read = io::stdin().take(MAX_INPUT).read_to_string(&mut text);
        read.map_err(|error| {
            format!("cannot read the parameters: {error}; write name=value lines to stdin")
        })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        // Names that it does not know are passed over, as the API asks.
        parameters.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    Ok(parameters)
}

fn act(parameters: &BTreeMap<String, String>) -> Result<ExitCode, String> {
    let get = |name: &str| parameters.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let needed = |name: &str, action: &str| {
        get(name).ok_or_else(|| format!("cannot {action}: `{name}` is missing; give it"))
    };
    let action = get("action").unwrap_or("reboot");
    if action == "metadata" {
        say(METADATA);
        return Ok(ExitCode::SUCCESS);
    }
    let socket = Path::new(needed("socket", action)?);
    let timeout = match get("timeout") {
        Some(text) => {
            text.parse().ok().filter(|&n| n > 0).map(Duration::from_secs).ok_or_else(|| {
                format!("cannot {action}: timeout={text} is no time; give seconds, 1 or more")
            })?
        }
        None => DEFAULT_TIMEOUT,
    };
    let line = match action {
        "off" | "on" | "reboot" | "status" => {
            let plug = get("plug").or_else(|| get("port"));
            format!("{action} {}", plug.map_or_else(|| needed("plug", action), Ok)?)
        }
        "list" | "monitor" => "list".to_owned(),
        _ => {
            return Err(format!(
                "cannot {action}: it is no action of this agent; ask for off, on, reboot, status, \
                 list, monitor or metadata"
            ));
        }
    };
    let answer = ask(socket, &line, timeout).map_err(|error| {
        format!(
            "cannot tell whether {line} was done: the switch at {} did not answer ({error}); look \
             whether the laboratory runs, or raise `timeout`",
            socket.display()
        )
    })?;
    let Some(words) = answer.strip_prefix("ok") else {
        return Err(format!("the switch answered: {answer}"));
    };
    match action {
        "status" if words.trim() == "off" => return Ok(ExitCode::from(OFF)),
        "list" => words.split_whitespace().for_each(|plug| say(&format!("{plug},\n"))),
        _ => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) {
    // An error means that nobody reads it any more.
    drop(io::stdout().write_all(text.as_bytes()));
}
