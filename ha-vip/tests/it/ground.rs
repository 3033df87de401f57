//! Where the addresses of a router are, in a laboratory: with its virtual link-layer address, and
//! on other interfaces than the adverts.

use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use ha_core::driver::pause;
use ha_lab::{Host, Lab};
use ha_vip::VirtualAddress;
use ha_vip::vrrp::{HostConfig, Instance, RouterConfig, Service, StateName};

use crate::real_kernel::{ear, hear, hosts};

const VIP: &str = "10.77.0.200";
const VIRTUAL: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];

fn config() -> RouterConfig {
    let address: VirtualAddress = format!("{VIP}/24").parse().expect("an address");
    let interval = Duration::from_millis(100);
    RouterConfig::builder(51).address(address).advert_interval(interval).build().expect("valid")
}

fn in_runtime<R: Send>(host: &Host, test: impl AsyncFnOnce() -> R + Send) -> R {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test())
    };
    host.run(run).expect("the lab runs")
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip runs");
    String::from_utf8(output.stdout).expect("text")
}

/// Waits until the host has found the link-layer address of the virtual one by itself.
async fn asks(client: &Host) -> [u8; 6] {
    let vip: IpAddr = VIP.parse().expect("an address");
    client.forget_neighbours(Some(vip)).expect("forgotten");
    for _ in 0..4_000 {
        let call =
            || UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"?", (vip, 9)));
        client.run(call).expect("the lab runs").expect("sent");
        if let Some(mac) = client.neighbour(vip).expect("its neighbours") {
            return mac;
        }
        pause(Duration::from_millis(5)).await.expect("a timer");
    }
    panic!("nobody answers for {vip}");
}

#[test]
fn a_virtual_mac_answers_for_the_address_alone_and_the_adverts_come_from_it() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, client] = hosts(&lab);
        let ear = ear(&client);
        in_runtime(&a, async || {
            let instance = Instance::new("web", "eth0", config()).virtual_mac(true);
            let host = HostConfig::builder().instance(instance).build().expect("valid");
            let service = Service::builder(host).open().await.expect("a service");
            let handle = service.handle();
            let task = service.spawn();
            handle.until(|state| state == StateName::Active).await.expect("it runs");
            assert_eq!(asks(&client).await, VIRTUAL);
            let advert = hear(&ear, |frame| frame[12..14] == [8, 0] && frame[23] == 112);
            assert_eq!(advert[6..12], VIRTUAL, "switches learn where it is");
            let shown = ip("address show dev vrrp.51");
            assert!(shown.contains(VIP), "{shown}");
            assert!(!ip("address show dev eth0").contains(VIP));
            assert_eq!(a.sysctl("net.ipv4.conf.eth0.arp_ignore").expect("read"), "1");

            task.stop().await.expect("no panic").expect("it ends well");
            assert!(!ip("link").contains("vrrp.51"), "the interface goes with the router");
            assert_eq!(a.sysctl("net.ipv4.conf.eth0.arp_ignore").expect("read"), "0");
        });
    });
}

#[test]
fn an_address_on_another_interface_comes_and_goes_with_the_router() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, _b] = hosts(&lab);
        let inside = lab.network("inside").expect("a network");
        let a = a.join(&inside, "10.78.0.1/24").expect("joined");
        let (other, on): (VirtualAddress, IpAddr) =
            ("10.78.0.200/24".parse().expect("valid"), "10.78.0.200".parse().expect("valid"));
        in_runtime(&a, async || {
            let address: VirtualAddress = format!("{VIP}/24").parse().expect("an address");
            let router = RouterConfig::builder(51).address(address).unadvertised(other);
            let router = router.advert_interval(Duration::from_millis(10)).build().expect("valid");
            let instance = Instance::new("web", "eth0", router).address_on(on, "eth1");
            let host = HostConfig::builder().instance(instance).build().expect("valid");
            let service = Service::builder(host).open().await.expect("a service");
            let handle = service.handle();
            let task = service.spawn();
            handle.until(|state| state == StateName::Active).await.expect("it runs");
            let there = || {
                let on = |interface: &str| ip(&format!("address show dev {interface}"));
                (on("eth0").contains(VIP), on("eth1").contains("10.78.0.200/24"))
            };
            while there() != (true, true) {
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
            assert!(!ip("address show dev eth0").contains("10.78.0.200"));
            ip("address delete 10.78.0.200/24 dev eth1");
            while there() != (true, true) {
                pause(Duration::from_millis(5)).await.expect("a timer");
            }
            task.stop().await.expect("no panic").expect("it ends well");
            assert_eq!(there(), (false, false));
        });
    });
}
