//! IPMI against `OpenIPMI`'s simulator of a board, and beside Debian's `fence_ipmilan`.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ha_agents::fence::ipmi::{CipherSuite, Ipmi, IpmiBuilder, Privilege, RebootMethod};
use ha_agents::fence::{FenceAgent, FenceCommand, FenceError, Power};
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};
use tempfile::TempDir;

use super::{block_on, executable};

fn n1() -> NodeName {
    "n1".parse().expect("a name")
}

/// A board of the simulator: its chassis is a file.
struct Board {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Drop for Board {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("ended");
    }
}

impl Board {
    async fn start() -> Option<Self> {
        let Some(program) = ha_lab::find_program("ipmi_sim") else {
            ha_lab::skip("ipmi_sim is not here; install it (Debian: openipmi)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        // Free a moment ago; should somebody take it, the simulator ends and the test says so.
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        configure(path, port);
        let process = Command::new(program)
            .args(["-n", "-c", "lan.conf", "-f", "board.emu", "-s", "state"])
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut board = Self { folder, port, process };
        let agent = board.agent().build().expect("valid");
        while let Err(error) = agent.monitor().await {
            let ended = board.process.try_wait().expect("a child");
            assert!(ended.is_none(), "the simulator ended: {ended:?}, {error}");
        }
        Some(board)
    }

    fn agent(&self) -> IpmiBuilder {
        Ipmi::builder("board-n1", n1(), "127.0.0.1")
            .port(self.port)
            .login("fence", "secret")
            .retransmit(Duration::from_millis(250), 4)
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

fn configure(path: &Path, port: u16) {
    let shown = path.display();
    let lan = format!(
        r#"name "board"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{shown}/chassis" 0x20
  user 2 true "admin" "secret" admin 10 none md2 md5 straight
  user 3 true "fence" "secret" operator 10 none md2 md5 straight
"#
    );
    let board = "mc_setbmc 0x20\n\
                 mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                 mc_enable 0x20\n";
    let chassis = format!(
        r#"#!/bin/sh
# get WHAT… | set WHAT VALUE…
action=$1; shift
while [ $# -gt 0 ]; do
    case "$action $1" in
        "get power") echo "power:$(cat {shown}/power)" ;;
        "get "*) echo "$1:0" ;;
        "set power") echo "$2" > {shown}/power; echo "$2" >> {shown}/log; shift ;;
        *) shift ;;
    esac
    shift
done
exit 0
"#
    );
    std::fs::write(path.join("lan.conf"), lan).expect("written");
    std::fs::write(path.join("board.emu"), board).expect("written");
    std::fs::write(path.join("power"), "1\n").expect("written");
    std::fs::create_dir(path.join("state")).expect("made");
    executable(&path.join("chassis"), &chassis);
}

fn refusal(result: Result<(), FenceError>) -> String {
    let error = result.expect_err("it cannot");
    assert!(matches!(error, FenceError::Unusable { .. }), "{error}");
    assert_eq!(error.effect(), Effect::None, "nothing was asked of it: {error}");
    error.to_string()
}

#[test]
fn a_real_simulator_is_switched_off_and_on() {
    block_on(async {
        let Some(board) = Board::start().await else { return };
        let agent = board.agent().build().expect("valid");
        assert!(!format!("{agent:?}").contains("secret"));
        assert_eq!(agent.list().await.expect("told"), [n1()]);
        assert_eq!(agent.status(&n1()).await.expect("told"), Power::On);
        agent.off(&n1()).await.expect("confirmed");
        assert_eq!(board.file("power"), "0\n");
        assert_eq!(agent.status(&n1()).await.expect("told"), Power::Off);
        agent.off(&n1()).await.expect("it is off already");
        assert_eq!(board.file("log"), "0\n", "and is not switched again");
        agent.on(&n1()).await.expect("on");
        agent.reboot(&n1()).await.expect("confirmed");
        assert_eq!(board.file("log"), "0\n1\n0\n1\n");
        let cycling = board.agent().reboot_method(RebootMethod::Cycle).build().expect("valid");
        cycling.reboot(&n1()).await.expect("seen off, and on again by itself");
        assert_eq!(board.file("log"), "0\n1\n0\n1\n0\n1\n");
        let other = agent.off(&"n2".parse().expect("a name")).await.expect_err("not its node");
        assert!(matches!(other, FenceError::UnknownNode { .. }), "{other}");
        assert_eq!(board.file("power"), "1\n");
    });
}

#[test]
fn what_a_real_simulator_refuses_is_told_apart() {
    block_on(async {
        let Some(board) = Board::start().await else { return };
        let off = async |builder: IpmiBuilder| {
            let agent = builder.build().expect("valid");
            refusal(agent.off(&n1()).await)
        };
        let wrong = off(board.agent().login("fence", "tiger")).await;
        assert!(wrong.contains("password") && !wrong.contains("tiger"), "{wrong}");
        let stranger = off(board.agent().login("stranger", "secret")).await;
        assert!(stranger.contains("does not know the user"), "{stranger}");
        let suite = off(board.agent().cipher_suites([CipherSuite::Sha256])).await;
        assert!(suite.contains("cipher suites 17"), "the simulator has 3 only: {suite}");
        let key = off(board.agent().board_key("none is set there")).await;
        assert!(key.contains("K_g"), "{key}");
        assert_eq!(board.file("log"), "", "nothing was switched");
        let administrator = board.agent().login("admin", "secret");
        let administrator = administrator.privilege(Privilege::Administrator).build();
        administrator.expect("valid").off(&n1()).await.expect("confirmed");
    });
}

#[test]
fn nobody_at_the_address_is_said_soon() {
    block_on(async {
        // Held by us, so that nobody else answers there.
        let silent = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let port = silent.local_addr().expect("an address").port();
        let agent = Ipmi::builder("board-n1", n1(), "localhost")
            .port(port)
            .retransmit(Duration::from_millis(50), 3)
            .build()
            .expect("valid");
        let silence = refusal(agent.off(&n1()).await);
        assert!(silence.contains("does not answer"), "{silence}");
        drop(silent);
        let closed = refusal(agent.monitor().await);
        assert!(closed.contains("does not answer"), "{closed}");
        let nowhere = Ipmi::builder("board-n1", n1(), "no.such.host.invalid").build();
        refusal(nowhere.expect("valid").off(&n1()).await);
        let slow = Ipmi::builder("board-n1", n1(), "127.0.0.1")
            .retransmit(Duration::from_mins(1), 4)
            .timeout(Duration::from_millis(50))
            .build()
            .expect("valid");
        let late = refusal(slow.off(&n1()).await);
        assert!(late.contains("within 50ms"), "{late}");
    });
}

/// A board that stops in the middle: `ipmi_sim` is killed between two actions, and comes back.
#[test]
fn a_board_that_dies_is_no_node_that_is_off() {
    block_on(async {
        let Some(mut board) = Board::start().await else { return };
        let agent = board.agent().build().expect("valid");
        assert_eq!(agent.status(&n1()).await.expect("told"), Power::On);
        board.process.kill().expect("killed");
        board.process.wait().expect("ended");
        let error = agent.status(&n1()).await.expect_err("no answer is no power off");
        assert_eq!(error.effect(), Effect::None, "{error}");
        agent.off(&n1()).await.expect_err("no answer is no power off");
    });
}

/// Debian's `fence_ipmilan` and ours, one after the other against one board: both confirm, and what
/// each needed is printed (`--nocapture`).
#[test]
fn fence_ipmilan_agrees_with_ours() {
    block_on(async {
        let Some(board) = Board::start().await else { return };
        let (Some(program), Some(_)) =
            (ha_lab::find_program("fence_ipmilan"), ha_lab::find_program("ipmitool"))
        else {
            return ha_lab::skip("install fence-agents and ipmitool for fence_ipmilan");
        };
        let theirs = FenceCommand::builder("board-n1", program)
            .parameter("ip", "127.0.0.1")
            .parameter("ipport", board.port.to_string())
            .parameter("username", "admin")
            .parameter("password", "secret")
            .parameter("lanplus", "1")
            .parameter("cipher", "3")
            .parameter("power_wait", "0")
            .build()
            .expect("valid");
        let ours = board.agent().build().expect("valid");
        let agents: [(&str, &dyn FenceAgent); 2] = [("fence_ipmilan", &theirs), ("ours", &ours)];
        for (name, agent) in agents {
            let began = BootClock::new().now();
            agent.off(&n1()).await.expect("confirmed");
            println!("{name}: off in {:?}", BootClock::new().now().since(began));
            assert_eq!(theirs.status(&n1()).await.expect("told"), Power::Off);
            assert_eq!(ours.status(&n1()).await.expect("told"), Power::Off);
            let began = BootClock::new().now();
            agent.on(&n1()).await.expect("on");
            println!("{name}: on in {:?}", BootClock::new().now().since(began));
            let began = BootClock::new().now();
            agent.status(&n1()).await.expect("told");
            println!("{name}: status in {:?}", BootClock::new().now().since(began));
        }
    });
}

#[test]
fn settings_that_cannot_work_are_refused_all_at_once() {
    let error = Ipmi::builder("board-n1", n1(), "")
        .port(0)
        .login("a user with a long name", "a password that is too long")
        .board_key("a key that is far too long")
        .cipher_suites([])
        .retransmit(Duration::ZERO, 0)
        .timeout(Duration::ZERO)
        .poll(Duration::ZERO)
        .build()
        .expect_err("ten mistakes");
    assert_eq!(error.problems().len(), 10, "{error}");
    assert!(!error.to_string().contains("too long"), "no secrets: {error}");
}
