//! Who kills a process group when we are killed ourselves.

use std::io;
use std::process::Stdio;

use rustix::process::Pid;
use tokio::process::{Child, Command};

/// Waits for the end of its standard input, which is our end, and kills the group then.
const SCRIPT: &str = r#"read -r _; kill -s KILL -- "-$1""#;

/// A small process that outlives this one for a moment: when this one has died without stopping
/// the group, it kills it.
///
/// `PR_SET_PDEATHSIG` would not do: it is about the *thread* that started the child, of which a
/// runtime has many that come and go, and it reaches the leader only. A pipe is closed by the
/// kernel with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Warden {
    /// Its input is never written to. Dropping it kills the warden before the input is closed, so
    /// a dismissed one can never signal a number that has gone to a stranger.
    child: Child,
}

impl Warden {
    /// Sets one on the group.
    pub(crate) fn watch(group: Pid) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "ha-warden", &group.as_raw_nonzero().to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to our own group, such as Ctrl-C, is none to it.
            .process_group(0)
            .kill_on_drop(true);
        Ok(Self { child: command.spawn()? })
    }

    /// Sends it away and reaps it. Call it before the leader of the group is reaped.
    ///
    /// Cancel safe: the drop sends it away, too.
    pub(crate) async fn dismiss(&mut self) {
        // An error means that it has ended already.
        drop(self.child.start_kill());
        drop(self.child.wait().await);
    }
}
