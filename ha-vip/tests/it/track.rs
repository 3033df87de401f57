//! Trackers on the real kernel: links, routes, processes, files, commands.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ha_lab::{Host, Lab};
use ha_vip::net::monitor::{Monitor, NetEvent, Subscription};
use ha_vip::track::{
    CommandTracker, FileTracker, LinkTracker, ProcessTracker, RouteMatch, RouteTracker, Tracker,
    Verdict,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Runs a test inside a host's network; the closure gets what changes the network from outside.
fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F + Send) {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = lab.host("a").and_then(|host| host.join(&lan, "10.77.0.1/24"));
        let host = host.expect("a host");
        let inside = host.clone();
        host.run(move || runtime().block_on(test(inside))).expect("the lab runs");
    });
}

/// `ip`, in the network of the thread. Links of the type `ifb` are always up, as `dummy` ones are,
/// and more kernels have them.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}: {status}");
}

async fn next(tracker: &mut dyn Tracker) -> Verdict {
    let changed = tokio::time::timeout(PATIENCE, tracker.changed()).await;
    changed.expect("a verdict in time").expect("it can be tracked")
}

/// Whether the tracker has nothing to say although everything that happened has been read.
async fn is_quiet(tracker: &mut dyn Tracker, subscription: &mut Subscription) -> bool {
    // An event that comes last: whoever reads the same channel has read all before it.
    ip("link add zz-last type ifb");
    let last =
        |event: &NetEvent| matches!(event, NetEvent::LinkGone { name, .. } if name == "zz-last");
    ip("link delete zz-last");
    tokio::time::timeout(PATIENCE, async {
        tokio::select! { biased;
            _verdict = tracker.changed() => false,
            () = event(subscription, last) => true,
        }
    })
    .await
    .expect("the event comes")
}

async fn event(subscription: &mut Subscription, wanted: impl Fn(&NetEvent) -> bool) {
    while !wanted(&subscription.next().await) {}
}

#[test]
fn a_pulled_cable_is_down_and_a_plugged_one_up() {
    on_host(async |host| {
        let monitor = Monitor::open().expect("a monitor");
        let mut link = LinkTracker::new(&monitor, "eth0");
        assert_eq!(next(&mut link).await, Verdict::Up);
        host.link_down().expect("the lab runs");
        assert_eq!(next(&mut link).await, Verdict::Down);
        host.link_up().expect("the lab runs");
        assert_eq!(next(&mut link).await, Verdict::Up);
        ip("link set eth0 down");
        assert_eq!(next(&mut link).await, Verdict::Down);
    });
}

#[test]
fn an_interface_that_is_renamed_or_removed_is_down_until_one_of_its_name_is_there_again() {
    on_host(async |_host| {
        let monitor = Monitor::open().expect("a monitor");
        let mut link = LinkTracker::new(&monitor, "wan0");
        assert_eq!(next(&mut link).await, Verdict::Down); // not there yet
        ip("link add wan0 up type ifb");
        assert_eq!(next(&mut link).await, Verdict::Up);
        // Renamed while it is up, which Linux 6.2 and later allow; another takes its name.
        ip("link set wan0 down");
        assert_eq!(next(&mut link).await, Verdict::Down);
        ip("link set wan0 name old0 up");
        ip("link add wan0 up type ifb");
        assert_eq!(next(&mut link).await, Verdict::Up);
        ip("link delete wan0");
        assert_eq!(next(&mut link).await, Verdict::Down);
        ip("link set old0 down");
        ip("link set old0 name wan0 up");
        assert_eq!(next(&mut link).await, Verdict::Up);
        ip("link set wan0 name new0");
        assert_eq!(next(&mut link).await, Verdict::Down);
    });
}

#[test]
fn a_port_that_leaves_its_bridge_is_still_up() {
    on_host(async |_host| {
        ip("link add br0 type bridge");
        ip("link add wan0 up type ifb");
        ip("link set wan0 master br0");
        let monitor = Monitor::open().expect("a monitor");
        let mut subscription = monitor.subscribe();
        let mut link = LinkTracker::new(&monitor, "wan0");
        assert_eq!(next(&mut link).await, Verdict::Up);
        ip("link set wan0 nomaster");
        assert!(is_quiet(&mut link, &mut subscription).await);
    });
}

#[test]
fn a_link_that_bounces_within_its_delay_has_not_changed() {
    on_host(async |_host| {
        ip("link add wan0 up type ifb");
        let monitor = Monitor::open().expect("a monitor");
        let mut subscription = monitor.subscribe();
        let mut link = LinkTracker::new(&monitor, "wan0").down_delay(Duration::from_hours(1));
        assert_eq!(next(&mut link).await, Verdict::Up);
        ip("link set wan0 down");
        ip("link set wan0 up");
        assert!(is_quiet(&mut link, &mut subscription).await);
        let mut link = LinkTracker::new(&monitor, "wan0").down_delay(Duration::from_millis(30));
        assert_eq!(next(&mut link).await, Verdict::Up);
        ip("link set wan0 down");
        assert_eq!(next(&mut link).await, Verdict::Down); // it has lasted
    });
}

#[test]
fn a_netlink_overrun_is_made_good_by_reading_again() {
    on_host(async |_host| {
        ip("link add wan0 up type ifb");
        ip("link add other0 up type ifb");
        // The smallest the kernel gives: a handful of events.
        let monitor = Monitor::with_receive_buffer(1).expect("a monitor");
        let mut subscription = monitor.subscribe();
        let mut link = LinkTracker::new(&monitor, "wan0");
        let route: RouteMatch = "198.51.100.0/24".parse().expect("a prefix");
        let mut route = RouteTracker::new(&monitor, "route", route);
        assert_eq!(next(&mut link).await, Verdict::Up);
        assert_eq!(next(&mut route).await, Verdict::Down);

        // Nobody reads while this thread is busy: what comes last is lost.
        let addresses = (1..250).map(|host| format!("address add 10.99.0.{host}/32 dev other0\n"));
        let batch: String = addresses.collect();
        let path = scratch("batch");
        std::fs::write(&*path, batch).expect("written");
        ip(&format!("-batch {}", path.display()));
        ip("link set wan0 down");
        ip("route add 198.51.100.0/24 dev other0");

        assert_eq!(next(&mut link).await, Verdict::Down);
        assert_eq!(next(&mut route).await, Verdict::Up);
        let overrun = event(&mut subscription, |event| *event == NetEvent::Overrun);
        tokio::time::timeout(PATIENCE, overrun).await.expect("there was an overrun");
        // The queue is empty again: single events arrive.
        ip("link set wan0 up");
        assert_eq!(next(&mut link).await, Verdict::Up);
        ip("route delete 198.51.100.0/24");
        assert_eq!(next(&mut route).await, Verdict::Down);
    });
}

#[test]
fn a_subscriber_that_sleeps_gets_an_overrun_and_holds_up_nobody() {
    on_host(async |_host| {
        ip("link add other0 up type ifb");
        let monitor = Monitor::open().expect("a monitor");
        let (mut slow, mut quick) = (monitor.subscribe(), monitor.subscribe());
        let path = scratch("lag");
        for (round, verb) in ["add", "delete"].into_iter().cycle().take(6).enumerate() {
            let addresses =
                (1..250).map(|host| format!("address {verb} 10.99.0.{host}/32 dev other0\n"));
            std::fs::write(&*path, addresses.collect::<String>()).expect("written");
            ip(&format!("-batch {}", path.display()));
            let last = "10.99.0.249/32".parse().expect("an address");
            let seen = event(&mut quick, |event| {
                if let NetEvent::AddressAdded { address, .. } = event {
                    return round % 2 == 0 && *address == last;
                }
                matches!(event, NetEvent::AddressRemoved { address, .. }
                    if round % 2 == 1 && *address == last)
            });
            tokio::time::timeout(PATIENCE, seen).await.expect("the quick one hears all");
        }
        let first = tokio::time::timeout(PATIENCE, slow.next()).await.expect("an event");
        assert_eq!(first, NetEvent::Overrun);
    });
}

#[test]
fn a_route_comes_and_goes_also_silently_with_its_link() {
    on_host(async |host| {
        let monitor = Monitor::open().expect("a monitor");
        let wanted: RouteMatch = "203.0.113.0/24".parse().expect("a prefix");
        let gateway = "10.77.0.9".parse().expect("an address");
        let mut any = RouteTracker::new(&monitor, "any", wanted.clone());
        let over = wanted.clone().via(gateway).dev("eth0");
        let mut over = RouteTracker::new(&monitor, "over", over);
        let mut elsewhere = RouteTracker::new(&monitor, "elsewhere", wanted.table(100));
        for tracker in [&mut any, &mut over, &mut elsewhere] {
            assert_eq!(next(tracker).await, Verdict::Down, "{}", tracker.name());
        }
        ip("route add 203.0.113.0/24 via 10.77.0.8 dev eth0");
        assert_eq!(next(&mut any).await, Verdict::Up);
        ip("route replace 203.0.113.0/24 via 10.77.0.9 dev eth0");
        assert_eq!(next(&mut over).await, Verdict::Up);
        ip("route add 203.0.113.0/24 via 10.77.0.9 dev eth0 table 100");
        assert_eq!(next(&mut elsewhere).await, Verdict::Up);
        host.link_down().expect("the lab runs");
        for tracker in [&mut any, &mut over, &mut elsewhere] {
            assert_eq!(next(tracker).await, Verdict::Down, "{}", tracker.name());
        }
        host.link_up().expect("the lab runs");
        for tracker in [&mut any, &mut over, &mut elsewhere] {
            assert_eq!(next(tracker).await, Verdict::Up, "{}", tracker.name());
        }
        // The kernel takes the routes with the link, and says nothing of them.
        ip("link set eth0 down");
        for tracker in [&mut any, &mut over, &mut elsewhere] {
            assert_eq!(next(tracker).await, Verdict::Down, "{}", tracker.name());
        }
    });
}

#[test]
fn a_route_that_goes_silently_with_its_source_address_is_down() {
    on_host(async |_host| {
        ip("link add wan0 up type ifb");
        ip("address add 10.88.0.1/32 dev wan0");
        ip("route add 203.0.113.0/24 dev eth0 src 10.88.0.1");
        let monitor = Monitor::open().expect("a monitor");
        let wanted: RouteMatch = "203.0.113.0/24".parse().expect("a prefix");
        let mut route = RouteTracker::new(&monitor, "route", wanted);
        assert_eq!(next(&mut route).await, Verdict::Up);
        ip("address delete 10.88.0.1/32 dev wan0");
        assert_eq!(next(&mut route).await, Verdict::Down);
    });
}

#[test]
fn a_multipath_and_an_ipv6_route_are_found() {
    on_host(async |_host| {
        ip("link add wan0 up type ifb");
        ip("address add 2001:db8::1/64 dev wan0 nodad");
        ip(
            "route add 203.0.113.0/24 nexthop via 10.77.0.8 dev eth0 nexthop via 10.77.0.9 dev eth0",
        );
        ip("route add 2001:db8:7::/48 via 2001:db8::9");
        let monitor = Monitor::open().expect("a monitor");
        for (to, via) in [("203.0.113.0/24", "10.77.0.9"), ("2001:db8:7::/48", "2001:db8::9")] {
            let wanted: RouteMatch = to.parse().expect("a prefix");
            let wanted = wanted.via(via.parse().expect("an address"));
            let mut route = RouteTracker::new(&monitor, to, wanted);
            assert_eq!(next(&mut route).await, Verdict::Up, "{to} via {via}");
            ip(&format!("route delete {to}"));
            assert_eq!(next(&mut route).await, Verdict::Down, "{to} via {via}");
        }
    });
}

#[test]
fn a_killed_process_is_down_and_its_successor_up() {
    runtime().block_on(async {
        let start = || Command::new("sleep").arg("7654").spawn().expect("sleep runs");
        let (mut first, mut second) = (start(), start());
        let by_line = || ProcessTracker::command_line("sleep", ["sleep", "7654"]);
        let interval = Duration::from_millis(10);
        let mut one = by_line().interval(interval).build().expect("a tracker");
        let mut both = by_line().quorum(2).interval(interval).build().expect("a tracker");
        let mut alone = by_line().quorum_max(1).interval(interval).build().expect("a tracker");
        let mut this = ProcessTracker::pid("first", first.id()).build().expect("a tracker");
        for (tracker, expected) in [
            (&mut one, Verdict::Up),
            (&mut both, Verdict::Up),
            (&mut alone, Verdict::Down), // two are too many
            (&mut this, Verdict::Up),
        ] {
            assert_eq!(next(tracker).await, expected);
        }
        // Not reaped: a zombie does not run.
        first.kill().expect("it runs");
        assert_eq!(next(&mut both).await, Verdict::Down);
        assert_eq!(next(&mut alone).await, Verdict::Up);
        assert_eq!(next(&mut this).await, Verdict::Down);
        second.kill().expect("it runs");
        assert_eq!(next(&mut one).await, Verdict::Down);
        let mut third = start();
        assert_eq!(next(&mut one).await, Verdict::Up);
        for child in [&mut first, &mut second, &mut third] {
            let _ended_already = child.kill();
            child.wait().expect("reaped");
        }
    });
}

/// A path in a directory of its own, which is removed in the end.
struct Scratch(PathBuf);

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _another_test_tells = self.0.parent().map(std::fs::remove_dir_all);
    }
}

fn scratch(name: &str) -> Scratch {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("track-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    Scratch(directory.join(name))
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}

#[test]
fn a_file_is_read_when_it_is_written_replaced_or_removed_and_not_by_the_clock() {
    runtime().block_on(async {
        let path = scratch("load");
        write(&path, "7\n");
        // Within the test only events can bring news.
        let mut file = FileTracker::new("load", &*path).interval(Duration::from_hours(24));
        assert_eq!(next(&mut file).await, Verdict::Number(7));
        write(&path, "-8");
        assert_eq!(next(&mut file).await, Verdict::Number(-8));
        let other = path.with_extension("new");
        write(&other, "9");
        std::fs::rename(&other, &*path).expect("renamed");
        assert_eq!(next(&mut file).await, Verdict::Number(9));
        write(&path, "nonsense");
        assert_eq!(next(&mut file).await, Verdict::Down);
        let problem = file.problem().expect("a problem").to_string();
        assert!(problem.contains("it holds \"nonsense\""), "{problem}");
        std::fs::remove_file(&*path).expect("removed");
        assert_eq!(next(&mut file).await, Verdict::Number(0));
        write(&path, "10");
        assert_eq!(next(&mut file).await, Verdict::Number(10));
        assert_eq!(file.problem(), None);
    });
}

#[test]
fn a_file_that_is_written_in_two_steps_is_never_garbage() {
    runtime().block_on(async {
        let path = scratch("load");
        write(&path, "7");
        let interval = Duration::from_millis(10);
        let file = FileTracker::new("load", &*path).interval(interval);
        let mut file = file.grace(Duration::from_hours(1));
        assert_eq!(next(&mut file).await, Verdict::Number(7));
        for step in ["", "8"] {
            std::fs::remove_file(&*path).expect("removed");
            write(&path, step);
            // It reads the file many times, and the empty one is no news.
            let looked = tokio::time::timeout(interval * 20, file.changed()).await;
            let news = looked.ok().map(|verdict| verdict.expect("it can be tracked"));
            assert_eq!(news, (!step.is_empty()).then_some(Verdict::Number(8)));
        }
    });
}

#[test]
fn a_file_in_a_directory_that_is_made_later_is_found_at_the_interval() {
    runtime().block_on(async {
        let scratch = scratch("later");
        let path = scratch.with_file_name("sub").join("load");
        let file = FileTracker::new("load", &path).missing(Verdict::Down);
        let mut file = file.interval(Duration::from_millis(10));
        assert_eq!(next(&mut file).await, Verdict::Down);
        std::fs::create_dir(path.parent().expect("one")).expect("made");
        write(&path, "3");
        assert_eq!(next(&mut file).await, Verdict::Number(3));
    });
}

#[test]
fn a_command_that_hangs_is_killed_with_its_children_and_is_down() {
    runtime().block_on(async {
        let pids = scratch("pids");
        // A shell that leaves children, in the background and in the foreground.
        let script =
            format!("sleep 7001 & sleep 7002 & echo $! $$ >> {}; sleep 7003", pids.display());
        let mut command = CommandTracker::builder("hangs", "sh")
            .args(["-c", &script])
            .timeout(Duration::from_millis(200))
            .interval(Duration::from_hours(1))
            .build()
            .expect("a tracker");
        assert_eq!(next(&mut command).await, Verdict::Down);
        let started = std::fs::read_to_string(&*pids).expect("it was started");
        assert_eq!(started.lines().count(), 1);
        // It says so as soon as they are told to end; they are gone when the kernel is done.
        let gone = async {
            for pid in started.split_whitespace() {
                while is_running(pid) {
                    let woken = tokio::time::timeout(Duration::from_millis(1), command.changed());
                    assert!(woken.await.is_err(), "nothing changes meanwhile");
                }
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("no process is left over");
    });
}

/// Whether a process is there that is no zombie.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_command_s_children_that_outlive_it_and_a_dropped_tracker_s_command_are_killed() {
    runtime().block_on(async {
        let pids = scratch("pids");
        let script = format!("sleep 7004 & echo $! >> {}", pids.display());
        let builder = CommandTracker::builder("leaves", "sh").args(["-c", &script]);
        let mut command = builder.build().expect("a tracker");
        assert_eq!(next(&mut command).await, Verdict::Up);

        let script = format!("echo $$ >> {}; sleep 7005", pids.display());
        let builder = CommandTracker::builder("dropped", "sh").args(["-c", &script]);
        let mut dropped = builder.timeout(PATIENCE * 2).build().expect("a tracker");
        let two = async {
            while std::fs::read_to_string(&*pids).unwrap_or_default().lines().count() < 2 {
                let woken = tokio::time::timeout(Duration::from_millis(1), dropped.changed());
                assert!(woken.await.is_err(), "it hangs");
            }
        };
        tokio::time::timeout(PATIENCE, two).await.expect("it starts");
        drop(dropped);
        let started = std::fs::read_to_string(&*pids).expect("they were started");
        let gone = async {
            for pid in started.split_whitespace() {
                while is_running(pid) {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("no process is left over");
    });
}

#[test]
fn a_command_turns_after_so_many_runs_and_never_runs_twice_at_once() {
    runtime().block_on(async {
        let (log, verdict) = (scratch("log"), scratch("verdict"));
        write(&verdict, "1");
        // Slower than its interval; notes when another run is under way.
        let script = format!(
            "mkdir {0}.lock || echo twice >> {0}; echo run >> {0}; sleep 0.02; rmdir {0}.lock; \
             exit $(cat {1})",
            log.display(),
            verdict.display(),
        );
        let mut command = CommandTracker::builder("counts", "/bin/sh")
            .args(["-c", &script])
            .interval(Duration::from_millis(1))
            .timeout(PATIENCE)
            .rise_fall(ha_core::health::RiseFall::new(3, 2))
            .init_fail(true)
            .build()
            .expect("a tracker");
        assert_eq!(next(&mut command).await, Verdict::Down); // before the first run
        assert!(!log.exists());
        write(&verdict, "0");
        assert_eq!(next(&mut command).await, Verdict::Up);
        let runs = || std::fs::read_to_string(&*log).expect("it ran");
        assert_eq!(runs().lines().count(), 3);
        write(&verdict, "7");
        assert_eq!(next(&mut command).await, Verdict::Down);
        assert!(runs().lines().count() >= 5 && !runs().contains("twice"), "{}", runs());
    });
}

#[test]
fn a_command_sees_nothing_of_this_program_s_environment_and_one_that_is_missing_is_down() {
    runtime().block_on(async {
        let seen = scratch("seen");
        let script = format!("env > {}; pwd >> {0}", seen.display());
        let builder = CommandTracker::builder("env", "sh").args(["-c", &script]);
        let mut command = builder.env("KEY", "value").build().expect("a tracker");
        assert_eq!(next(&mut command).await, Verdict::Up);
        let seen = std::fs::read_to_string(&*seen).expect("it ran");
        assert!(seen.contains("KEY=value") && seen.ends_with("\n/\n"), "{seen}");
        assert!(!seen.contains("CARGO") && !seen.contains("HOME="), "{seen}");

        let mut missing = CommandTracker::builder("none", "/no/such/program").build().expect("ok");
        assert_eq!(next(&mut missing).await, Verdict::Down);
        let wrong = CommandTracker::builder("", "").interval(Duration::ZERO).build();
        assert_eq!(wrong.expect_err("three problems").problems().len(), 3);
    });
}

#[test]
fn a_command_that_runs_as_another_user_has_none_of_root_s_groups() {
    if !rustix::process::geteuid().is_root() {
        ha_lab::skip("only root may become another user");
        return;
    }
    runtime().block_on(async {
        let script = "test $(id -u) = 65534 && test \"$(id -G)\" = 65534";
        let builder = CommandTracker::builder("nobody", "sh").args(["-c", script]);
        let mut command = builder.run_as(65_534, 65_534).build().expect("a tracker");
        assert_eq!(next(&mut command).await, Verdict::Up);
    });
}
