//! CARP as recorded from ucarp 1.5.2.

use std::net::Ipv4Addr;

use ha_vip::carp::Vhid;
use ha_vip::carp::wire::{Authenticator, Reject, decode, encode};
use ha_vip::net::ipv4::{self, Service};
use serde_json::Value;

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
