//! Redfish against the emulator of `OpenStack`'s sushy, beside Debian's `fence_redfish`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ha_agents::fence::redfish::{Redfish, RedfishBuilder};
use ha_agents::fence::{FenceAgent, FenceCommand, FenceError, Power};
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};
use tempfile::TempDir;

use super::block_on;

const N1: &str = "11111111-2222-3333-4444-555555555501";
const N2: &str = "11111111-2222-3333-4444-555555555502";
/// Of "secret", by bcrypt.
const PASSWORD: &str = "$2b$04$ByccN.lkTGRge/nZMFWCVugE2NgeGGJlzGTnjon0piVNXPQ.zOTuS";

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

/// The emulator: `.ci/run` puts it into target/sushy.
fn emulator() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sushy/bin/sushy-emulator");
    let found = if own.exists() { Some(own) } else { ha_lab::find_program("sushy-emulator") };
    if found.is_none() {
        ha_lab::skip(
            "sushy-emulator is not here; python3 -m venv target/sushy && \
             target/sushy/bin/pip install sushy-tools==2.2.0",
        );
    }
    found
}

/// A board with two systems, n1 and n2, that are on. Each change takes it 1 to 11 seconds.
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
        let program = emulator()?;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        // Free a moment ago; should somebody take it, the emulator ends and the test says so.
        let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        certify(path);
        let shown = path.display();
        let config = format!(
            "SUSHY_EMULATOR_FAKE_DRIVER = True\n\
             SUSHY_EMULATOR_LISTEN_IP = '127.0.0.1'\n\
             SUSHY_EMULATOR_LISTEN_PORT = {port}\n\
             SUSHY_EMULATOR_SSL_CERT = '{shown}/board.pem'\n\
             SUSHY_EMULATOR_SSL_KEY = '{shown}/board.key'\n\
             SUSHY_EMULATOR_STATE_DIR = '{shown}'\n\
             SUSHY_EMULATOR_AUTH_FILE = '{shown}/users'\n\
             SUSHY_EMULATOR_FAKE_SYSTEMS = [\n\
             {{'uuid': '{N1}', 'name': 'n1', 'power_state': 'On', 'nics': []}},\n\
             {{'uuid': '{N2}', 'name': 'n2', 'power_state': 'On', 'nics': []}}]\n"
        );
        std::fs::write(path.join("config"), config).expect("written");
        std::fs::write(path.join("users"), format!("fence:{PASSWORD}\n")).expect("written");
        let process = Command::new(program)
            .args(["--fake", "--config", &format!("{shown}/config")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut board = Self { folder, port, process };
        let agent = board.agent().build().expect("valid");
        while let Err(error) = agent.monitor().await {
            let ended = board.process.try_wait().expect("a child");
            assert!(ended.is_none(), "the emulator ended: {ended:?}, {error}");
            pause(Duration::from_millis(50)).await.expect("a timer");
        }
        Some(board)
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn builder(&self) -> RedfishBuilder {
        Redfish::builder("board", self.url())
            .plug(node("n1"), "n1")
            .plug(node("n2"), format!("/redfish/v1/Systems/{N2}"))
            .login("fence", "secret")
    }

    fn agent(&self) -> RedfishBuilder {
        let certificate = std::fs::read(self.folder.path().join("board.pem")).expect("made");
        self.builder().authorities(certificate)
    }
}

/// A certificate for 127.0.0.1 that nobody but itself has issued.
fn certify(path: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
        .args(["-keyout", "board.key", "-out", "board.pem", "-subj", "/CN=board"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .current_dir(path)
        .output();
    let made = made.expect("openssl runs");
    assert!(made.status.success(), "{made:?}");
}

fn refusal(result: Result<(), FenceError>) -> String {
    let error = result.expect_err("it cannot");
    assert!(matches!(error, FenceError::Unusable { .. }), "{error}");
    assert_eq!(error.effect(), Effect::None, "nothing was done: {error}");
    error.to_string()
}

#[test]
fn a_real_emulator_is_switched_off_and_on() {
    block_on(async {
        let Some(board) = Board::start().await else { return };
        let agent = board.agent().build().expect("valid");
        assert!(!format!("{agent:?}").contains("secret"));
        assert_eq!(agent.list().await.expect("told"), [node("n1"), node("n2")]);
        let (n1, n2) = (node("n1"), node("n2"));
        assert_eq!(agent.status(&n1).await.expect("told"), Power::On);
        // Both at a time: each system takes some seconds.
        let (off, rebooted) = tokio::join!(agent.off(&n1), agent.reboot(&n2));
        off.expect("confirmed");
        rebooted.expect("confirmed");
        assert_eq!(agent.status(&n1).await.expect("told"), Power::Off);
        assert_eq!(agent.status(&n2).await.expect("told"), Power::On, "back again");
        agent.off(&n1).await.expect("it is off already");
        agent.on(&n1).await.expect("on");
        assert_eq!(agent.status(&n1).await.expect("told"), Power::On);
        let other = agent.off(&node("n3")).await.expect_err("not its node");
        assert!(matches!(other, FenceError::UnknownNode { .. }), "{other}");
        let by_uuid = board.builder().insecure().plug(n1.clone(), N1.to_uppercase());
        let by_uuid = by_uuid.build().expect("valid");
        assert_eq!(by_uuid.status(&n1).await.expect("told"), Power::On);
    });
}

#[test]
fn who_is_not_trusted_gets_no_password_and_switches_nothing() {
    block_on(async {
        let Some(board) = Board::start().await else { return };
        let off = async |builder: RedfishBuilder| {
            let agent = builder.build().expect("valid");
            refusal(agent.off(&node("n1")).await)
        };
        let untrusted = off(board.builder()).await;
        assert!(untrusted.contains("certificate"), "{untrusted}");
        let other = tempfile::tempdir().expect("a folder");
        certify(other.path());
        let other = std::fs::read(other.path().join("board.pem")).expect("made");
        let untrusted = off(board.builder().authorities(other)).await;
        assert!(untrusted.contains("certificate"), "{untrusted}");
        let wrong = off(board.agent().login("fence", "tiger")).await;
        assert!(wrong.contains("password") && !wrong.contains("tiger"), "{wrong}");
        let nameless = off(board.agent().plug(node("n1"), "n9")).await;
        assert!(nameless.contains("0 systems") && nameless.contains(N1), "{nameless}");
        let trusted = board.agent().build().expect("valid");
        assert_eq!(trusted.status(&node("n1")).await.expect("told"), Power::On);
    });
}

/// Debian's `fence_redfish` and ours against one emulator; what each needed is printed.
#[test]
fn fence_redfish_agrees_with_ours() {
    block_on(async {
        let Some(board) = Board::start().await else { return };
        let Some(program) = ha_lab::find_program("fence_redfish") else {
            return ha_lab::skip("fence_redfish is not here; install it (Debian: fence-agents)");
        };
        let theirs = FenceCommand::builder("board", program)
            .parameter("ip", "127.0.0.1")
            .parameter("ipport", board.port.to_string())
            .parameter("username", "fence")
            .parameter("password", "secret")
            .parameter("ssl_insecure", "1")
            .parameter("systems_uri", format!("/redfish/v1/Systems/{N1}"))
            .build()
            .expect("valid");
        let ours = board.agent().build().expect("valid");
        let agents: [(&str, &dyn FenceAgent); 2] = [("fence_redfish", &theirs), ("ours", &ours)];
        for (name, agent) in agents {
            let began = BootClock::new().now();
            assert_eq!(agent.status(&node("n1")).await.expect("told"), Power::On);
            println!("{name}: status in {:?}", BootClock::new().now().since(began));
        }
        ours.off(&node("n1")).await.expect("confirmed");
        assert_eq!(theirs.status(&node("n1")).await.expect("told"), Power::Off);
    });
}
