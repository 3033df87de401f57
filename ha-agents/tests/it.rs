//! The tests of ha-agents that go through its public face, with real processes.
#![expect(clippy::expect_used, reason = "helpers of tests, too, may end a test")]

#[path = "it/fence.rs"]
mod fence;
#[path = "it/native.rs"]
mod native;
#[path = "it/outcome.rs"]
mod outcome;

use std::path::Path;
use std::time::Duration;

use ha_agents::OpContext;
use ha_core::driver::pause;
use ha_core::id::OpId;

fn context() -> OpContext {
    OpContext::new("r1".parse().expect("a name"), OpId::FIRST)
}

/// Runs a future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// Waits until `file` has a whole line, and returns what is in it; a test that hangs has failed.
async fn line_in(file: &Path) -> String {
    loop {
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => pause(Duration::from_millis(2)).await.expect("a timer"),
        }
    }
}

/// Whether a process of this id runs: neither gone nor a zombie.
fn runs(id: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else {
        return false;
    };
    !matches!(stat.rsplit(") ").next().and_then(|rest| rest.chars().next()), Some('Z' | 'X'))
}
