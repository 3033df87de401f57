//! CARP as recorded from ucarp 1.5.2, and as ours is on the wire.

use std::io::Read;
use std::net::Ipv4Addr;
use std::time::Duration;

use ha_core::sys::packet::packet_address;
use ha_lab::Lab;
use ha_vip::carp::wire::{Authenticator, Reject, decode, encode};
use ha_vip::carp::{HostConfig, Service as CarpService, Vhid};
use ha_vip::net::ipv4::{self, Service};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::vectors::unhex;

fn each(check: impl Fn(&str, &Value, &[u8])) {
    let json = include_str!("../../testdata/carp.json");
    let data: Value = serde_json::from_str(json).expect("JSON");
    let all = data["vectors"].as_array().expect("a list");
    assert_eq!(all.len(), 7);
    for vector in all {
        let name = vector["name"].as_str().expect("a name");
        check(name, vector, &unhex(vector["frame"].as_str().expect("hex")));
    }
}

fn byte(value: &Value) -> u8 {
    value.as_u64().and_then(|number| number.try_into().ok()).expect("a byte")
}

/// Password and address of the sender.
fn authenticator(vector: &Value, password: Option<&str>) -> Authenticator {
    let config = &vector["config"];
    let password = password.or(config["passphrase"].as_str()).expect("a password");
    let vip: Ipv4Addr = config["vip"].as_str().expect("text").parse().expect("an address");
    Authenticator::new(password.as_bytes(), &[vip]).expect("a password")
}

#[test]
fn every_advert_of_ucarp_is_verified_and_written_byte_for_byte() {
    each(|name, vector, frame| {
        let expected = &vector["decoded"]["carp"];
        let packet = ipv4::decode(&frame[14..]).expect("a packet of protocol 112");
        assert_eq!(packet.ttl, 255, "{name}");
        let vhid = Vhid::new(byte(&expected["vhid"])).expect("not 0");
        let authenticator = authenticator(vector, None);
        let advert = decode(packet.payload, vhid, &authenticator)
            .unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(advert.advbase, byte(&expected["advbase"]), "{name}");
        assert_eq!(advert.advskew, byte(&expected["advskew"]), "{name}");
        let counter = expected["counter"].as_str().expect("hex").trim_start_matches("0x");
        assert_eq!(Ok(advert.counter), u64::from_str_radix(counter, 16), "{name}");

        let message = encode(&advert, &authenticator);
        let id = u16::from_be_bytes([frame[18], frame[19]]);
        let (from, to) = (packet.source, packet.destination);
        let whole = ipv4::encode_as(Service::LowDelay, from, to, id, &message);
        assert_eq!(whole, frame[14..], "{name}");
        // The sender's link-layer address is the group's.
        assert_eq!(frame[6..12], [0, 0, 0x5e, 0, 0, vhid.get()], "{name}");
    });
}

#[test]
fn the_same_adverts_are_refused_with_another_password_address_or_group() {
    each(|name, vector, frame| {
        let packet = ipv4::decode(&frame[14..]).expect("a packet of protocol 112");
        let vhid = Vhid::new(byte(&vector["decoded"]["carp"]["vhid"])).expect("not 0");
        let other = authenticator(vector, Some("other"));
        assert_eq!(decode(packet.payload, vhid, &other), Err(Reject::Digest), "{name}");
        let moved = Authenticator::new(b"love", &[Ipv4Addr::new(10, 77, 0, 201)]).expect("ok");
        assert_eq!(decode(packet.payload, vhid, &moved), Err(Reject::Digest), "{name}");
        let group = Vhid::new(77).expect("not 0");
        let right = authenticator(vector, None);
        assert_eq!(decode(packet.payload, group, &right), Err(Reject::Vhid), "{name}");
    });
}

#[test]
fn what_is_on_the_wire_is_what_ucarp_sends() {
    ha_lab::run_test(|| {
        let lab = Lab::new().expect("a lab");
        let lan = lab.network("lan").expect("a network");
        let host = |name: &str, address: &str| {
            lab.host(name).and_then(|host| host.join(&lan, address)).expect("a host")
        };
        let (a, b) = (host("a", "10.77.0.1/24"), host("b", "10.77.0.2/24"));
        each(|name, vector, recorded| {
            if !name.ends_with("_1") {
                return; // the same sender again
            }
            let carp = &vector["decoded"]["carp"];
            let text = |key: &str| vector["config"][key].as_str().expect("text").to_owned();
            let vip = format!("{}/24", text("vip")).parse::<ha_vip::VirtualAddress>();
            let (base, skew) = (byte(&carp["advbase"]), byte(&carp["advskew"]));
            let config = HostConfig::builder(byte(&carp["vhid"]))
                .password(text("passphrase"))
                .address(vip.expect("an address"))
                .advbase(base)
                .advskew(skew)
                .deadratio(1)
                .multicast(vector["config"]["nomcast"].is_null())
                .build()
                .expect("a configuration");
            let ear = b.run(|| {
                let any = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
                let index = rustix::net::netdevice::name_to_index(any, "eth0").expect("it has one");
                let ear = Socket::new(Domain::PACKET, Type::RAW, None).expect("a packet socket");
                ear.bind(&packet_address(index, 0x0800, [0; 6])).expect("bound");
                ear.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
                ear
            });
            let (ear, mut frame) = (ear.expect("the lab runs"), [0; 2_000]);
            let heard = a.run(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.expect("a runtime").block_on(async {
                    let service = CarpService::open(config, "eth0").await.expect("a service");
                    let task = service.spawn();
                    let heard = tokio::task::spawn_blocking(move || {
                        loop {
                            let len = (&ear).read(&mut frame).expect("a frame in time");
                            if frame[..len].get(23) == Some(&112) {
                                return frame[..len].to_vec();
                            }
                        }
                    });
                    let heard = heard.await.expect("no panic");
                    task.stop().await.expect("no panic").expect("it ends well");
                    heard
                })
            });
            let heard = heard.expect("the lab runs");
            // All but what changes from advert to advert: the packet's number and checksum, and
            // CARP's checksum, counter and HMAC, which the vectors above verify.
            for same in [0..18, 20..24, 26..40] {
                assert_eq!(heard[same.clone()], recorded[same.clone()], "{name}: {same:?}");
            }
            assert_eq!(heard.len(), recorded.len(), "{name}");
            let vhid = Vhid::new(byte(&carp["vhid"])).expect("not 0");
            let advert = decode(&heard[34..], vhid, &authenticator(vector, None));
            assert!(advert.is_ok(), "{name}: {advert:?}");
        });
    });
}
