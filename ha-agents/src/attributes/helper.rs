//! The program behind the names that agents call.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use ha_core::control::{Client, ControlError};

use super::command::{Call, DISCONNECTED, PROGRAMS, Reply, TIMEOUT};

/// The variable that names the socket.
pub(super) const SOCKET: &str = "HA_ATTRIBUTES";

/// How long the answer may take: agents have some ten seconds for all that they do.
const LIMIT: Duration = Duration::from_secs(5);

/// The most that an agent may say, in bytes; more than any attribute needs.
const MAX_ARGUMENTS: usize = 256 * 1024;

/// Acts as `attrd_updater`, `crm_attribute`, `crm_master`, `crm_mon`, `crm_node`, `crm_resource`
/// or `pacemakerd` if this process was called by one of these names, and returns the exit code;
/// `None`: it was called by another name, and nothing was done.
///
/// Call it first in `main`, before a runtime is there, and end with the code:
///
/// ```
/// if let Some(code) = ha_agents::attributes::act_as_helper() {
///     std::process::exit(code.into());
/// }
/// // …what the program does under its own name…
/// ```
#[must_use = "end with this code"]
pub fn act_as_helper() -> Option<u8> {
    let mut words = env::args_os();
    let name = words.next()?;
    let name = Path::new(&name).file_name()?.to_str()?;
    let program = PROGRAMS.into_iter().find(|program| *program == name)?;
    let reply = ask(program, words);
    // The reader may be gone, as in `attrd_updater -Q | head -c 0`.
    io::stdout().write_all(reply.output.as_bytes()).unwrap_or_default();
    io::stderr().write_all(reply.errors.as_bytes()).unwrap_or_default();
    Some(reply.code)
}

fn ask(program: &str, words: impl Iterator<Item = OsString>) -> Reply {
    let arguments: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let failed = |code, why: String| Reply {
        code,
        output: String::new(),
        errors: format!("{program}: {why}\n"),
    };
    if arguments.iter().map(String::len).sum::<usize>() > MAX_ARGUMENTS {
        let why = format!("cannot say so much: at most {MAX_ARGUMENTS} bytes are taken; say less");
        return failed(1, why);
    }
    let Some(socket) = env::var_os(SOCKET) else {
        let why = format!(
            "cannot reach the cluster: {SOCKET} does not name its socket; was this \
             called outside of an agent?"
        );
        return failed(DISCONNECTED, why);
    };
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let call = Call {
        program: program.to_owned(),
        arguments,
        resource: variable("OCF_RESOURCE_INSTANCE"),
        node: variable("OCF_RESKEY_CRM_meta_on_node"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(1, format!("cannot begin: {error}; try again")),
    };
    let talk = async { Client::connect(Path::new(&socket)).await?.ask(&call, LIMIT).await };
    match runtime.block_on(talk) {
        Ok(reply) => reply,
        Err(error @ ControlError::NoAnswer { .. }) => failed(TIMEOUT, error.to_string()),
        Err(error) => failed(DISCONNECTED, error.to_string()),
    }
}
