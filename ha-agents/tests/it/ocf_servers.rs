//! Debian's real agents that run servers and mounts, each in processes and mounts of its own: what a
//! failed test leaves ends with its laboratory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ha_agents::ocf::Ocf;
use ha_agents::{Check, OpContext, ResourceAgent};
use ha_lab::{find_program, require_program};

use super::mount::on_a_host;
use super::ocf_real::{cycle, load, with};

/// The cycle of an agent that keeps the rules.
const CYCLE: &str = "V0 M7 S0 M0 S0 X0 M7 X0";

/// Whether other users exist here; servers become one of them. Skips if not.
pub(super) fn has_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let real =
        map.split_whitespace().nth(2) == Some("4294967295") && rustix::process::geteuid().is_root();
    if !real {
        ha_lab::skip("it needs other users, which an ordinary user's namespace lacks; be root");
    }
    real
}

/// Writes a file that everybody may read.
pub(super) fn write(path: &Path, text: &str) -> String {
    fs::write(path, text).expect("written");
    path.display().to_string()
}

/// Runs a program that prepares something.
pub(super) fn prepare(program: &Path, args: &[&str]) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", program.display());
}

/// The whole cycle; then the server is asked at depth 10 while it runs.
async fn cycles(agent: &Ocf, context: &OpContext) {
    assert_eq!(cycle(agent, context, "VMSMSXMX").await, CYCLE);
    let report = agent.start(context).await.expect("an answer");
    assert_eq!(report.code, Some(0), "{}", report.reason);
    let deep = Check { depth: 10, ..Check::STARTED };
    let report = agent.monitor(context, deep).await.expect("an answer");
    assert_eq!(report.code, Some(0), "{}", report.reason);
    assert_eq!(cycle(agent, context, "XM").await, "X0 M7");
}

#[test]
fn the_real_nginx_serves() {
    on_a_host(async |dir| {
        if require_program("nginx").is_none() || require_program("curl").is_none() {
            return;
        }
        let Some(agent) = load("heartbeat", "nginx").await else { return };
        let path = dir.display();
        let text = format!(
            "pid {path}/nginx.pid;\nerror_log {path}/error.log;\nevents {{\n}}\nhttp {{\n\
             access_log off;\nserver {{\nlisten 127.0.0.1:18080;\n\
             location / {{\nreturn 200 \"test page\";\n}}\n}}\n}}\n"
        );
        let config = write(&dir.join("nginx.conf"), &text);
        let context = with(&[
            ("configfile", &config),
            ("status10url", "http://127.0.0.1:18080/"),
            ("status10regex", "test"),
        ]);
        cycles(&agent, &context).await;
    });
}

#[test]
fn the_real_apache_serves() {
    on_a_host(async |dir| {
        let wget = find_program("wget").or_else(|| require_program("curl"));
        let (Some(_), Some(httpd)) = (wget, require_program("apache2")) else { return };
        let Some(agent) = load("heartbeat", "apache").await else { return };
        if !has_users() {
            return;
        }
        let path = dir.display();
        let modules = "/usr/lib/apache2/modules";
        let text = format!(
            "ServerRoot {path}\nPidFile {path}/apache.pid\nErrorLog {path}/error.log\n\
             ServerName localhost\nListen 127.0.0.1:18081\nUser nobody\nGroup nogroup\n\
             LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
             LoadModule authz_core_module {modules}/mod_authz_core.so\n\
             LoadModule status_module {modules}/mod_status.so\n\
             <Location /server-status>\nSetHandler server-status\n</Location>\n"
        );
        let config = write(&dir.join("apache.conf"), &text);
        let context = with(&[
            ("configfile", &config),
            ("httpd", &httpd.display().to_string()),
            ("statusurl", "http://127.0.0.1:18081/server-status"),
            ("port", "18081"),
            ("testurl", "/server-status"),
            ("testregex10", "apache server status"),
        ]);
        cycles(&agent, &context).await;
    });
}

#[test]
fn the_real_mysql_agent_runs_mariadb() {
    on_a_host(async |dir| {
        let (Some(install), Some(safe)) =
            (require_program("mariadb-install-db"), require_program("mysqld_safe"))
        else {
            return;
        };
        let Some(agent) = load("heartbeat", "mysql").await else { return };
        if !has_users() {
            return;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("permissions");
        let run = dir.join("run");
        fs::create_dir(&run).expect("made");
        prepare(Path::new("chown"), &["mysql:mysql", &run.display().to_string()]);
        let path = |name: &str| dir.join(name).display().to_string();
        let (data, socket) = (path("data"), path("run/mysql.sock"));
        let config = write(
            &dir.join("my.cnf"),
            &format!("[mysqld]\nskip-networking\nsocket={socket}\ninnodb_buffer_pool_size=8M\n"),
        );
        let datadir = format!("--datadir={data}");
        prepare(&install, &["--no-defaults", &datadir, "--user=mysql", "--skip-test-db"]);
        let context = with(&[
            ("binary", &safe.display().to_string()),
            ("config", &config),
            ("datadir", &data),
            ("user", "mysql"),
            ("group", "mysql"),
            ("pid", &path("run/mysql.pid")),
            ("socket", &socket),
            ("log", &path("run/mysql.log")),
        ]);
        cycles(&agent, &context).await;
    });
}

/// The newest `PostgreSQL` of Debian's packages.
pub(super) fn postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let bins = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    bins.filter(|bin| bin.join("postgres").exists()).max()
}

#[test]
fn the_real_pgsql_serves() {
    on_a_host(async |dir| {
        let Some(bin) = postgres() else {
            ha_lab::skip("PostgreSQL is not here; install it (Debian: postgresql)");
            return;
        };
        let Some(agent) = load("heartbeat", "pgsql").await else { return };
        if !has_users() {
            return;
        }
        prepare(Path::new("chown"), &["postgres:postgres", &dir.display().to_string()]);
        let path = |name: &str| dir.join(name).display().to_string();
        let tool = |name: &str| bin.join(name).display().to_string();
        let (data, config) = (path("data"), path("data/postgresql.conf"));
        prepare(
            Path::new("runuser"),
            &["-u", "postgres", "--", &tool("initdb"), "-A", "trust", "-N", "-D", &data],
        );
        let context = with(&[
            ("pgctl", &tool("pg_ctl")),
            ("psql", &tool("psql")),
            ("pgdata", &data),
            ("pgport", "15432"),
            ("pghost", "127.0.0.1"),
            ("socketdir", &path("")),
            ("logfile", &path("log")),
            ("config", &config),
        ]);
        cycles(&agent, &context).await;
    });
}

/// The parameters of a redis of its own, if there is one.
pub(super) fn redis(dir: &Path) -> Option<OpContext> {
    let server = require_program("redis-server")?.display().to_string();
    let client = require_program("redis-cli")?.display().to_string();
    let text = format!("port 16379\nbind 127.0.0.1\ndir {}\nsave \"\"\n", dir.display());
    let config = write(&dir.join("redis.conf"), &text);
    let context = with(&[
        ("bin", &server),
        ("client_bin", &client),
        ("config", &config),
        ("rundir", &dir.display().to_string()),
        ("pidfile_name", "redis.pid"),
        ("socket_name", "redis.sock"),
        ("port", "16379"),
        ("user", "root"),
    ]);
    // The agent takes part in promotion only when it is told that it may.
    Some(context.meta("promotable", "true").meta("master-max", "1"))
}

#[test]
fn the_real_redis_is_promoted() {
    on_a_host(async |dir| {
        let Some(context) = redis(dir) else { return };
        let Some(agent) = load("heartbeat", "redis").await else { return };
        let told = cycle(&agent, &context, "MSMPMDMXM").await;
        assert_eq!(told, "M7 S0 M0 P0 M8 D0 M0 X0 M7");
        assert_eq!(cycle(&agent, &context, "SPMXM").await, "S0 P0 M8 X0 M7");
    });
}

#[test]
fn the_real_squid_serves() {
    on_a_host(async |dir| {
        let Some(squid) = require_program("squid") else { return };
        let Some(agent) = load("heartbeat", "Squid").await else { return };
        if !has_users() {
            return;
        }
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("permissions");
        let path = dir.display();
        let pid = format!("{path}/squid.pid");
        let text = format!(
            "http_port 127.0.0.1:13128\npid_filename {pid}\naccess_log none\n\
             cache_log {path}/cache.log\ncoredump_dir {path}\nshutdown_lifetime 1 second\n\
             pinger_enable off\nvisible_hostname test\n"
        );
        let config = write(&dir.join("squid.conf"), &text);
        let context = with(&[
            ("squid_exe", &squid.display().to_string()),
            ("squid_conf", &config),
            ("squid_pidfile", &pid),
            ("squid_port", "13128"),
        ]);
        let told = cycle(&agent, &context, "VMSMXMX").await;
        assert_eq!(told, "V0 M7 S0 M0 X0 M7 X0");
    });
}

#[test]
fn the_real_filesystem_mounts() {
    on_a_host(async |dir| {
        if require_program("modprobe").is_none() {
            return;
        }
        let Some(agent) = load("heartbeat", "Filesystem").await else { return };
        let (at, other) = (dir.join("at"), dir.join("other"));
        for folder in [&at, &other] {
            fs::create_dir(folder).expect("made");
        }
        let (at_name, other) = (at.display().to_string(), other.display().to_string());
        let is_mounted = || {
            let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
            mounts.contains(&format!(" {at_name} "))
        };
        let begin = [("directory", at_name.as_str())];
        let tmpfs = [("device", "tmpfs"), ("fstype", "tmpfs"), ("options", "size=4m")];
        let bind = [("device", other.as_str()), ("fstype", "none"), ("options", "bind")];
        for more in [tmpfs, bind] {
            let context = with(&[&begin[..], &more].concat());
            assert_eq!(cycle(&agent, &context, "VMSM").await, "V0 M7 S0 M0", "{more:?}");
            assert!(is_mounted());
            assert_eq!(cycle(&agent, &context, "SXMX").await, "S0 X0 M7 X0", "{more:?}");
            assert!(!is_mounted());
        }
        let nonesuch = [("device", "/dev/nonesuch"), ("fstype", "ext4")];
        let context = with(&[&begin[..], &nonesuch].concat());
        assert_eq!(cycle(&agent, &context, "VMSX").await, "V0 M7 S5 X0");
    });
}

#[test]
fn the_real_filesystem_mounts_a_device_and_frees_it_from_its_holders() {
    on_a_host(async |dir| {
        let (Some(_), Some(mkfs), Some(losetup)) =
            (require_program("modprobe"), require_program("mkfs.ext4"), require_program("losetup"))
        else {
            return;
        };
        let Some(agent) = load("heartbeat", "Filesystem").await else { return };
        let (image, at) = (dir.join("image"), dir.join("at"));
        fs::create_dir(&at).expect("made");
        let file = fs::File::create(&image).expect("made");
        file.set_len(16 * 1024 * 1024).expect("a size");
        let image = image.display().to_string();
        prepare(&mkfs, &["-q", "-F", &image]);
        let made = Command::new(&losetup).args(["--show", "-f", &image]).output().expect("it runs");
        if !made.status.success() {
            ha_lab::skip("the kernel gives no loop device here; be root where there are some");
            return;
        }
        let device = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let context = with(&[
            ("device", &device),
            ("directory", &at.display().to_string()),
            ("fstype", "ext4"),
        ]);
        assert_eq!(cycle(&agent, &context, "VMSMmWS").await, "V0 M7 S0 M0 m0 W0 S0");
        let mut holder = Command::new("sleep").arg("1000").current_dir(&at).spawn().expect("one");
        assert_eq!(cycle(&agent, &context, "XMX").await, "X0 M7 X0");
        assert!(!holder.wait().expect("it ended").success(), "killed by the agent");
        prepare(&losetup, &["-d", &device]);
    });
}
