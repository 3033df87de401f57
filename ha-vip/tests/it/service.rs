//! Routers and interfaces that come and go while a service runs, in a laboratory.

use std::process::Command;
use std::time::Duration;

use ha_core::driver::{Task, pause};
use ha_lab::{Host, Lab};
use ha_vip::VirtualAddress;
use ha_vip::track::{Tracked, Verdict, WatchTracker};
use ha_vip::vrrp::{
    HostConfig, Instance, ReloadError, RouterConfig, RouterHandle, Service, ServiceHandle,
    StateName, SyncGroup,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the test in a host that has an interface `d0` of its own, and nothing else.
fn alone(test: impl AsyncFnOnce() + Send) {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let host: Host = lab.host("a").expect("a host");
        let run = || {
            make("d0");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(test());
        };
        host.run(run).expect("the lab runs");
    });
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip runs");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn make(interface: &str) {
    ip(&format!("link add {interface} type veth peer name peer"));
    ip("link set peer up");
    ip(&format!("address add 10.7.0.1/24 dev {interface}"));
    ip(&format!("link set {interface} up"));
}

fn holds(interface: &str, address: &str) -> bool {
    ip(&format!("address show dev {interface}")).contains(address)
}

fn router(vrid: u8, address: &str) -> RouterConfig {
    let address: VirtualAddress = address.parse().expect("an address");
    let interval = Duration::from_millis(10);
    let config = RouterConfig::builder(vrid).address(address).advert_interval(interval);
    config.startup_patience(Duration::ZERO).build().expect("a configuration")
}

fn config(instances: impl IntoIterator<Item = Instance>) -> HostConfig {
    let builder = HostConfig::builder();
    let builder = instances.into_iter().fold(builder, ha_vip::vrrp::HostBuilder::instance);
    builder.build().expect("a configuration")
}

async fn start(
    instances: impl IntoIterator<Item = Instance>,
) -> (ServiceHandle, Task<Result<ha_vip::vrrp::Stats, ha_vip::vrrp::ServiceError>>) {
    let service = Service::builder(config(instances)).open().await.expect("a service");
    (service.handles(), service.spawn())
}

async fn until(router: &RouterHandle, state: StateName) {
    let reached = router.until(|now| now == state);
    tokio::select! { biased;
        reached = reached => assert_eq!(reached.expect("it runs"), state),
        _timer = pause(PATIENCE) => panic!("{state} was never reached, but {}", router.state()),
    }
}

async fn eventually(why: &str, mut what: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 5 {
        if what() {
            return;
        }
        pause(Duration::from_millis(5)).await.expect("a timer");
    }
    panic!("never happened: {why}");
}

#[test]
fn an_interface_that_is_removed_and_made_again_is_served_again() {
    alone(async || {
        let (handle, task) = start([Instance::new("web", "d0", router(1, "10.7.0.9/24"))]).await;
        let web = handle.router("web").expect("it is configured");
        for _ in 0..3 {
            until(&web, StateName::Active).await;
            eventually("it serves", || holds("d0", "10.7.0.9/24")).await;
            ip("link delete d0");
            until(&web, StateName::Fault).await;
            let snapshot = handle.snapshot().await.expect("it runs");
            assert!(snapshot.to_string().contains("d0: down, fault"), "{snapshot}");
            make("d0");
        }
        until(&web, StateName::Active).await;
        // An interface that is gone keeps nobody from stopping.
        ip("link delete d0");
        task.stop().await.expect("no panic").expect("it ends well");
    });
}

#[test]
fn an_interface_without_an_address_to_send_from_is_waited_for() {
    alone(async || {
        let (handle, task) = start([Instance::new("web", "d0", router(1, "10.7.0.9/24"))]).await;
        let web = handle.router("web").expect("it is configured");
        until(&web, StateName::Active).await;
        ip("link delete d0");
        until(&web, StateName::Fault).await;
        ip("link add d0 type veth peer name peer");
        ip("link set peer up");
        ip("link set d0 up");
        ip("address add 10.7.0.2/24 dev d0");
        until(&web, StateName::Active).await;
        eventually("it serves", || holds("d0", "10.7.0.9/24")).await;
        let snapshot = handle.snapshot().await.expect("it runs");
        assert_eq!(snapshot.routers[0].source.to_string(), "10.7.0.2", "the new address");
        task.stop().await.expect("no panic").expect("it ends well");
        assert!(!holds("d0", "10.7.0.9/24"));
    });
}

#[test]
fn a_renamed_interface_is_a_fault_until_it_has_its_name_again() {
    alone(async || {
        let (handle, task) = start([Instance::new("web", "d0", router(1, "10.7.0.9/24"))]).await;
        let web = handle.router("web").expect("it is configured");
        until(&web, StateName::Active).await;
        ip("link set d0 down");
        ip("link set d0 name d1");
        ip("link set d1 up");
        until(&web, StateName::Fault).await;
        eventually("the address is gone", || !holds("d1", "10.7.0.9/24")).await;
        ip("link set d1 down");
        ip("link set d1 name d0");
        ip("link set d0 up");
        until(&web, StateName::Active).await;
        eventually("it serves", || holds("d0", "10.7.0.9/24")).await;
        task.stop().await.expect("no panic").expect("it ends well");
    });
}

#[test]
fn a_reload_adds_removes_changes_and_restarts_routers_and_leaves_the_others_alone() {
    alone(async || {
        let web = || Instance::new("web", "d0", router(1, "10.7.0.9/24"));
        let mail = |vrid| Instance::new("mail", "d0", router(vrid, "10.7.0.10/24"));
        let old = || Instance::new("old", "d0", router(3, "10.7.0.11/24"));
        let (handle, task) = start([web(), mail(2), old()]).await;
        for name in ["web", "mail", "old"] {
            until(&handle.router(name).expect("configured"), StateName::Active).await;
        }
        let same = handle.reload(config([web(), mail(2), old()])).await.expect("taken");
        assert_eq!(same.to_string(), "nothing changed");

        let (old, new) = (handle.router("old").expect("it is there"), "10.7.0.12/24");
        let other = Instance::new("web", "d0", router(1, "10.7.0.8/24"));
        let added = Instance::new("new", "d0", router(4, new));
        let changes = handle.reload(config([other, mail(5), added])).await.expect("taken");
        assert_eq!(changes.to_string(), "added: new; changed: web; removed: old; restarted: mail");
        let names: Vec<String> =
            handle.routers().iter().map(|router| router.name().to_owned()).collect();
        assert_eq!(names, ["web", "mail", "new"]);
        assert_eq!(handle.router("web").expect("there").state(), StateName::Active);
        until(&handle.router("new").expect("there"), StateName::Active).await;
        until(&handle.router("mail").expect("there"), StateName::Active).await;
        eventually("the addresses are the new ones", || {
            let held = |end: &str| holds("d0", &format!("10.7.0.{end}/24"));
            held("8") && !held("9") && held("10") && !held("11") && held("12")
        })
        .await;
        let ended = old.until(|state| state == StateName::Active).await;
        assert!(ended.is_err(), "who still has a handle to it learns that it is gone");

        let missing = Instance::new("far", "d7", router(9, "10.7.0.20/24"));
        let refused = handle.reload(config([missing])).await.expect_err("there is no d7");
        assert!(matches!(refused, ReloadError::Service(_)), "{refused}");
        assert_eq!(handle.routers().len(), 3, "all is as before");
        task.stop().await.expect("no panic").expect("it ends well");
        for end in 8..=12 {
            assert!(!holds("d0", &format!("10.7.0.{end}/24")));
        }
    });
}

#[test]
fn what_trackers_have_said_holds_after_a_reload_and_for_new_members_of_a_group() {
    alone(async || {
        let (healthy, health) = tokio::sync::watch::channel(true);
        let tracker =
            WatchTracker::new(
                "database",
                health,
                |up| if *up { Verdict::Up } else { Verdict::Down },
            );
        let instance = |name: &str, vrid, address: &str| {
            Instance::new(name, "d0", router(vrid, address)).track(Tracked::new("database"))
        };
        let web = || instance("web", 1, "10.7.0.9/24");
        let service = Service::builder(config([web()])).tracker(tracker).open().await;
        let service = service.expect("a service");
        let (handle, task) = (service.handles(), service.spawn());
        until(&handle.router("web").expect("configured"), StateName::Active).await;

        let both = HostConfig::builder()
            .instance(web())
            .instance(instance("mail", 2, "10.7.0.10/24"))
            .group(SyncGroup::new("all", ["web", "mail"]))
            .build()
            .expect("a configuration");
        let changes = handle.reload(both).await.expect("taken");
        assert_eq!(changes.to_string(), "added: mail");
        let mail = handle.router("mail").expect("configured");
        until(&mail, StateName::Active).await;
        healthy.send_replace(false);
        until(&mail, StateName::Fault).await;
        until(&handle.router("web").expect("configured"), StateName::Fault).await;
        task.stop().await.expect("no panic").expect("it ends well");
    });
}

/// Whether the client can connect to this address.
fn reaches(client: &Host, address: &str) -> bool {
    let address: std::net::SocketAddr = address.parse().expect("an address");
    let limit = Duration::from_millis(300);
    let connect = || std::net::TcpStream::connect_timeout(&address, limit).is_ok();
    client.run(connect).expect("the lab runs")
}

#[test]
fn a_gateway_that_accepts_nobody_holds_its_address_and_lets_nobody_in() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let join = |name: &str, address: &str| lab.host(name)?.join(&lan, address);
        let gateway = join("gateway", "10.7.0.1/24").expect("a host");
        let client = join("client", "10.7.0.9/24").expect("a host");
        let serve = || {
            let _listening = std::net::TcpListener::bind("0.0.0.0:7").expect("a free port");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let instance =
                    |accept| Instance::new("v", "eth0", router(7, "10.7.0.7/24")).accept(accept);
                // What an earlier life has left keeps nobody out.
                let left =
                    ["add table inet ha_vip_eth0_7_v4_3", "add table inet ha_vip_eth0_8_v4_3"];
                for command in left {
                    assert!(Command::new("nft").arg(command).status().expect("nft").success());
                }
                let (handle, task) = start([instance(false)]).await;
                until(&handle.router("v").expect("it is configured"), StateName::Active).await;
                eventually("it holds", || holds("eth0", "10.7.0.7")).await;
                assert!(reaches(&client, "10.7.0.1:7"), "its own address is let in");
                assert!(!reaches(&client, "10.7.0.7:7"), "the virtual one is not");
                let neighbour = || ip("neigh show 10.7.0.7");
                let known = client.run(neighbour).expect("the lab runs");
                assert!(known.contains("lladdr"), "ARP is answered: {known}");
                let tables = || {
                    let output = Command::new("nft").args(["list", "tables"]).output();
                    String::from_utf8(output.expect("nft runs").stdout).expect("text")
                };
                let (own, others) = (tables(), "table inet ha_vip_eth0_8_v4_3\n");
                assert!(
                    own.contains("table inet ha_vip_eth0_7_v4_") && own.contains(others),
                    "{own}"
                );
                assert!(!own.contains("_7_v4_3\n"), "{own}");
                let changes = handle.reload(config([instance(true)])).await.expect("it reloads");
                assert_eq!(changes.restarted, ["v"]);
                eventually("all are let in", || reaches(&client, "10.7.0.7:7")).await;
                eventually("the rules go", || tables() == others).await;
                task.stop().await.expect("no panic").expect("it ran");
            });
        };
        gateway.run(serve).expect("the lab runs");
    });
}

#[test]
fn nobody_is_let_in_at_an_address_of_ipv6_that_neighbours_can_find() {
    use ha_vip::backend::{AddressBackend, MemoryBackend, RefusingBackend};
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let join = |name: &str, address: &str| lab.host(name)?.join(&lan, address);
        let gateway = join("gateway", "10.7.0.1/24").expect("a host");
        let client = join("client", "10.7.0.9/24").expect("a host");
        let set = |host: &Host, address: &str| {
            host.run(|| ip(&format!("address add {address} dev eth0 nodad"))).expect("the lab runs")
        };
        for (host, address) in
            [(&gateway, "fd00::7/64"), (&gateway, "fd00::1/64"), (&client, "fd00::9/64")]
        {
            set(host, address);
        }
        let serve = || {
            let _listening = std::net::TcpListener::bind("[::]:7").expect("a free port");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let held = std::sync::Arc::new(MemoryBackend::new("eth0"));
                let backend = RefusingBackend::new(held, "gateway");
                let address: VirtualAddress = "fd00::7/64".parse().expect("an address");
                assert!(reaches(&client, "[fd00::7]:7"));
                client.run(|| ip("neigh flush dev eth0")).expect("the lab runs");
                for _ in 0..2 {
                    backend.add(address).await.expect("nft runs");
                    assert!(!reaches(&client, "[fd00::7]:7") && reaches(&client, "[fd00::1]:7"));
                }
                let known = client.run(|| ip("neigh show fd00::7")).expect("the lab runs");
                assert!(known.contains("lladdr"), "neighbour discovery is answered: {known}");
                backend.remove(address).await.expect("nft runs");
                assert!(reaches(&client, "[fd00::7]:7"));
                assert_eq!(backend.list().await.expect("memory"), []);
            });
        };
        gateway.run(serve).expect("the lab runs");
    });
}
