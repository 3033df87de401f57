//! The driver on real interfaces, in a laboratory: what is on the wire, and who holds the address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ha_core::sys::packet::packet_address;
use ha_lab::holders::HolderWatch;
use ha_lab::{Host, Lab};
use ha_vip::vrrp::{RouterConfig, RouterHandle, Service, Stats};
use ha_vip::{Holding, VipManager, VirtualAddress};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(20);
const VIP: &str = "10.77.0.200/24";
const EVERY_ETHERTYPE: u16 = 0x0003;

fn config(priority: u8) -> RouterConfig {
    RouterConfig::builder(51)
        .address(VIP.parse::<VirtualAddress>().expect("an address"))
        .priority(priority)
        .advert_interval(Duration::from_millis(100))
        .build()
        .expect("a configuration")
}

/// A router that runs on a host, in a thread with a runtime of its own.
struct Running {
    handle: RouterHandle,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<Stats>,
}

impl Running {
    fn start(host: &Host, priority: u8) -> Self {
        let (opened, handle) = mpsc::channel();
        let (stop, end) = oneshot::channel::<()>();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let service = Service::open(config(priority), "eth0").await.expect("a service");
                opened.send(service.handle()).expect("the test waits");
                service.run(async { drop(end.await) }).await.expect("it ends well")
            })
        };
        let thread = host.run(|| thread::spawn(run)).expect("the lab runs");
        let handle = handle.recv_timeout(PATIENCE).expect("the service opens");
        Self { handle, stop, thread }
    }

    fn stop(self) -> Stats {
        self.stop.send(()).expect("it runs");
        self.thread.join().expect("no panic")
    }
}

pub(crate) fn hosts(lab: &Lab) -> [Host; 2] {
    let lan = lab.network("lan").expect("a network");
    [("a", "10.77.0.1/24"), ("b", "10.77.0.2/24")].map(|(name, address)| {
        lab.host(name).and_then(|host| host.join(&lan, address)).expect("a host")
    })
}

/// Listens to every frame on a host's interface.
pub(crate) fn ear(host: &Host) -> Socket {
    host.run(|| {
        let index = rustix::net::netdevice::name_to_index(
            Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket"),
            "eth0",
        )
        .expect("it has one");
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0x0300)));
        let socket = socket.expect("a packet socket");
        socket.bind(&packet_address(index, EVERY_ETHERTYPE, [0; 6])).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket
    })
    .expect("the lab runs")
}

/// The next frame that `wanted` accepts.
pub(crate) fn hear(ear: &Socket, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    use std::io::Read;
    let mut buffer = [0; 2_000];
    loop {
        let len = (&*ear).read(&mut buffer).expect("a frame in time");
        if wanted(&buffer[..len]) {
            return buffer[..len].to_vec();
        }
    }
}

fn vector(json: &str, name: &str) -> Vec<u8> {
    let data: Value = serde_json::from_str(json).expect("JSON");
    let vector = data["vectors"].as_array().expect("a list").iter().find(|v| v["name"] == name);
    crate::vectors::unhex(vector.expect("the vector")["frame"].as_str().expect("hex"))
}

#[test]
fn what_is_on_the_wire_is_what_keepalived_sends() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b] = hosts(&lab);
        let ear = ear(&b);
        let router = Running::start(&a, 150);

        // The same host address, virtual router, priority, interval and address as in the vector.
        let advert = hear(&ear, |frame| frame.get(23) == Some(&112));
        let mut expected = vector(include_str!("../../testdata/vrrp.json"), "v3_ip4");
        expected[6..12].copy_from_slice(&a.mac("eth0").expect("a MAC"));
        assert_eq!(advert, expected);

        let announced = hear(&ear, |frame| frame.get(12..14) == Some(&[0x08, 0x06]));
        let mac = a.mac("eth0").expect("a MAC");
        let mut expected = vector(include_str!("../../testdata/garp.json"), "v3_ip4_1");
        expected[6..12].copy_from_slice(&mac);
        expected[22..28].copy_from_slice(&mac);
        assert_eq!(announced, expected);
        assert_eq!(router.stop().became_active, 1);
    });
}

#[test]
fn a_hand_over_moves_the_address_there_and_back_without_a_vacancy() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b] = hosts(&lab);
        let vip: IpAddr = "10.77.0.200".parse().expect("an address");
        let first = Running::start(&a, 150);
        let early = HolderWatch::start(vip, &[&a, &b]).expect("a watch");
        early.wait_for(&[a.name()], PATIENCE).expect("the first holds it");
        let second = Running::start(&b, 100);
        let watch = HolderWatch::start(vip, &[&a, &b]).expect("a watch");

        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let manager: Arc<dyn VipManager> = Arc::new(first.handle.clone());
        runtime.block_on(manager.hand_over()).expect("it runs");
        watch.wait_for(&[b.name()], PATIENCE).expect("the second holds it");
        let elsewhere = runtime.block_on(manager.changed(Holding::Leaving)).expect("it runs");
        assert_eq!(elsewhere, Holding::Elsewhere);

        runtime.block_on(manager.resume()).expect("it runs");
        watch.wait_for(&[a.name()], PATIENCE).expect("the first preempts");
        let report = watch.finish();
        assert_eq!(report.vacancies, [], "somebody held it all the time");

        second.stop();
        first.stop();
        assert!(!a.holds(vip).expect("addresses") && !b.holds(vip).expect("addresses"));
        let ended = runtime.block_on(manager.hand_over());
        assert_eq!(ended, Err(ha_vip::VipError::Ended));
    });
}

#[test]
fn an_interface_that_is_down_or_missing_is_told() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, _b] = hosts(&lab);
        let open = |interface: &'static str| {
            a.run(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let opened = runtime
                    .expect("a runtime")
                    .block_on(async { Service::open(config(100), interface).await.map(drop) });
                opened.expect_err("it cannot run").to_string()
            })
            .expect("the lab runs")
        };
        assert!(open("eth9").contains("no such network interface"));
        // Loopback has no address but its own, which cannot float.
        assert!(open("lo").contains("no primary address"));
    });
}
