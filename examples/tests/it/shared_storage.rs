//! The show of a shared disk, its first events: it must end well, and must leave nothing behind.

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use ha_core::time::{BootClock, Clock};

/// Far longer than it takes on a machine that does much else.
const LIMIT: Duration = Duration::from_mins(3);

#[test]
fn shared_storage_ends_well_and_nobody_wrote_beside_another() {
    ha_lab::run_test(|| {
        if let Err(error) = ha_lab::Lab::new() {
            return ha_lab::skip(error);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("output");
        let status = run(folder.path(), &output);
        let text = std::fs::read_to_string(&output).expect("what it said");
        assert!(status.success(), "{status}:\n{text}");
        assert!(text.contains("at-most-one violations = 0"), "{text}");
        for event in ["cold start", "active node loses power", "it returns"] {
            let row = text.lines().find(|line| line.starts_with(event));
            assert!(row.is_some_and(|row| row.ends_with("ok")), "{event}:\n{text}");
        }
        let picture = std::fs::read_to_string(folder.path().join("shared-storage.svg"));
        assert!(picture.expect("a picture").ends_with("</svg>\n"));
    });
}

fn run(folder: &Path, output: &Path) -> ExitStatus {
    let file = || File::options().create(true).append(true).open(output).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_shared-storage"));
    // Times are not what is tested here.
    command.args(["--short", "--details", "--slack=10"]).current_dir(folder);
    let mut show = command.stdout(file()).stderr(file()).spawn().expect("it runs");
    let clock = BootClock::new();
    let end = clock.now() + LIMIT;
    loop {
        if let Some(status) = show.try_wait().expect("it is ours") {
            return status;
        }
        if clock.now() > end {
            show.kill().expect("it runs");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
