//! What an earlier life has left, which here is this one: it is the mark that counts.

use std::io;
use std::time::Duration;

use ha_agents::leftovers::{self, NODE};
use ha_agents::native::Process;
use ha_agents::ocf::Ocf;
use ha_agents::{Check, OpContext, Outcome, ResourceAgent};

use super::{block_on, context, line_in, runs};

const LIMIT: Duration = Duration::from_secs(10);

/// A mark that no test running beside has.
fn marked(test: &str) -> (String, OpContext) {
    let mark = format!("{test}-{}", std::process::id());
    (mark.clone(), context().meta(NODE, mark))
}

#[test]
fn native_processes_of_the_mark_end_with_their_groups_and_no_others() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("child");
        let (mark, context) = marked("native");
        // The child has lost the mark, but not the group.
        let script = "env -i sleep 1000 & echo $! > $CHILD; wait";
        let ours = Process::new("/bin/sh").arg("-c").arg(script).env("CHILD", &file);
        let (other, unmarked) = (Process::new("sleep"), Process::new("sleep"));
        let (other, unmarked) = (other.arg("1000"), unmarked.arg("1000"));
        ours.start(&context).await.expect("an answer");
        other.start(&marked("native-other").1).await.expect("an answer");
        unmarked.start(&super::context()).await.expect("an answer");
        let (child, leader) = (line_in(&file).await, ours.id().await.expect("it runs"));
        let killed = leftovers::end(&mark, LIMIT).await.expect("ended");
        assert!(killed.contains(&leader) && !runs(&child), "{killed:?}");
        assert_eq!(killed.len(), 2, "{killed:?}");
        let report = ours.monitor(&context, Check::PROBE).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotRunning);
        for left_alone in [&other, &unmarked] {
            let report = left_alone.monitor(&context, Check::STARTED).await.expect("an answer");
            assert_eq!(report.outcome, Outcome::Success);
        }
        assert_eq!(leftovers::end(&mark, LIMIT).await.expect("nothing"), Vec::<u32>::new());
    });
}

#[test]
fn an_operation_ends_and_what_a_finished_one_has_left_stays() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("child");
        let (mark, context) = marked("operation");
        let context = context.parameter("file", "x");
        let body = r#"case $1 in
            start) sleep 1000 >/dev/null 2>&1 & echo $! > "$CHILD.daemon"
                setsid sleep 1000 >/dev/null 2>&1 & echo $! > "$CHILD.session"
                env > "$CHILD.env"; exit 0;;
            promote) sleep 1000 & echo $! > "$CHILD"; wait;;
        esac"#;
        super::ocf::script(dir.path(), "slow", body);
        let agent = Ocf::builder("test", "slow").root(dir.path()).env("CHILD", &file);
        let agent = agent.load().await.expect("an agent");
        agent.start(&context).await.expect("an answer");
        let env = std::fs::read_to_string(file.with_extension("env")).expect("written");
        assert!(env.contains(&format!("HA_NODE={mark}\n")) && !env.contains("meta_node"), "{env}");
        let work = async {
            let child = line_in(&file).await;
            let killed = leftovers::end(&mark, LIMIT).await.expect("ended");
            assert_eq!((killed.len(), runs(&child)), (2, false), "{killed:?}");
        };
        let (report, ()) = tokio::join!(agent.promote(&context), work);
        assert_eq!(report.expect("an answer").outcome, Outcome::GenericError);
        for name in ["daemon", "session"] {
            let pid = line_in(&file.with_extension(name)).await;
            assert!(runs(&pid), "{name}: it is the resource");
            std::process::Command::new("kill").arg(&pid).status().expect("kill");
        }
    });
}

#[test]
fn an_empty_mark_is_refused() {
    let error = block_on(leftovers::end("", LIMIT)).expect_err("it would be everybody's");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
