//! Two hosts with one address: recorded frames, and the real kernel in the laboratory.

use std::sync::Arc;
use std::time::Duration;

use ha_core::time::{BootClock, Clock};
use ha_lab::{Host, Lab};
use ha_vip::VirtualAddress;
use ha_vip::announce::{
    Announcer, ConflictConfig, ConflictEvent, ConflictListener, ConflictPolicy, Mac,
    MemoryAnnouncer, PacketAnnouncer, Sighting, SightingKind, gratuitous_arp,
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::vectors::unhex;

const VIP: &str = "10.77.0.200/24";
const VIP6: &str = "fd77::200/64";
const PATIENCE: Duration = Duration::from_secs(20);

fn address(text: &str) -> VirtualAddress {
    text.parse().expect("an address")
}

#[test]
fn every_recorded_announcement_is_read_as_a_claim() {
    let data: Value = serde_json::from_str(include_str!("../../testdata/garp.json")).expect("JSON");
    let all = data["vectors"].as_array().expect("a list");
    assert!(all.len() >= 27);
    for vector in all {
        let (name, decoded) = (&vector["name"], &vector["decoded"]);
        let frame = unhex(vector["frame"].as_str().expect("hex"));
        let (seen, ip, mac) = if decoded["kind"] == "unsolicited-na" {
            // Ethernet and IPv6 headers come before the message.
            let seen = Sighting::of_advertisement(&frame[54..], 255);
            (seen, &decoded["target"], &decoded["options"][0]["value"])
        } else {
            (Sighting::of_arp(&frame), &decoded["sender_ip"], &decoded["sender_mac"])
        };
        let seen = seen.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(seen.kind, SightingKind::Claim, "{name}");
        assert_eq!(seen.ip.to_string(), ip.as_str().expect("text"), "{name}");
        let mac = mac.as_str().expect("text").replace(':', "");
        assert_eq!(seen.mac.octets()[..], unhex(&mac), "{name}");
    }
}

fn index() -> u32 {
    let any = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    rustix::net::netdevice::name_to_index(any, "eth0").expect("it has one")
}

fn mac(host: &Host) -> Mac {
    Mac::new(host.mac("eth0").expect("a link-layer address"))
}

/// Two hosts that have the address, or claim to, and a client.
fn hosts(lab: &Lab) -> [Host; 3] {
    let lan = lab.network("lan").expect("a network");
    [("a", "10.77.0.1/24"), ("b", "10.77.0.2/24"), ("client", "10.77.0.9/24")].map(
        |(name, address)| lab.host(name).and_then(|host| host.join(&lan, address)).expect("a host"),
    )
}

/// Runs `body` on a host, with a listener there that holds the addresses.
fn listening<F>(
    host: &Host,
    edit: impl Fn(ha_vip::announce::ConflictBuilder) -> ha_vip::announce::ConflictBuilder + Send,
    announcer: Arc<dyn Announcer>,
    body: impl FnOnce(ConflictListener) -> F + Send,
) where
    F: Future<Output = ()>,
{
    let builder = ConflictConfig::builder(mac(host)).address(address(VIP)).grace(Duration::ZERO);
    let config = edit(builder).build().expect("a configuration");
    host.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let listener = ConflictListener::open("eth0", index(), config, announcer);
            let mut listener = listener.expect("a listener");
            listener.hold();
            tokio::time::timeout(PATIENCE, body(listener)).await.expect("in time");
        });
    })
    .expect("the lab runs");
}

fn announce(host: &Host, vip: &str) {
    let mac = mac(host);
    host.run(|| PacketAnnouncer::open(index(), mac).and_then(|a| a.announce(&[address(vip)])))
        .expect("the lab runs")
        .expect("sent");
}

fn is_conflict(event: ConflictEvent, vip: &str, ours: &Host, theirs: &Host) {
    let ConflictEvent::Conflict { address: ip, ours: our_mac, theirs: their_mac, .. } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!((ip, our_mac, their_mac), (address(vip).ip(), mac(ours), mac(theirs)));
}

#[test]
fn a_second_host_that_announces_our_address_is_seen_and_clients_come_back() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b, client] = hosts(&lab);
        for host in [&a, &b] {
            host.add_address("eth0", VIP).expect("added");
        }
        let asked = client
            .run(|| std::net::UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", (address(VIP).ip(), 9)));
        asked.expect("the lab runs").expect("sent");

        let announcer = a.run(|| PacketAnnouncer::open(index(), mac(&a))).expect("the lab runs");
        let announcer = Arc::new(announcer.expect("a packet socket"));
        listening(
            &a,
            |builder| builder,
            announcer,
            async |mut listener| {
                announce(&b, VIP);
                let event = listener.next().await.expect("it hears");
                is_conflict(event, VIP, &a, &b);
                assert_eq!(listener.conflicts().defences, 1);
            },
        );
        // The defence came after the rival's announcement.
        let clock = BootClock::new();
        let end = clock.now() + PATIENCE;
        while client.neighbour(address(VIP).ip()).expect("neighbours") != Some(mac(&a).octets()) {
            assert!(clock.now() < end, "the client stays with the rival");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    });
}

#[test]
fn a_silent_second_holder_is_found_by_asking() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b, _] = hosts(&lab);
        // As after a daemon was killed: the kernel keeps the address and says nothing by itself.
        for host in [&a, &b] {
            host.add_address("eth0", VIP).expect("added");
        }
        let look = |builder: ha_vip::announce::ConflictBuilder| {
            let builder = builder.look_every(Duration::from_secs(1));
            builder.resolve_after(Duration::from_secs(3)).policy(ConflictPolicy::Tell)
        };
        listening(&a, look, Arc::new(MemoryAnnouncer::default()), async |mut listener| {
            is_conflict(listener.next().await.expect("it hears"), VIP, &a, &b);
            b.remove_address("eth0", VIP).expect("removed");
            let event = listener.next().await.expect("it hears");
            assert!(matches!(event, ConflictEvent::Resolved { .. }), "{event:?}");
        });
    });
}

#[test]
fn a_second_holder_of_an_ipv6_address_is_seen() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b, _] = hosts(&lab);
        let announcer = Arc::new(MemoryAnnouncer::default());
        let defended = Arc::clone(&announcer);
        let ipv6 = |builder: ha_vip::announce::ConflictBuilder| builder.address(address(VIP6));
        listening(&a, ipv6, announcer, async |mut listener| {
            announce(&b, VIP6);
            is_conflict(listener.next().await.expect("it hears"), VIP6, &a, &b);
        });
        assert_eq!(defended.announced(), [address(VIP6)]);
    });
}

#[test]
fn a_storm_on_the_wire_does_not_hide_a_conflict_nor_take_the_machine() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b, _] = hosts(&lab);
        let announcer = Arc::new(MemoryAnnouncer::default());
        let defended = Arc::clone(&announcer);
        listening(
            &a,
            |builder| builder,
            announcer,
            async |mut listener| {
                let theirs = mac(&b);
                b.run(|| {
                    let socket = Socket::new(Domain::PACKET, Type::RAW, None).expect("a socket");
                    let to = ha_core::sys::packet::packet_address(index(), 0x0806, [0xff; 6]);
                    for packet in 0..20_000_u16 {
                        let [high, low] = packet.to_be_bytes();
                        let mut frame = gratuitous_arp([10, 99, high, low].into(), theirs);
                        // Some are cut, some are of another kind.
                        frame[21] = u8::try_from(packet % 3).expect("small");
                        frame.truncate(if packet % 5 == 0 { 30 } else { 42 });
                        // A full queue is the network's own bound.
                        drop(socket.send_to(&frame, &to));
                    }
                })
                .expect("the lab runs");
                // What waits is read first, in windows; then the rival is heard.
                let mut seen = None;
                while seen.is_none() {
                    announce(&b, VIP);
                    let limit = Duration::from_millis(200);
                    seen = tokio::time::timeout(limit, listener.next()).await.ok();
                }
                is_conflict(seen.expect("seen").expect("it hears"), VIP, &a, &b);
                let read = listener.stats().received;
                assert!(listener.stats().unreadable.iter().sum::<u64>() > 0, "{read} read");
            },
        );
        assert_eq!(defended.announced(), [address(VIP)], "defended once");
    });
}
