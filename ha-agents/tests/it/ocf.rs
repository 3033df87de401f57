//! Scripts of the standard, written by the tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ha_agents::ocf::{Ocf, OcfError};
use ha_agents::{AgentError, Check, Outcome, ResourceAgent};
use ha_core::driver::pause;
use ha_core::effect::Effect;

use super::{block_on, context, executable, line_in, runs};

/// An agent `ocf:test:NAME` whose actions are `body`.
pub(super) fn script(root: &Path, name: &str, body: &str) {
    let folder = root.join("resource.d/test");
    fs::create_dir_all(&folder).expect("a folder");
    let text = format!(
        r#"#!/bin/sh
dir={root}
if [ "$1" = meta-data ]; then
    echo "a warning that is not for the reader" >&2
    cat <<END
<?xml version="1.0"?>
<resource-agent name="{name}"><version>1.1</version><parameters>
<parameter name="file" required="1"><shortdesc>a file</shortdesc><content type="string"/></parameter>
</parameters><actions><action name="start" timeout="20"/><action name="validate-all"/></actions>
</resource-agent>
END
    exit 0
fi
{body}
"#,
        root = root.display()
    );
    executable(&folder.join(name), &text);
}

async fn load(root: &Path, name: &str) -> Ocf {
    Ocf::builder("test", name)
        .root(root)
        .grace(Duration::from_millis(50))
        .load()
        .await
        .expect("an agent")
}

#[test]
fn the_environment_is_exactly_the_standards() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        script(dir.path(), "env", r#"env > "$dir/env-$1"; echo "$#" > "$dir/count""#);
        let agent = load(dir.path(), "env").await;
        let nasty = "it's $(touch /nowhere) `x` \"\n; exit 3";
        let context = context()
            .parameter("file", nasty)
            .meta("clone-max", "2")
            .every(Duration::from_secs(10))
            .timeout(Duration::from_secs(30));
        agent.start(&context).await.expect("an answer");
        let check = Check { depth: 10, ..Check::STARTED };
        let report = agent.monitor(&context, check).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::Success);
        let env = fs::read_to_string(dir.path().join("env-monitor")).expect("written");
        let root = format!("OCF_ROOT={}", dir.path().display());
        for expected in [
            root.as_str(),
            "OCF_RESOURCE_INSTANCE=r1",
            "OCF_RESOURCE_TYPE=env",
            "OCF_RESOURCE_PROVIDER=test",
            "OCF_RA_VERSION_MAJOR=1",
            "OCF_RA_VERSION_MINOR=1",
            "OCF_CHECK_LEVEL=10",
            "OCF_RESKEY_CRM_meta_clone_max=2",
            "OCF_RESKEY_CRM_meta_interval=10000",
            "OCF_RESKEY_CRM_meta_name=monitor",
            "OCF_RESKEY_CRM_meta_timeout=30000",
            "LC_ALL=C",
        ] {
            assert!(env.lines().any(|line| line == expected), "{expected} is not in {env}");
        }
        assert!(env.contains(&format!("OCF_RESKEY_file={nasty}\n")), "{env}");
        let known = ["OCF_", "HA_", "LC_ALL=", "PATH=", "PWD=", "_=", "SHLVL=", "; exit 3"];
        for line in env.lines() {
            assert!(known.iter().any(|name| line.starts_with(name)), "{line} came through");
        }
        let env = fs::read_to_string(dir.path().join("env-start")).expect("written");
        assert!(!env.contains("OCF_CHECK_LEVEL"), "{env}");
        assert_eq!(fs::read_to_string(dir.path().join("count")).expect("written"), "1\n");
    });
}

#[test]
fn the_answer_is_the_code_with_its_reason_and_what_was_said() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let body = r#"case $1 in
            start) echo hello; echo "ocf-exit-reason:first" >&2
                echo "ocf-exit-reason:no license" >&2; echo bye >&2; exit 102;;
            stop) head -c 1000000 /dev/zero | tr '\0' x; echo "the end"; exit 0;;
            monitor) kill -9 $$;;
            validate-all) echo "ocf-exit-reason:" >&2; exit 6;;
        esac"#;
        script(dir.path(), "talker", body);
        let agent = load(dir.path(), "talker").await;
        let context = context().parameter("file", "x");

        let report = agent.start(&context).await.expect("an answer");
        assert_eq!((report.outcome, report.code), (Outcome::GenericError, Some(102)));
        assert_eq!(report.reason, "no license");
        let run = report.run.expect("details");
        assert_eq!((run.output.as_str(), run.signal), ("hello\n", None));
        assert!(run.errors.ends_with("bye\n"));

        let report = agent.stop(&context).await.expect("an answer");
        assert_eq!((report.outcome, report.reason.as_str()), (Outcome::Success, ""));
        let output = report.run.expect("details").output;
        assert!(
            output.len() < 70_000 && output.starts_with("xxx") && output.ends_with("the end\n")
        );

        let report = agent.monitor(&context, Check::PROBE).await.expect("an answer");
        assert_eq!((report.outcome, report.code), (Outcome::GenericError, None));
        assert_eq!(report.run.expect("details").signal, Some(9));
        assert!(report.reason.contains("signal: 9"), "{}", report.reason);

        let report = agent.validate(&context).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotConfigured);
        assert!(report.reason.contains("exit status: 6"), "{}", report.reason);
    });
}

#[test]
fn a_missing_parameter_is_told_before_anything_runs_but_never_keeps_from_stopping() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        script(dir.path(), "quiet", r#"echo "$1" >> "$dir/calls"; [ "$1" != monitor ] || exit 7"#);
        let agent = load(dir.path(), "quiet").await;
        let report = agent.start(&context()).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotConfigured);
        assert!(report.reason.contains("file"), "{}", report.reason);
        assert!(!dir.path().join("calls").exists(), "it ran");
        agent.stop(&context()).await.expect("an answer");
        let probe = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(probe.outcome, Outcome::NotRunning);
        let calls = fs::read_to_string(dir.path().join("calls")).expect("written");
        assert_eq!(calls, "stop\nmonitor\n");
        let bad = context().parameter("file", "x").parameter("a=b", "c");
        let report = agent.stop(&bad).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotConfigured);
    });
}

#[test]
fn what_is_late_is_looked_at_ended_and_unknown() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        // A child that ignores SIGTERM in a group of its own, a daemon in a session of its own.
        let body = r#"
            setsid -f sh -c 'echo $$ > "$1/daemon"; exec sleep 120' x "$dir" >/dev/null 2>&1
            trap '' TERM
            echo "waiting for the moon"; echo "it is late" >&2
            bash -c 'set -m; sleep 1000 & echo $! > "$1/stray"; wait' x "$dir" &
            wait"#;
        script(dir.path(), "hangs", body);
        let agent = load(dir.path(), "hangs").await;
        // Long enough that the script has come to its hang, even on a busy machine.
        let context = context().parameter("file", "x").timeout(Duration::from_secs(3));
        let files = [dir.path().join("stray"), dir.path().join("daemon")];
        let (error, stray, daemon) =
            tokio::join!(agent.start(&context), line_in(&files[0]), line_in(&files[1]));
        let _daemon = Killed(daemon.clone());
        let error = error.expect_err("no answer");
        assert_eq!(error.effect(), Effect::Unknown);
        assert!(error.to_string().contains("sleep 1000"), "{error}");
        let AgentError::TimedOut { diagnosis: Some(diagnosis), .. } = &error else {
            panic!("{error}");
        };
        assert!(error.to_string().contains(r#"last said "it is late""#), "{error}");
        assert_eq!(diagnosis.output, ["waiting for the moon"]);
        let of_stray = diagnosis.processes.iter().find(|it| it.pid.to_string() == stray);
        assert_eq!(of_stray.expect("found").command, "sleep 1000");
        let leader = diagnosis.processes.iter().find(|it| it.pid == it.group).expect("found");
        assert!(leader.command.contains("hangs start"), "{leader:?}");
        // Only root may see it, and not in every sandbox.
        if fs::read_to_string("/proc/self/stack").is_ok() {
            assert!(leader.stack.iter().any(|name| name.contains("syscall")), "{leader:?}");
        }
        while runs(&stray) {
            pause(Duration::from_millis(2)).await.expect("a timer");
        }
        assert!(!runs(&leader.pid.to_string()));
        assert!(runs(&daemon), "a daemon is the resource: its stop finds it");
    });
}

/// Is killed when its test ends, however it does.
struct Killed(String);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(std::process::Command::new("kill").args(["-9", &self.0]).status());
    }
}

#[test]
fn what_an_agent_leaves_running_stays_and_does_not_keep_its_answer() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        script(dir.path(), "leaves", r#"sleep 120 & echo $! > "$dir/child"; echo up"#);
        let agent = load(dir.path(), "leaves").await;
        let report = agent.start(&context().parameter("file", "x")).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::Success);
        assert_eq!(report.run.expect("details").output, "up\n");
        let child = line_in(&dir.path().join("child")).await;
        assert!(runs(&child));
        std::process::Command::new("kill").args(["-9", &child]).status().expect("kill");
    });
}

#[test]
fn an_agent_that_cannot_be_used_is_told_with_what_a_probe_would_say() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let load = |name: &'static str| {
            let builder = Ocf::builder("test", name).root(dir.path());
            builder.metadata_timeout(Duration::from_secs(3)).load()
        };
        let error = load("nothing").await.expect_err("not there");
        assert!(matches!(error, OcfError::NotInstalled { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::NotInstalled);
        assert!(error.to_string().contains("resource.d/test/nothing"), "{error}");
        for name in ["../../etc/passwd", "", "a/b", ".."] {
            let error = load(name).await.expect_err("no name");
            assert!(matches!(error, OcfError::Name { .. }), "{error}");
        }
        let folder = dir.path().join("resource.d/test");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("plain"), "").expect("a file");
        let error = load("plain").await.expect_err("not executable");
        assert_eq!(error.outcome(), Outcome::NoPermission, "{error}");
        executable(&folder.join("fails"), "#!/bin/sh\necho broken >&2\nexit 1\n");
        let error = load("fails").await.expect_err("no metadata");
        assert!(error.to_string().contains("broken"), "{error}");
        executable(&folder.join("html"), "#!/bin/sh\necho '<html/>'\n");
        let error = load("html").await.expect_err("other XML");
        assert!(matches!(error, OcfError::Metadata { .. }), "{error}");
        executable(&folder.join("hangs"), "#!/bin/sh\nsleep 1000\n");
        let error = load("hangs").await.expect_err("no answer");
        assert!(matches!(error, OcfError::NoMetadata { .. }), "{error}");

        script(dir.path(), "vanishes", "exit 0");
        let agent = load("vanishes").await.expect("an agent");
        fs::remove_file(folder.join("vanishes")).expect("removed");
        let report = agent.monitor(&context(), Check::PROBE).await.expect("an answer");
        assert_eq!(report.outcome, Outcome::NotInstalled, "{}", report.reason);
    });
}
