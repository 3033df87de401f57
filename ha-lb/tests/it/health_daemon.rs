//! Real servers that a test starts on free ports, in a folder of its own, and kills at its end.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ha_lb::health::{Failed, HealthCheck, Passed};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// How long a server may take to do what a test waits for; builds may run beside it.
const PATIENCE: Duration = Duration::from_mins(2);

/// A server; killed when dropped, also by a test that fails.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn kill(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }

    /// The standard input of a program that was started with one.
    pub(crate) fn input(&mut self) -> &mut std::process::ChildStdin {
        self.0.stdin.as_mut().expect("an input")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder for one user's servers; servers that refuse to be root run as that user.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
    user: Option<(u32, u32)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&folder, open).expect("ours");
        Self { folder, user: None }
    }

    /// For a user of this name, if the test is root; otherwise for the test's own.
    pub(crate) fn of(user: &str) -> Self {
        let mut place = Self::new();
        let users = std::fs::read_to_string("/etc/passwd").expect("users");
        let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let number = |text: &str| text.parse::<u32>().expect("a number");
        let ids = fields.into_iter().find(|fields| fields[0] == user);
        if rustix::process::geteuid().is_root() {
            place.user = ids.map(|fields| (number(fields[2]), number(fields[3])));
            place.give(place.path());
        }
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder, as text.
    pub(crate) fn join(&self, name: &str) -> String {
        self.path().join(name).to_str().expect("text").to_owned()
    }

    fn give(&self, path: &Path) {
        if let Some((user, group)) = self.user {
            chown(path, Some(user), Some(group)).expect("root may");
        }
    }

    /// Writes a file that only the user may read.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("ours");
        self.give(&path);
        self.join(name)
    }

    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program(name).expect(name));
        command.args(args).current_dir(self.path());
        command.env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin").env("LC_ALL", "C.UTF-8");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    /// Runs a program to its end; it must succeed.
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> String {
        let output = self.command(name, args).stdin(Stdio::null()).output().expect(name);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {args:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a program that reads a text, to its end.
    pub(crate) fn feed(&self, name: &str, args: &[&str], text: &str) {
        let input = std::fs::File::open(self.write("input", text)).expect("written");
        let status = self.command(name, args).stdin(input).stdout(Stdio::null()).status();
        assert!(status.expect(name).success(), "{name} {args:?}");
    }

    /// Starts a server; what it says goes to `NAME.log` of the folder.
    pub(crate) fn start(&self, name: &str, args: &[&str]) -> Daemon {
        let log = std::fs::File::create(self.path().join(format!("{name}.log"))).expect("a log");
        let copy = log.try_clone().expect("a log");
        let mut command = self.command(name, args);
        command.stdin(Stdio::piped()).stdout(log).stderr(copy);
        Daemon(command.spawn().expect(name))
    }
}

/// Where a program is.
fn program(name: &str) -> Option<PathBuf> {
    let postgres = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let postgres = postgres.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    ["/usr/sbin", "/usr/bin"]
        .map(PathBuf::from)
        .into_iter()
        .chain(postgres)
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
}

/// Whether the test must be skipped, as one of the programs or files is missing; says so.
pub(crate) fn missing(test: &str, needed: &[&str]) -> bool {
    let found = |name: &&&str| {
        program(name).is_some() || Path::new(**name).is_absolute() && Path::new(**name).exists()
    };
    let Some(absent) = needed.iter().find(|name| !found(name)) else { return false };
    let skipped = format!("skipped {test}: {absent} is not installed");
    assert!(std::env::var_os("HA_REQUIRE_ALL").is_none_or(|value| value != "1"), "{skipped}");
    eprintln!("{skipped}");
    true
}

/// `N` addresses that are free, all different.
pub(crate) async fn free<const N: usize>() -> [SocketAddr; N] {
    let mut listeners = Vec::new();
    for _ in 0..N {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
    }
    let addresses = listeners.iter().map(|listener| listener.local_addr().expect("bound"));
    let addresses: Vec<_> = addresses.collect();
    addresses.try_into().expect("so many")
}

/// Checks until `enough` is satisfied with the result, and returns its reason.
async fn until(
    check: &dyn HealthCheck,
    address: SocketAddr,
    enough: impl Fn(&Result<Passed, Failed>) -> bool,
) -> String {
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let mut last = None;
    let settled = async {
        loop {
            pace.tick().await;
            let result = check.check(&address.into()).await;
            if enough(&result) {
                return result;
            }
            last = Some(result);
        }
    };
    let settled = tokio::time::timeout(PATIENCE, settled).await;
    assert!(settled.is_ok(), "{check:?} waited in vain, last {last:?}");
    match settled.expect("in time") {
        Ok(passed) => passed.reason().to_owned(),
        Err(failed) => failed.reason().to_owned(),
    }
}

/// Waits until the check passes; returns its reason.
pub(crate) async fn passes(check: &dyn HealthCheck, address: SocketAddr) -> String {
    until(check, address, Result::is_ok).await
}

/// Waits until the check fails with these words; returns the whole reason.
pub(crate) async fn fails(check: &dyn HealthCheck, address: SocketAddr, words: &str) -> String {
    let with_words = |result: &Result<Passed, Failed>| {
        result.as_ref().is_err_and(|failed| failed.reason().contains(words))
    };
    until(check, address, with_words).await
}

/// The one result of a check: what passed starts with `+`, what failed with `-`.
pub(crate) async fn once(check: &dyn HealthCheck, address: SocketAddr) -> String {
    let target = address.into();
    let result = tokio::time::timeout(PATIENCE, check.check(&target)).await;
    match result.expect("it ends") {
        Ok(passed) => format!("+{passed}"),
        Err(failed) => format!("-{failed}"),
    }
}

/// A root, and a certificate of `shop.example` and 127.0.0.1 for three days: `root.pem`,
/// `server.pem` and `server.key` in the folder.
pub(crate) fn certificates(place: &Place) {
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let run = |args: &[&str]| place.run("openssl", args);
    let root = ["req", "-x509", "-keyout", "root.key", "-out", "root.pem", "-subj", "/CN=root"];
    run(&[&root[..], &curve, &["-days", "30"]].concat());
    let request = ["req", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=shop"];
    run(&[&request[..], &curve].concat());
    place.write("names", "subjectAltName=DNS:shop.example,IP:127.0.0.1");
    let sign = ["x509", "-req", "-in", "server.csr", "-out", "server.pem", "-days", "3"];
    let by = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-extfile", "names"];
    run(&[&sign[..], &by].concat());
}
