//! Units of systemd: against the real one where it runs, and against a mock of its D-Bus interface
//! on a bus of the test's own.
#![expect(
    clippy::disallowed_types,
    clippy::unused_self,
    clippy::used_underscore_binding,
    reason = "what the macro for D-Bus interfaces makes, and asks for"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_agents::systemd::Unit;
use ha_agents::{AgentError, Check, OpContext, Outcome, Report, ResourceAgent};
use ha_core::driver::pause;
use ha_core::effect::Effect;
use ha_lab::require_program;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedObjectPath};
use zbus::{Connection, connection, interface};

use super::{block_on, context};

const FOLDER: &str = "/org/freedesktop/systemd1/unit";

/// A D-Bus daemon of the test's own.
struct PrivateBus {
    daemon: Child,
    address: String,
}

impl PrivateBus {
    fn start(dir: &Path) -> Option<Self> {
        let program = require_program("dbus-daemon")?;
        let mut daemon = Command::new(program)
            .args(["--session", "--nofork", "--print-address"])
            .arg(format!("--address=unix:path={}", dir.join("bus").display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let mut address = String::new();
        let output = daemon.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut address).expect("its address");
        Some(Self { daemon, address: address.trim().to_owned() })
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        drop(self.daemon.kill());
        drop(self.daemon.wait());
    }
}

#[derive(Debug, Clone)]
struct Told {
    load: &'static str,
    active: &'static str,
    result: &'static str,
}

const STOPPED: Told = Told { load: "loaded", active: "inactive", result: "success" };

#[derive(Debug, Default)]
struct World {
    units: BTreeMap<String, Told>,
    calls: Vec<String>,
    jobs: u32,
    /// What the next reading of files does instead.
    trouble: Option<Trouble>,
    /// What has outlived SIGKILL; `None`: an old systemd, which cannot tell.
    left: Option<Vec<u32>>,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// It is refused.
    Refuses,
    /// It gives no answer.
    Hangs,
}

type Shared = Arc<Mutex<World>>;

fn path(unit: &str) -> OwnedObjectPath {
    let name: String =
        unit.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    ObjectPath::try_from(format!("{FOLDER}/{name}")).expect("a path").into()
}

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum MockError {
    #[zbus(error)]
    ZBus(zbus::Error),
    NoSuchUnit(String),
    ShuttingDown(String),
    UnitMasked(String),
}

/// The part of systemd's manager that the agent calls. What happens is in the unit's name.
struct MockManager(Shared);

impl MockManager {
    async fn job(
        &self,
        verb: &str,
        unit: &str,
        emitter: &SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, MockError> {
        let number = {
            let mut world = self.0.lock().expect("no panic");
            world.calls.push(format!("{verb} {unit}"));
            world.jobs += 1;
            world.jobs
        };
        let job = ObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{number}"));
        let job = job.expect("a path");
        let (active, result) = match (verb, unit) {
            (_, "missing.service") => return Err(MockError::NoSuchUnit("not found".into())),
            (_, "masked.service") => return Err(MockError::UnitMasked("it is masked".into())),
            // Its job never ends, and is there: the mock has an object for it.
            ("start", "slow.service") => {
                emitter.connection().object_server().at(&job, MockJob).await?;
                return Ok(job.into());
            }
            ("start", "broken.service") => ("failed", "exit-code"),
            // It does not end by SIGKILL.
            ("stop", "immortal.service") => ("failed", "timeout"),
            ("stop", unit) if unit != "stuck.service" => ("inactive", "success"),
            // It runs and ends.
            ("start", "once.service") => ("inactive", "success"),
            _ => ("active", "success"),
        };
        let told = Told { load: "loaded", active, result };
        self.0.lock().expect("no panic").units.insert(unit.to_owned(), told);
        // Nobody is told of the end of this one, and its object is gone.
        if unit != "forgotten.service" {
            // Of somebody else's job first.
            let other = ObjectPath::try_from("/org/freedesktop/systemd1/job/9999").expect("one");
            Self::job_removed(emitter, 9999, other, "other.service", "failed").await?;
            let ended = if active == "failed" { "failed" } else { "done" };
            Self::job_removed(emitter, number, job.clone(), unit, ended).await?;
        }
        Ok(job.into())
    }
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl MockManager {
    fn subscribe(&self) {}

    async fn reload(&self) -> Result<(), MockError> {
        let trouble = {
            let mut world = self.0.lock().expect("no panic");
            world.calls.push("reload".to_owned());
            world.trouble.take()
        };
        match trouble {
            None => Ok(()),
            Some(Trouble::Refuses) => Err(MockError::ShuttingDown("not now".into())),
            Some(Trouble::Hangs) => std::future::pending().await,
        }
    }

    fn get_unit_processes(&self, unit: &str) -> zbus::fdo::Result<Vec<(String, u32, String)>> {
        let mut world = self.0.lock().expect("no panic");
        world.calls.push(format!("processes {unit}"));
        let Some(left) = &world.left else {
            return Err(zbus::fdo::Error::UnknownMethod("what?".into()));
        };
        let process = |pid: &u32| ("/system.slice".to_owned(), *pid, "/bin/hung".to_owned());
        Ok(left.iter().map(process).collect())
    }

    async fn load_unit(
        &self,
        unit: &str,
        #[zbus(object_server)] server: &zbus::ObjectServer,
    ) -> Result<OwnedObjectPath, MockError> {
        let path = path(unit);
        let (shared, name) = (Arc::clone(&self.0), unit.to_owned());
        server.at(&path, MockUnit(shared, name)).await?;
        let (shared, name) = (Arc::clone(&self.0), unit.to_owned());
        server.at(&path, MockService(shared, name)).await?;
        Ok(path)
    }

    async fn start_unit(
        &self,
        unit: &str,
        _mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, MockError> {
        self.job("start", unit, &emitter).await
    }

    async fn stop_unit(
        &self,
        unit: &str,
        _mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, MockError> {
        self.job("stop", unit, &emitter).await
    }

    async fn reload_unit(
        &self,
        unit: &str,
        _mode: &str,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<OwnedObjectPath, MockError> {
        self.job("reload", unit, &emitter).await
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

struct MockUnit(Shared, String);
struct MockService(Shared, String);
struct MockJob;

fn told(shared: &Shared, unit: &str) -> Told {
    let world = shared.lock().expect("no panic");
    let absent = Told { load: "not-found", ..STOPPED };
    match unit {
        "missing.service" => absent,
        "masked.service" => Told { load: "masked", ..STOPPED },
        _ => world.units.get(unit).cloned().unwrap_or(STOPPED),
    }
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl MockUnit {
    #[zbus(property)]
    fn load_state(&self) -> &'static str {
        told(&self.0, &self.1).load
    }

    #[zbus(property)]
    fn active_state(&self) -> &'static str {
        told(&self.0, &self.1).active
    }

    #[zbus(property)]
    fn sub_state(&self) -> &'static str {
        "mocked"
    }
}

#[interface(name = "org.freedesktop.systemd1.Service")]
impl MockService {
    #[zbus(property)]
    fn result(&self) -> &'static str {
        told(&self.0, &self.1).result
    }
}

#[interface(name = "org.freedesktop.systemd1.Job")]
impl MockJob {
    #[zbus(property)]
    fn state(&self) -> &'static str {
        "running"
    }
}

/// The mock, and what the agent under test needs.
struct Mock {
    dir: tempfile::TempDir,
    bus: PrivateBus,
    connection: Connection,
    world: Shared,
}

impl Mock {
    async fn start() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let bus = PrivateBus::start(dir.path())?;
        let world = Shared::default();
        let connection = connection::Builder::address(bus.address.as_str())
            .expect("an address")
            .serve_at("/org/freedesktop/systemd1", MockManager(Arc::clone(&world)))
            .expect("served")
            .name("org.freedesktop.systemd1")
            .expect("a name")
            .build()
            .await
            .expect("connected");
        Some(Self { dir, bus, connection, world })
    }

    fn unit(&self, name: &str) -> Unit {
        let unit = Unit::new(name).expect("a name");
        unit.address(&self.bus.address).runtime_directory(self.dir.path().join("run"))
    }

    fn set(&self, unit: &str, active: &'static str) {
        let told = Told { active, ..STOPPED };
        self.world.lock().expect("no panic").units.insert(unit.to_owned(), told);
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().expect("no panic").calls)
    }
}

async fn ask(agent: &Unit, context: &OpContext, letter: char) -> Report {
    let report = match letter {
        'S' => agent.start(context).await,
        'X' => agent.stop(context).await,
        'R' => agent.reload(context).await,
        'V' => agent.validate(context).await,
        _ => agent.monitor(context, Check::PROBE).await,
    };
    report.expect("an answer")
}

async fn outcomes(agent: &Unit, letters: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for letter in letters.chars() {
        outcomes.push(ask(agent, &context(), letter).await.outcome);
    }
    outcomes
}

use Outcome::{GenericError, NotInstalled, NotRunning, Success};

#[test]
fn a_mocked_unit_goes_through_its_cycle_and_files_are_read_again_once() {
    block_on(async {
        let Some(mock) = Mock::start().await else { return };
        let agent = mock.unit("good");
        let told = outcomes(&agent, "VMSMSRXMX").await;
        let done = [NotRunning, Success, Success, Success, Success, Success, NotRunning, Success];
        assert_eq!(told, [&[Success][..], &done].concat());
        outcomes(&agent, "SX").await;
        let calls = mock.calls();
        assert_eq!(calls[..2], ["reload", "start good.service"]);
        assert_eq!(calls.iter().filter(|call| *call == "reload").count(), 1, "{calls:?}");
        let drop_in = mock.dir.path().join("run/good.service.d/99-ha-agents.conf");
        let text = std::fs::read_to_string(&drop_in).expect("written");
        assert!(text.contains("[Service]\nRestart=no\n"), "{text}");
        agent.release().await.expect("released");
        assert!(!drop_in.exists());
        assert_eq!(mock.calls(), ["reload"]);
        agent.release().await.expect("nothing to do");
        assert_eq!(mock.calls(), Vec::<String>::new());
        // What is no service has no Restart=, and who wants it keeps it.
        outcomes(&mock.unit("data.mount"), "S").await;
        outcomes(&mock.unit("kept").keep_restart(), "S").await;
        assert_eq!(mock.calls(), ["start data.mount", "start kept.service"]);
    });
}

#[test]
fn a_mocked_unit_that_fails_is_told_with_systemds_words() {
    block_on(async {
        let Some(mock) = Mock::start().await else { return };
        let report = ask(&mock.unit("broken"), &context(), 'S').await;
        assert_eq!(report.outcome, GenericError);
        assert!(report.reason.contains("failed (mocked), result exit-code"), "{report:?}");
        let report = ask(&mock.unit("broken"), &context(), 'M').await;
        assert_eq!(report.outcome, NotRunning);
        assert!(report.reason.contains("exit-code"), "{report:?}");
        // It ran and ended: nothing serves.
        assert_eq!(outcomes(&mock.unit("once"), "S").await, [GenericError]);
        for name in ["missing", "masked"] {
            let told = outcomes(&mock.unit(name), "VMS").await;
            assert_eq!(told, [NotInstalled; 3], "{name}");
        }
        assert_eq!(outcomes(&mock.unit("missing"), "X").await, [Success]);
        mock.set("stuck.service", "active");
        assert_eq!(outcomes(&mock.unit("stuck"), "X").await, [GenericError]);
        // systemd forgot to tell of the end: it is looked for.
        assert_eq!(outcomes(&mock.unit("forgotten"), "SX").await, [Success, Success]);
    });
}

/// systemd calls a unit failed, too, of which processes are left that not even SIGKILL ends: they
/// hold what the unit holds, and starting it elsewhere would be twice.
#[test]
fn a_mocked_unit_whose_processes_outlive_sigkill_is_not_stopped() {
    block_on(async {
        let Some(mock) = Mock::start().await else { return };
        let agent = mock.unit("immortal");
        let left = |pids: Option<Vec<u32>>| mock.world.lock().expect("no panic").left = pids;
        left(Some(vec![4711]));
        assert_eq!(outcomes(&agent, "S").await, [Success]);
        mock.calls();
        let report = ask(&agent, &context(), 'X').await;
        assert_eq!(report.outcome, GenericError);
        assert!(report.reason.contains("result timeout") && report.reason.contains("4711"));
        let report = ask(&agent, &context(), 'M').await;
        assert_eq!(report.outcome, GenericError);
        assert!(report.reason.contains("4711"), "{report:?}");
        left(Some(Vec::new()));
        assert_eq!(outcomes(&agent, "MX").await, [NotRunning, Success]);
        left(None);
        assert_eq!(outcomes(&agent, "MX").await, [NotRunning, Success]);
        // Nobody asks for the processes of what is not failed.
        left(Some(vec![4711]));
        mock.calls();
        assert_eq!(outcomes(&mock.unit("good"), "MSMXM").await[4], NotRunning);
        assert_eq!(mock.calls(), ["reload", "start good.service", "stop good.service"]);
    });
}

/// Until systemd has read the drop-in, its `Restart=` holds.
#[test]
fn a_mocked_systemd_that_has_not_read_its_files_is_asked_again() {
    block_on(async {
        let Some(mock) = Mock::start().await else { return };
        let trouble = |it| mock.world.lock().expect("no panic").trouble = Some(it);
        let agent = mock.unit("good");
        trouble(Trouble::Refuses);
        assert_eq!(outcomes(&agent, "S").await, [GenericError]);
        assert_eq!(mock.calls(), ["reload"], "nothing was started");
        trouble(Trouble::Hangs);
        let short = context().timeout(Duration::from_millis(500));
        let error = agent.start(&short).await.expect_err("no answer");
        assert!(matches!(error, AgentError::TimedOut { .. }), "{error}");
        assert_eq!(mock.calls(), ["reload"]);
        // The program may have been another one.
        let agent = mock.unit("good");
        assert_eq!(outcomes(&agent, "SX").await, [Success, Success]);
        assert_eq!(outcomes(&agent, "S").await, [Success]);
        let starts = ["start good.service", "stop good.service", "start good.service"];
        assert_eq!(mock.calls(), [&["reload"][..], &starts].concat());

        trouble(Trouble::Refuses);
        agent.release().await.expect_err("refused");
        agent.release().await.expect("released");
        agent.release().await.expect("nothing to do");
        assert_eq!(mock.calls(), ["reload", "reload"]);
        let left = std::fs::read_dir(mock.dir.path().join("run/good.service.d")).expect("there");
        assert_eq!(left.count(), 0);
    });
}

#[test]
fn a_mocked_unit_on_its_way_is_waited_for_but_not_for_ever() {
    block_on(async {
        let Some(mock) = Mock::start().await else { return };
        let agent = mock.unit("lazy");
        mock.set("lazy.service", "activating");
        let context = context();
        let look = agent.monitor(&context, Check::STARTED);
        let change = async {
            pause(Duration::from_millis(100)).await.expect("a timer");
            mock.set("lazy.service", "active");
        };
        let (report, ()) = tokio::join!(look, change);
        assert_eq!(report.expect("an answer").outcome, Success);
        mock.set("lazy.service", "deactivating");
        let short = super::context().timeout(Duration::from_millis(500));
        let error = agent.monitor(&short, Check::STARTED).await.expect_err("no answer");
        assert!(matches!(error, AgentError::TimedOut { .. }), "{error}");
        let error = mock.unit("slow").start(&short).await.expect_err("no answer");
        assert_eq!(error.effect(), Effect::Unknown);
        // Nobody answers on that bus: also unknown.
        let agent = Unit::new("good").expect("a name").address("unix:path=/nowhere");
        let error = agent.start(&short).await.expect_err("no bus");
        assert!(matches!(error, AgentError::Io { .. }), "{error}");
        let wrong = super::context().parameter("port", "80");
        assert_eq!(ask(&mock.unit("good"), &wrong, 'S').await.outcome, Outcome::NotConfigured);
    });
}

#[test]
fn the_death_of_a_mocked_unit_is_told() {
    block_on(async {
        let Some(mock) = Mock::start().await else { return };
        let agent = mock.unit("mortal");
        outcomes(&agent, "S").await;
        let die = async {
            mock.set("mortal.service", "failed");
            let server = mock.connection.object_server();
            let unit = server.interface::<_, MockUnit>(path("mortal.service")).await;
            let unit = unit.expect("served");
            unit.get().await.active_state_changed(unit.signal_emitter()).await.expect("told");
        };
        let death = agent.death();
        tokio::pin!(death);
        let first = tokio::select! { biased;
            told = &mut death => told,
            _while_it_lives = pause(Duration::from_millis(200)) => String::new(),
        };
        assert_eq!(first, "", "it lives");
        let (told, ()) = tokio::join!(death, die);
        assert!(told.contains("mortal.service is failed"), "{told}");
    });
}

#[test]
fn names_of_units_are_names() {
    for (name, full) in [("nginx", "nginx.service"), ("a@b.socket", "a@b.socket")] {
        assert_eq!(Unit::new(name).expect("a name").name(), full);
    }
    for name in ["", ".service", "../x", "a b", &"x".repeat(300)] {
        Unit::new(name).expect_err(name);
    }
}

/// The real one, where it runs: a transient service that this test makes.
#[test]
fn a_unit_of_the_real_systemd_goes_through_its_cycle() {
    if !Path::new("/run/systemd/system").exists() {
        eprintln!("skipped a_unit_of_the_real_systemd: systemd does not run here");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        ha_lab::skip("the system's units are root's; be root");
        return;
    }
    block_on(async {
        let name = format!("ha-agents-test-{}", std::process::id());
        let file = format!("/run/systemd/system/{name}.service");
        let text = "[Service]\nType=exec\nExecStart=/bin/sleep 1000\nRestart=always\n";
        std::fs::write(&file, text).expect("written");
        let agent = Unit::new(&name).expect("a name");
        let told = outcomes(&agent, "MSMSXMX").await;
        agent.release().await.expect("released");
        std::fs::remove_file(&file).expect("removed");
        let expected = [NotRunning, Success, Success, Success, Success, NotRunning, Success];
        assert_eq!(told, expected);
    });
}
