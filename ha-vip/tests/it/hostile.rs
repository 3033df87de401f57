//! Forged adverts on the wire, in a laboratory: a router that runs takes none of them for an
//! election, and counts each by its reason.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ha_core::driver::pause;
use ha_core::time::{BootClock, Clock};
use ha_lab::{Host, Lab};
use ha_vip::VirtualAddress;
use ha_vip::net::ipv4;
use ha_vip::vrrp::auth::{Authenticator, HmacConfig};
use ha_vip::vrrp::wire::{Advert, Checksum, GROUP_V4, Version, encode};
use ha_vip::vrrp::{
    Counters, HostConfig, Instance, RouterConfig, Service, ServiceHandle, StateName, Vrid,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::real_kernel::hosts;

const B: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 200);
const SECRET: [u8; 32] = [7; 32];

/// Runs a router on host a, which is active, and gives a test its handle and host b.
fn against(hmac: Option<HmacConfig>, test: impl AsyncFnOnce(&ServiceHandle, &Host) + Send) {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let [a, b] = hosts(&lab);
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let address = VirtualAddress::new(VIP.into(), 24).expect("valid");
                let router = RouterConfig::builder(51).address(address);
                let router = router.advert_interval(Duration::from_millis(50)).build();
                let instance = Instance::new("web", "eth0", router.expect("valid"));
                let instance = match hmac {
                    Some(hmac) => instance.hmac(hmac),
                    None => instance,
                };
                let host = HostConfig::builder().instance(instance).build().expect("valid");
                let service = Service::builder(host).open().await.expect("a service");
                let (web, handle) = (service.handle(), service.handles());
                let task = service.spawn();
                web.until(|state| state == StateName::Active).await.expect("it runs");
                test(&handle, &b).await;
                assert_eq!(web.state(), StateName::Active);
                assert_eq!(counters(&handle).await.became_active, 1, "nothing has moved it");
                task.stop().await.expect("no panic").expect("it ends well");
            });
        };
        a.run(run).expect("the lab runs");
    });
}

async fn counters(handle: &ServiceHandle) -> Counters {
    handle.snapshot().await.expect("it runs").routers[0].counters.clone()
}

/// Waits until so many packets were dropped for this reason.
async fn dropped(handle: &ServiceHandle, reason: &str, count: u64) {
    for _ in 0..4_000 {
        let rejected = counters(handle).await.rejected;
        match rejected.get(reason) {
            Some(found) if *found == count => return,
            found => assert!(found.is_none_or(|n| *n < count), "{reason}: {rejected:?}"),
        }
        pause(Duration::from_millis(5)).await.expect("a timer");
    }
    panic!("{reason}: {:?}", counters(handle).await.rejected);
}

/// Sends packets from a host as they are.
fn send(from: &Host, packets: &[Vec<u8>]) {
    let send = || {
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255)))?;
        raw.set_header_included_v4(true)?;
        raw.set_multicast_if_v4(&B)?;
        let to = SocketAddr::from((GROUP_V4, 0)).into();
        packets.iter().try_for_each(|packet| raw.send_to(packet, &to).map(drop))
    };
    from.run(send).expect("the lab runs").expect("sent");
}

fn advert(priority: u8, addresses: &[Ipv4Addr]) -> Vec<u8> {
    let (vrid, interval) = (Vrid::new(51).expect("not 0"), Duration::from_millis(50));
    let addresses = addresses.iter().map(|ip| IpAddr::V4(*ip)).collect();
    let advert = Advert::new(Version::V3, vrid, priority, interval, addresses);
    encode(&advert, B.into(), GROUP_V4.into(), Checksum::MessageOnly)
}

fn packet(message: &[u8]) -> Vec<u8> {
    ipv4::encode(B, GROUP_V4, 1, message)
}

/// Makes the checksum right again after bytes were changed.
fn summed(mut message: Vec<u8>) -> Vec<u8> {
    message[6..8].fill(0);
    let pairs = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = pairs.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).expect("16 bits");
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    message
}

#[test]
fn forged_adverts_are_dropped_and_counted_by_their_reason() {
    against(None, async |handle, b| {
        let good = advert(200, &[VIP]);
        let with = |index: usize, byte: u8| {
            let mut message = good.clone();
            message[index] = byte;
            message
        };
        let mut far = packet(&good);
        far[8] = 254;
        let cases = [
            ("hop limit is not 255", far),
            ("checksum", packet(&with(6, good[6] ^ 1))),
            ("not an advertisement", packet(&summed(with(0, 0x32)))),
            ("version not spoken here", packet(&summed(with(0, 0x41)))),
            ("advert interval is 0", packet(&summed([&good[..4], &[0, 0], &good[6..]].concat()))),
            ("address count", packet(&summed(with(3, 255)))),
        ];
        for (reason, forged) in cases {
            let before = counters(handle).await.rejected.get(reason).copied().unwrap_or_default();
            send(b, &[forged.clone(), forged]);
            dropped(handle, reason, before + 2).await;
        }
    });
}

#[test]
fn an_advert_cut_off_anywhere_changes_nothing() {
    against(None, async |handle, b| {
        let good = advert(200, &[VIP]);
        let cut: Vec<_> = (0..good.len()).map(|len| packet(&good[..len])).collect();
        send(b, &cut);
        let last = packet(&[&good[..6], &[!good[6], good[7]], &good[8..]].concat());
        send(b, &[last]);
        // They come in order: with the last one all were looked at.
        for _ in 0..4_000 {
            let total: u64 = counters(handle).await.rejected.values().sum();
            // The first two bytes are needed to know whose it is.
            if total == u64::try_from(good.len() - 2 + 1).expect("few") {
                return;
            }
            pause(Duration::from_millis(5)).await.expect("a timer");
        }
        panic!("{:?}", counters(handle).await.rejected);
    });
}

#[test]
fn an_advert_with_255_addresses_and_another_interval_is_heard_and_does_no_harm() {
    against(None, async |handle, b| {
        let all: Vec<Ipv4Addr> = (0..255).map(|last| Ipv4Addr::new(10, 99, 0, last)).collect();
        let mut rival = advert(50, &all);
        // 40.95 s: the others' interval is no business of an active router.
        rival[4..6].copy_from_slice(&[0x0f, 0xff]);
        let before = counters(handle).await.received;
        send(b, &[packet(&summed(rival))]);
        while counters(handle).await.received == before {
            pause(Duration::from_millis(5)).await.expect("a timer");
        }
        let sent = counters(handle).await.sent;
        while counters(handle).await.sent < sent + 3 {
            pause(Duration::from_millis(5)).await.expect("a timer");
        }
    });
}

fn hmac() -> HmacConfig {
    HmacConfig::builder().key(1, SECRET).active(1).build().expect("valid")
}

#[test]
fn adverts_without_a_right_and_new_hmac_are_dropped_and_counted_by_their_reason() {
    against(Some(hmac()), async |handle, b| {
        let now = || {
            Duration::from_micros(
                u64::try_from(BootClock::new().wall().as_micros()).expect("after 1970"),
            )
        };
        let signed = |config: HmacConfig, priority: u8, at: Duration| {
            let mut message = advert(priority, &[VIP]);
            Authenticator::new(config).sign(&mut message, B.into(), at);
            packet(&message)
        };
        let keys = |id: u8, secret: [u8; 32]| {
            HmacConfig::builder().key(id, secret).active(id).build().expect("valid")
        };
        send(b, &[packet(&advert(200, &[VIP]))]);
        dropped(handle, "no HMAC", 1).await;
        send(b, &[signed(keys(1, [8; 32]), 200, now())]);
        dropped(handle, "wrong HMAC", 1).await;
        send(b, &[signed(keys(9, SECRET), 200, now())]);
        dropped(handle, "unknown HMAC key", 1).await;
        send(b, &[signed(hmac(), 200, now().saturating_sub(Duration::from_mins(1)))]);
        dropped(handle, "made outside of the time window", 1).await;
        // A right one of a lower router, recorded and sent again.
        let before = counters(handle).await.received;
        let recorded = signed(hmac(), 50, now());
        send(b, &[recorded.clone(), recorded.clone(), recorded]);
        dropped(handle, "replayed", 2).await;
        assert_eq!(counters(handle).await.received, before + 1, "once it counts");
    });
}
