//! The program `fence`, run as a person runs it, with Debian's agents and emulated boards.
#![expect(clippy::expect_used, reason = "these are tests, and so are their helpers")]

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_fence");

fn fence(words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words).stdin(Stdio::null()).env("BOARD_PASSWORD", "secret");
    command.output().expect("it runs")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn json(words: &[&str]) -> (i32, Value) {
    let output = fence(&[words, &["--json"]].concat());
    let answer = serde_json::from_slice(&output.stdout).expect("JSON");
    (code(&output), answer)
}

/// An agent as a script: its power is a file, and it writes down what it was told.
fn script(folder: &Path, extra: &str) -> String {
    let (path, shown) = (folder.join("fence_script"), folder.display());
    let text = format!(
        r#"#!/bin/sh
while read -r line; do
    echo "$line" >> {shown}/input
    case "$line" in action=*) action=${{line#action=}} ;; esac
done
case "$action" in
    off|on) echo "$action" > {shown}/power ;;
    reboot) echo off > {shown}/power; echo on > {shown}/power ;;
    status) [ "$(cat {shown}/power)" = on ] || exit 2 ;;
    list) echo 'n1,the first' ;;
    monitor) ;;
    metadata) cat <<END
<resource-agent name="fence_script" shortdesc="A script">
<parameters>
<parameter name="plug" required="1"><content type="string"/><shortdesc>The plug</shortdesc></parameter>
<parameter name="ip" required="0"><content type="string"/><shortdesc>Where</shortdesc></parameter>
<parameter name="password" required="0"><content type="string"/><shortdesc>Word</shortdesc></parameter>
</parameters>
<actions><action name="off"/><action name="on"/></actions>
</resource-agent>
END
    ;;
esac
{extra}
"#
    );
    std::fs::write(folder.join("source"), text).expect("a script");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.join("source"), mode).expect("permissions");
    // By another process: no fork of a test beside this one may hold it open for writing.
    let copied = Command::new("cp").arg(folder.join("source")).arg(&path).status();
    assert!(copied.expect("cp").success());
    path.display().to_string()
}

fn input(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("input")).unwrap_or_default()
}

#[test]
fn an_agent_is_asked_what_was_said_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = script(folder.path(), "");
    let off = fence(&["run", &agent, "ip=192.0.2.1", "off", "--node", "n1", "--plug", "3"]);
    assert_eq!(code(&off), 0, "{off:?}");
    assert!(said(&off).starts_with("n1: off done, verified off ("), "{off:?}");
    assert!(input(&folder).ends_with("action=off\nport=3\nip=192.0.2.1\n"), "{}", input(&folder));
    let status = fence(&["status", &agent, "--node", "n1"]);
    assert_eq!((code(&status), said(&status).starts_with("n1: off (")), (2, true), "{status:?}");
    let (on, answer) = json(&["on", &agent, "plug=n1"]);
    assert_eq!((on, answer["result"].as_str(), answer.get("evidence")), (0, Some("done"), None));
    let (on, answer) = json(&["status", &agent, "plug=n1"]);
    assert_eq!((on, answer["result"].as_str()), (0, Some("on")));
    assert_eq!(json(&["list", &agent]).1["nodes"], serde_json::json!(["n1"]));
    assert_eq!(code(&fence(&["monitor", &agent])), 0);
}

#[test]
fn without_an_action_or_a_node_nothing_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = script(folder.path(), "");
    for words in [
        &["run", &agent][..],
        &["run", &agent, "ip=192.0.2.1"],
        &["run", &agent, "Off", "--node", "n1"],
        &["off", &agent],
        &["off", &agent, "action=on", "plug=n1"],
        &["off", &agent, "ip=1", "ip=2", "plug=n1"],
        &["off", &agent, "adress=192.0.2.1", "plug=n1"],
        &["off", "/no/such/agent", "plug=n1"],
        &["test", &agent, "plug=n1"],
        &["off"],
        &[&agent],
        &[],
    ] {
        let output = fence(words);
        assert_eq!(code(&output), 1, "2 means off, and nothing else: {words:?} {output:?}");
    }
    let told = input(&folder);
    let told: Vec<&str> = told.lines().filter(|line| line.starts_with("action=")).collect();
    assert!(told.iter().all(|line| *line == "action=metadata"), "{told:?}");
}

#[test]
fn secrets_come_from_elsewhere_and_go_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = script(folder.path(), "[ $action != on ] || { echo 'no power' >&2; exit 1; }");
    let file = folder.path().join("word");
    std::fs::write(&file, "tiger\n").expect("written");
    let open = fence(&["off", &agent, "plug=n1", "password=tiger"]);
    assert_eq!(code(&open), 1);
    assert!(said(&open).contains("--secret password=file:PATH"), "{open:?}");
    assert!(!said(&open).contains("tiger") && !input(&folder).contains("action=off"), "{open:?}");
    let source = format!("password=file:{}", file.display());
    let off = fence(&["off", &agent, "plug=n1", "--secret", &source]);
    assert_eq!(code(&off), 0, "{off:?}");
    assert!(input(&folder).ends_with("password=tiger\n"));
    let on = fence(&["on", &agent, "plug=n1", "--secret", "password=env:BOARD_PASSWORD"]);
    assert_eq!(code(&on), 1);
    assert!(said(&on).contains("no power") && said(&on).contains("may have been done"), "{on:?}");
    assert!(!said(&on).contains("secret"), "{on:?}");
    assert!(input(&folder).ends_with("password=secret\n"));
    for wrong in ["password=env:NO_SUCH_VARIABLE", "password=file:/no/such/file", "password=tiger"]
    {
        let output = fence(&["off", &agent, "plug=n1", "--secret", wrong]);
        assert_eq!(code(&output), 1);
    }
    let mut child = Command::new(PROGRAM)
        .args(["off", &agent, "plug=n1", "--secret", "password=stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    child.stdin.take().expect("piped").write_all(b"lion\n").expect("written");
    assert!(child.wait().expect("ended").success());
    assert!(input(&folder).ends_with("password=lion\n"));
}

#[test]
fn agents_are_described() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = script(folder.path(), "");
    let text = said(&fence(&["metadata", &agent]));
    assert!(text.contains("fence_script: A script\n"), "{text}");
    assert!(text.contains("  plug, required: The plug\n"), "{text}");
    assert!(text.contains("  password, a secret: Word\n"), "{text}");
    let (_, ipmi) = json(&["metadata", "ipmi"]);
    let names: Vec<&str> = ipmi["parameters"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert!(names.contains(&"ip") && names.contains(&"password"), "{names:?}");
    let (_, agents) = json(&["agents"]);
    assert_eq!(agents["native"], serde_json::json!(["ipmi", "redfish", "ssh"]));
}

#[test]
fn a_test_finds_an_agent_that_lies() {
    let folder = tempfile::tempdir().expect("a folder");
    let honest = script(folder.path(), "");
    let output = fence(&["test", &honest, "--node", "n1", "--yes"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(said(&output).ends_with("11 steps of 11, 0 failed\n"), "{output:?}");
    let power = std::fs::read_to_string(folder.path().join("power")).expect("read");
    assert_eq!(power, "on\n", "the node is on again");
    let liar = script(folder.path(), "echo on > $(dirname $0)/power");
    let (status, steps) = json(&["test", &liar, "--node", "n1", "--yes"]);
    let failed: Vec<&str> = steps
        .as_array()
        .expect("a list")
        .iter()
        .filter(|step| step["passed"] == false)
        .filter_map(|step| step["what"].as_str())
        .collect();
    assert_eq!((status, failed), (1, vec!["off is seen"]));
}

#[test]
fn an_agent_that_hangs_is_ended_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let hang = "[ $action != off ] || { sleep 1000 & echo $! > $(dirname $0)/child; wait; }";
    let agent = script(folder.path(), hang);
    let output = fence(&["off", &agent, "plug=n1", "--timeout", "2"]);
    assert_eq!(code(&output), 1);
    assert!(said(&output).contains("may have been done"), "{output:?}");
    let child = std::fs::read_to_string(folder.path().join("child")).expect("it came to its hang");
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
    // A killed process is gone when its parent has looked, if it has one.
    while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}

/// The real `fence_dummy`, as the header of the program has it.
#[test]
fn the_real_fence_dummy_passes_the_test() {
    if ha_lab::find_program("fence_dummy").is_none() {
        return ha_lab::skip("fence_dummy is not here; install it (Debian: fence-agents)");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = format!("status_file={}/power", folder.path().display());
    let off = fence(&["run", "fence_dummy", &file, "off"]);
    assert_eq!(code(&off), 0, "{off:?}");
    assert!(said(&off).contains("acknowledged"), "it is only a file: {off:?}");
    assert_eq!(code(&fence(&["run", "fence_dummy", &file, "status"])), 2);
    let output = fence(&["test", "fence_dummy", &file, "--yes"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
}

/// `ipmi_sim`, ended with the test.
struct Board(Child);

impl Drop for Board {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("ended");
    }
}

#[test]
fn a_simulated_board_passes_the_test() {
    let Some(program) = ha_lab::find_program("ipmi_sim") else {
        return ha_lab::skip("ipmi_sim is not here; install it (Debian: openipmi)");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (path, shown) = (folder.path(), folder.path().display());
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    drop(socket);
    let chassis = "#!/bin/sh\ncd $(dirname $0)\ncase \"$1 $2\" in\n\"get power\") echo power:$(cat power) ;;\n\
                   \"set power\") echo $3 > power ;;\nesac\nexit 0\n";
    let lan = format!(
        "name \"board\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n\
         allowed_auths_operator none md2 md5 straight\nallowed_auths_admin none md2 md5 straight\n\
         guid a123456789abcdefa123456789abcdef\nendlan\nchassis_control \"{shown}/chassis\" 0x20\n\
         user 2 true \"fence\" \"secret\" admin 10 none md2 md5 straight\n"
    );
    let emulated = "mc_setbmc 0x20\n\
                    mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                    mc_enable 0x20\n";
    for (name, text) in
        [("lan.conf", lan.as_str()), ("board.emu", emulated), ("source", chassis), ("power", "1\n")]
    {
        std::fs::write(path.join(name), text).expect("written");
    }
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path.join("source"), mode).expect("permissions");
    let copied = Command::new("cp").arg(path.join("source")).arg(path.join("chassis")).status();
    assert!(copied.expect("cp").success());
    std::fs::create_dir(path.join("state")).expect("made");
    let mut board = Board(
        Command::new(program)
            .args(["-n", "-c", "lan.conf", "-f", "board.emu", "-s", "state"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs"),
    );
    let port = format!("ipport={port}");
    let words =
        ["ip=127.0.0.1", &port, "username=fence", "--secret", "password=env:BOARD_PASSWORD"];
    let ask =
        |command: &str, more: &[&str]| fence(&[&[command, "ipmi"], &words[..], more].concat());
    while code(&ask("monitor", &[])) != 0 {
        assert!(board.0.try_wait().expect("a child").is_none(), "the simulator ended");
    }
    let output = ask("test", &["--yes"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    assert_eq!(code(&ask("off", &[])), 0);
    assert_eq!(code(&ask("status", &[])), 2);
    assert_eq!(std::fs::read_to_string(path.join("power")).expect("read"), "0\n");
    assert!(!said(&output).contains("secret"));
}
