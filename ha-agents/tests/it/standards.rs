//! Agents of other standards than OCF: init scripts, monitoring plugins, plain commands.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ha_agents::command::Commands;
use ha_agents::lsb::{Lsb, LsbError};
use ha_agents::nagios::{Nagios, Warning};
use ha_agents::registry::Registry;
use ha_agents::{AgentError, Check, OpContext, Outcome, Report, ResourceAgent};
use ha_lab::require_program;

use super::mount::on_a_host;
use super::{block_on, context, executable, runs};

/// The outcome of each operation: `S`tart, `X` stop, `M`onitor, `P`robe.
async fn outcomes(agent: &dyn ResourceAgent, context: &OpContext, letters: &str) -> Vec<Outcome> {
    let mut told = Vec::new();
    for letter in letters.chars() {
        told.push(one(agent, context, letter).await.outcome);
    }
    told
}

async fn one(agent: &dyn ResourceAgent, context: &OpContext, letter: char) -> Report {
    let report = match letter {
        'S' => agent.start(context).await,
        'X' => agent.stop(context).await,
        'P' => agent.monitor(context, Check::PROBE).await,
        _ => agent.monitor(context, Check::STARTED).await,
    };
    report.expect("an answer")
}

use Outcome::{Degraded, GenericError, NotConfigured, NotInstalled, NotRunning, Success};

/// As many are: it fails to start what runs, and to stop what is stopped.
const SCRIPT: &str = r#"#!/bin/sh
### BEGIN INIT INFO
# Provides:          bad
# Required-Start:    $network $remote_fs
# Short-Description: a script that breaks the rules
# Description:       It fails
#                    twice.
### END INIT INFO
file=${0%/*}/state
echo "$1" >> "${0%/*}/calls"
case $1 in
start) [ ! -e "$file" ] || { echo "already running" >&2; exit 1; }; echo up > "$file";;
stop) [ -e "$file" ] || { echo "no process" >&2; exit 7; }; rm "$file";;
status) [ -e "$file" ] || exit 3; read -r state < "$file"
    case $state in up) exit 0;; dead) exit 1;; locked) exit 2;; *) echo "who knows"; exit 4;; esac;;
*) exit 3;;
esac
"#;

#[test]
fn an_init_script_that_breaks_the_rules_is_kept_to_them() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        executable(&dir.path().join("bad"), SCRIPT);
        let agent = Lsb::load_from(dir.path(), "bad").expect("a script");
        assert_eq!(agent.header().provides, ["bad"]);
        assert_eq!(agent.header().required_start, ["$network", "$remote_fs"]);
        assert_eq!(agent.header().description, "It fails twice.");
        assert_eq!(agent.metadata().summary, "a script that breaks the rules");
        let context = context();
        let told = outcomes(&agent, &context, "PSMSXPX").await;
        let expected = [NotRunning, Success, Success, Success, Success, NotRunning, Success];
        assert_eq!(told, expected);
        let report = one(&agent, &context, 'X').await;
        assert!(report.reason.contains("no process") && report.code == Some(7), "{report:?}");
        let calls = std::fs::read_to_string(dir.path().join("calls")).expect("written");
        assert_eq!(calls.lines().filter(|call| *call == "start").count(), 1, "{calls}");
        for (state, outcome, reason) in [
            ("dead", NotRunning, "pid file"),
            ("locked", NotRunning, "lock file"),
            ("odd", GenericError, "who knows"),
        ] {
            std::fs::write(dir.path().join("state"), format!("{state}\n")).expect("written");
            let report = one(&agent, &context, 'M').await;
            assert_eq!(report.outcome, outcome, "{report:?}");
            assert!(report.reason.contains(reason), "{report:?}");
        }
        let report = one(&agent, &context.clone().parameter("port", "80"), 'S').await;
        assert_eq!(report.outcome, NotConfigured);
        assert!(report.reason.contains("port"), "{report:?}");
        let reload = agent.reload(&context).await.expect("an answer");
        assert_eq!(reload.outcome, Outcome::Unimplemented);
    });
}

#[test]
fn an_init_script_that_cannot_be_used_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    executable(&dir.path().join("mute"), "#!/bin/sh\ncase $1 in start|stop) ;; esac\n");
    let load = |name| Lsb::load_from(dir.path(), name).expect_err("not usable");
    assert!(matches!(load("mute"), LsbError::NoStatus { .. }));
    assert!(matches!(load("../mute"), LsbError::Name { .. }));
    assert_eq!(load("none").outcome(), NotInstalled);
}

/// Debian's own script, with a server that it really starts.
#[test]
fn the_real_init_script_of_nginx_is_run() {
    on_a_host(async |_| {
        if require_program("nginx").is_none() {
            return;
        }
        // Its pid file and its log are in the host's own folders.
        for folder in ["/run", "/var/log/nginx", "/var/lib/nginx"] {
            let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs", folder]).status();
            assert!(mounted.expect("it runs").success(), "{folder}");
        }
        let registry = Registry::new();
        let resource = "web".parse().expect("a name");
        let parameters = std::collections::BTreeMap::new();
        let agent = registry.resolve(&resource, "lsb:nginx", &parameters).await;
        let agent: Arc<dyn ResourceAgent> = match agent {
            Ok(agent) => agent,
            Err(error) => return ha_lab::skip(format_args!("{error}: no init script of nginx")),
        };
        let context = context().timeout(Duration::from_mins(1));
        let told = outcomes(&*agent, &context, "PSMS").await;
        assert_eq!(told, [NotRunning, Success, Success, Success]);
        let pid = std::fs::read_to_string("/run/nginx.pid").expect("a pid file");
        assert!(runs(pid.trim()));
        assert_eq!(outcomes(&*agent, &context, "XPX").await, [Success, NotRunning, Success]);
        assert!(!runs(pid.trim()));
    });
}

#[test]
fn a_plugins_codes_are_outcomes() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("check_it");
        executable(
            &path,
            "#!/bin/sh\necho \"$* said|time=1s\"\nread -r code < \"${0%/*}/code\"\nexit $code\n",
        );
        let set = |code: i32| {
            std::fs::write(dir.path().join("code"), format!("{code}\n")).expect("written");
        };
        let agent = Nagios::new(&path).arg("-v");
        let context = context().parameter("port", "80");
        set(0);
        let told = outcomes(&agent, &context, "PSPM").await;
        assert_eq!(told, [NotRunning, Success, Success, Success], "a probe sees nobody else's");
        for code in 1..=3 {
            set(code);
            let report = one(&agent, &context, 'M').await;
            assert_eq!((report.outcome, report.code), (GenericError, Some(code)));
            assert_eq!(report.reason, "-v --port=80 said");
        }
        assert_eq!(outcomes(&agent, &context, "XP").await, [Success, NotRunning]);
        let short = context.clone().timeout(Duration::from_secs(3));
        let report = one(&agent, &short, 'S').await;
        assert_eq!((report.outcome, report.code), (GenericError, Some(3)), "told in time");
        let bad = context.clone().parameter("-x --y", "1");
        assert_eq!(one(&agent, &bad, 'S').await.outcome, NotConfigured);
        let lenient = Nagios::new(&path).warning(Warning::Degraded);
        set(1);
        assert_eq!(one(&lenient, &context, 'M').await.outcome, Degraded);
        let missing = Nagios::new(dir.path().join("none"));
        assert_eq!(one(&missing, &context, 'S').await.outcome, NotInstalled);
    });
}

#[test]
fn the_real_check_tcp_waits_for_a_port() {
    let plugin = Path::new("/usr/lib/nagios/plugins/check_tcp");
    if !plugin.exists() {
        ha_lab::skip("check_tcp is not here; install it (Debian: monitoring-plugins-basic)");
        return;
    }
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port().to_string();
        let registry = Registry::new();
        let resource = "web".parse().expect("a name");
        let parameters = [("hostname", "127.0.0.1"), ("port", port.as_str())];
        let parameters = parameters.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let agent = registry.resolve(&resource, "nagios:check_tcp", &parameters).await;
        let agent = agent.expect("made");
        let context = context().parameter("hostname", "127.0.0.1").parameter("port", port);
        assert_eq!(outcomes(&*agent, &context, "SM").await, [Success, Success]);
        drop(listener);
        let report = one(&*agent, &context, 'M').await;
        assert_eq!(report.outcome, GenericError);
        // The first connection may still have waited to be taken when the listener went.
        let words = ["refused", "reset"];
        assert!(words.iter().any(|word| report.reason.contains(word)), "{report:?}");
    });
}

/// A check that the service fails because it hangs says "not running"; so says one of what stopped.
#[test]
fn what_hangs_is_stopped_though_its_check_says_that_it_does_not_run() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let held = dir.path().join("held").display().to_string();
        std::fs::write(&held, "").expect("written");
        let agent = Commands::new(["true"], ["rm", &held], ["false"]);
        let context = context();
        let told = outcomes(&agent, &context, "PX").await;
        assert_eq!(told, [NotRunning, Success]);
        assert!(!Path::new(&held).exists(), "its stop was run");
        let again = one(&agent, &context, 'X').await;
        assert_eq!((again.outcome, again.code), (Success, Some(1)));
        assert!(again.reason.contains("it is stopped all the same"), "{again:?}");
    });
}

#[test]
fn commands_are_believed_only_when_their_check_agrees() {
    block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a file; exit 1").display().to_string();
        let agent = Commands::new(["touch", &file], ["rm", &file], ["test", "-e", &file]);
        let context = context();
        let told = outcomes(&agent, &context, "PSMSXPX").await;
        let expected = [NotRunning, Success, Success, Success, Success, NotRunning, Success];
        assert_eq!(told, expected);
        let liar = Commands::new(["true"], ["true"], ["test", "-e", &file]);
        let report = one(&liar, &context, 'S').await;
        assert_eq!(report.outcome, GenericError);
        assert!(report.reason.contains("its check says: not running"), "{report:?}");
        std::fs::write(&file, "").expect("written");
        assert_eq!(one(&liar, &context, 'X').await.outcome, GenericError);
        let words = ["sh", "-c", "echo no disk >&2; exit 3"];
        let fails = Commands::new(words, words, words);
        let report = one(&fails, &context, 'S').await;
        assert_eq!(report.outcome, GenericError);
        assert!(report.reason.contains("no disk"), "{report:?}");
        let ocf = Commands::new(["true"], ["true"], ["sh", "-c", "exit $HA_PARAMETER_code"]);
        let ocf = ocf.ocf_codes();
        let promoted = context.clone().parameter("code", "8");
        assert_eq!(one(&ocf, &promoted, 'M').await.outcome, Outcome::RunningPromoted);
        let empty = Commands::new(["true"], [""; 0], ["false"]);
        assert_eq!(one(&empty, &context, 'X').await.outcome, NotConfigured, "nothing was done");
        let gone = Commands::new(["true"], ["no-such-program"], ["false"]);
        assert_eq!(one(&gone, &context, 'X').await.outcome, NotInstalled, "nothing was done");
        let none = Commands::new(["no-such-program"], ["true"], ["false"]);
        assert_eq!(one(&none, &context, 'S').await.outcome, NotInstalled);
        let hangs = Commands::new(["true"], ["true"], ["sleep", "1000"]);
        let short = context.timeout(Duration::from_secs(1));
        let error = hangs.monitor(&short, Check::STARTED).await.expect_err("no answer");
        assert!(matches!(error, AgentError::TimedOut { .. }), "{error}");
    });
}
