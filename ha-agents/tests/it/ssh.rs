//! Fencing by `ssh`, with a real `sshd` on the loopback interface.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ha_agents::fence::{Evidence, FenceAction, FenceAgent, FenceError, Power, Ssh, SshBuilder};
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use tempfile::TempDir;

use super::block_on;

fn n1() -> NodeName {
    "n1".parse().expect("a name")
}

/// A node: an `sshd` with a host key, a user key and a boot id of its own.
struct Node {
    folder: TempDir,
    port: u16,
    daemon: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.daemon.kill().and_then(|()| self.daemon.wait()).expect("ended");
    }
}

fn key(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .status();
    assert!(made.expect("ssh-keygen runs").success());
}

impl Node {
    async fn start() -> Option<Self> {
        let Some(program) = ha_lab::find_program("sshd") else {
            ha_lab::skip("sshd is not here; install it (Debian: openssh-server)");
            return None;
        };
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").expect("made"); // it insists on it
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        key(&path.join("host"));
        key(&path.join("user"));
        std::fs::write(path.join("boot_id"), "first\n").expect("written");
        // Free a moment ago; should somebody take it, sshd ends and the test says so.
        let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        let shown = path.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {shown}/host\nPidFile none\n\
             AuthorizedKeysFile {shown}/user.pub\nPasswordAuthentication no\nStrictModes no\n\
             PermitRootLogin yes\nUsePAM no\nMaxStartups 100\n"
        );
        std::fs::write(path.join("config"), config).expect("written");
        let public = std::fs::read_to_string(path.join("host.pub")).expect("made");
        std::fs::write(path.join("known"), format!("[127.0.0.1]:{port} {public}"))
            .expect("written");
        let daemon = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(path.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut node = Self { folder, port, daemon };
        let agent = node.agent().build().expect("valid");
        while let Err(error) = agent.monitor().await {
            let ended = node.daemon.try_wait().expect("a child");
            assert!(ended.is_none(), "sshd ended: {ended:?}, {error}");
            pause(Duration::from_millis(20)).await.expect("a timer");
        }
        Some(node)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Off ends the daemon, reboot writes another boot id: what the node of a test can do.
    fn agent(&self) -> SshBuilder {
        let boot_id = self.path("boot_id").display().to_string();
        Ssh::builder("ssh")
            .host(n1(), "127.0.0.1")
            .config("none")
            .port(self.port)
            .identity_file(self.path("user"))
            .known_hosts(self.path("known"))
            .boot_id_command(format!("cat {boot_id}"))
            .off_command(format!("nohup kill {} >/dev/null 2>&1 &", self.daemon.id()))
            .reboot_command(format!("echo again > {boot_id}"))
            .poll(Duration::from_millis(20))
    }
}

#[test]
fn a_node_is_asked_by_ssh_and_its_going_is_waited_for() {
    block_on(async {
        let Some(mut node) = Node::start().await else { return };
        let agent = node.agent().build().expect("valid");
        assert_eq!(agent.list().await.expect("told"), [n1()]);
        assert_eq!(agent.status(&n1()).await.expect("told"), Power::On);
        let evidence = agent.perform(&n1(), FenceAction::Reboot).await.expect("another boot id");
        assert_eq!(evidence, Evidence::VerifiedOff);
        assert_eq!(std::fs::read_to_string(node.path("boot_id")).expect("read"), "again\n");
        let error = agent.on(&n1()).await.expect_err("nobody can");
        assert_eq!(error.effect(), Effect::None, "{error}");
        let evidence = agent.perform(&n1(), FenceAction::Off).await.expect("it said so, and went");
        assert_eq!(evidence, Evidence::Acknowledged);
        node.daemon.wait().expect("ended");
        let gone = agent.status(&n1()).await.expect_err("no answer is no power off");
        assert!(matches!(gone, FenceError::Unusable { .. }), "{gone}");
        assert_eq!(agent.off(&n1()).await.expect_err("gone").effect(), Effect::None);
    });
}

#[test]
fn a_node_that_says_yes_and_stays_is_found_out() {
    block_on(async {
        let Some(node) = Node::start().await else { return };
        let agent = || node.agent().timeout(Duration::from_secs(3));
        let stays = agent().off_command("true").build().expect("valid");
        let error = stays.off(&n1()).await.expect_err("it still answers");
        assert!(matches!(error, FenceError::NoAnswer { .. }), "{error}");
        assert_eq!(error.effect(), Effect::Unknown, "{error}");
        let lazy = agent().reboot_command("true").build().expect("valid");
        let error = lazy.reboot(&n1()).await.expect_err("the same boot id");
        assert_eq!(error.effect(), Effect::Unknown, "{error}");
        let broken = agent().off_command("echo no power >&2; exit 3").build().expect("valid");
        let error = broken.off(&n1()).await.expect_err("the command failed");
        assert!(error.to_string().contains("no power"), "{error}");
        assert_eq!(error.effect(), Effect::Unknown);
    });
}

#[test]
fn a_node_that_answers_with_an_error_is_not_gone() {
    block_on(async {
        let Some(node) = Node::start().await else { return };
        let boot_id = node.path("boot_id").display().to_string();
        let agent = node.agent().timeout(Duration::from_secs(3));
        // From now on its boot id cannot be read; but it runs, and says so.
        let agent = agent.off_command(format!("rm {boot_id}")).build().expect("valid");
        let error = agent.off(&n1()).await.expect_err("it still answers");
        assert!(matches!(error, FenceError::NoAnswer { .. }), "{error}");
        assert_eq!(error.effect(), Effect::Unknown, "{error}");
    });
}

#[test]
fn who_is_not_known_is_not_asked() {
    block_on(async {
        let Some(node) = Node::start().await else { return };
        let unknown = node.path("nobody");
        std::fs::write(&unknown, "").expect("written");
        let stranger = node.path("stranger");
        key(&stranger);
        let builders = [
            node.agent().known_hosts(&unknown),
            node.agent().identity_file(&stranger),
            node.agent().host(n1(), "127.0.0.1").port(1),
            node.agent().user("no-such-user"),
        ];
        for builder in builders {
            let agent = builder.build().expect("valid");
            let error = agent.reboot(&n1()).await.expect_err("no way in");
            assert!(matches!(error, FenceError::Unusable { .. }), "{error}");
            assert_eq!(error.effect(), Effect::None, "{error}");
        }
        assert_eq!(std::fs::read_to_string(node.path("boot_id")).expect("read"), "first\n");
        let missing = node.agent().program("/no/such/ssh").build().expect("valid");
        let error = missing.off(&n1()).await.expect_err("not there");
        assert!(matches!(error, FenceError::NotAsked { .. }), "{error}");
    });
}

#[test]
fn hosts_that_ssh_would_take_for_options_are_refused() {
    let error = Ssh::builder("ssh")
        .host(n1(), "-oProxyCommand=reboot")
        .user("-l")
        .port(0)
        .off_command(" ")
        .connect_timeout(Duration::from_millis(10))
        .timeout(Duration::ZERO)
        .poll(Duration::ZERO)
        .build()
        .expect_err("seven mistakes");
    assert_eq!(error.problems().len(), 7, "{error}");
}
