//! Tests that need a privilege or a program: how they get it, or say by name why they are skipped.

use std::env;
use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ha_core::sys::namespace::start_in_user_namespace;

use crate::enter::{is_privileged, refused};

/// Set in a test that was started again inside a user namespace.
const INSIDE: &str = "HA_LAB_INSIDE";

/// Runs the body of a test where it can build a [`Lab`](crate::Lab).
///
/// As root the body runs at once. Otherwise the test binary is started again for this one test,
/// inside a user namespace, because libtest has threads and the kernel does not let a process
/// with threads in; what is said to [`skip`] there is passed on.
///
/// Call it from the test's own thread, as the first thing: that thread's name is the test's.
///
/// ```no_run
/// #[test]
/// fn two_hosts_see_each_other() {
///     ha_lab::run_test(|| {
///         let lab = ha_lab::Lab::new().expect("a lab");
///         // …
///     });
/// }
/// ```
///
/// # Panics
///
/// When the body panics, here or inside, and when it must be skipped under `HA_REQUIRE_ALL=1`.
pub fn run_test(body: impl FnOnce()) {
    if is_privileged() {
        return body();
    }
    if env::var_os(INSIDE).is_some() {
        return skip("the user namespace gives no capabilities: a security module withholds them");
    }
    let Some(name) = test_name() else {
        return skip(
            "the test's name is not known: call `ha_lab::run_test` from the test's thread",
        );
    };
    let Ok(program) = env::current_exe() else {
        return skip("the path of the test binary is not known: is /proc mounted?");
    };
    let mut command = Command::new(program);
    command.args([&name, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"]);
    command.env(INSIDE, "1").stdin(Stdio::null());
    start_in_user_namespace(&mut command);
    match command.output() {
        Ok(output) => report(&name, &output),
        Err(error) => skip(refused("enter a user namespace", error)),
    }
}

fn report(name: &str, output: &std::process::Output) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    for line in text.iter().flat_map(|text| text.lines()) {
        if line.starts_with("skipped ") {
            say(line);
        }
    }
    let [stdout, stderr] = text;
    let status = output.status;
    assert!(status.success(), "{name} failed in a user namespace ({status}):\n{stdout}\n{stderr}");
}

/// The name of the test that runs, which libtest gives to its thread.
fn test_name() -> Option<String> {
    let thread = std::thread::current();
    if let Some(name) = thread.name().filter(|&name| name != "main") {
        return Some(name.to_owned());
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    arguments.into_iter().find(|argument| exact && !argument.starts_with('-'))
}

/// Says by name that the running test is skipped, and why. Return from the test after it.
///
/// The line `skipped NAME: REASON` goes to standard error past libtest's capturing, so that it is
/// always seen.
///
/// # Panics
///
/// When the environment has `HA_REQUIRE_ALL=1`, under which a skip is a failure.
pub fn skip(reason: impl Display) {
    let name = test_name().unwrap_or_else(|| "a test".to_owned());
    let line = format!("skipped {name}: {reason}");
    let all = env::var_os("HA_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!all, "{line}; HA_REQUIRE_ALL=1 makes that a failure");
    say(&line);
}

fn say(line: &str) {
    // Nothing can be done about a standard error that is closed.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// The path of a program, or else the running test is [skipped](skip): `let Some(path) = … else
/// { return };`.
///
/// # Panics
///
/// As [`skip`].
#[must_use]
pub fn require_program(name: &str) -> Option<PathBuf> {
    let found = find_program(name);
    if found.is_none() {
        skip(format_args!(
            "the program {name} is not here; install it (Debian: apt-get install {name})"
        ));
    }
    found
}

/// The path of a program: on `PATH`, and in `/usr/sbin` and `/sbin`, which an ordinary user's
/// `PATH` lacks.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|file| {
        rustix::fs::access(file.as_path(), rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_or_not() {
        assert!(find_program("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find_program("no-such-program-anywhere"), None);
    }

    #[test]
    fn the_name_of_the_test_is_known() {
        assert_eq!(test_name().as_deref(), Some("skip::tests::the_name_of_the_test_is_known"));
    }
}
