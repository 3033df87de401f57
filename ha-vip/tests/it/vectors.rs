//! Frames recorded from real daemons: keepalived 2.2.7 and FRR vrrpd 8.4.4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ha_vip::announce::{Mac, frame};
use ha_vip::net::ipv4;
use ha_vip::vrrp::wire::{Advert, Checksum, Reject, decode, encode};
use serde_json::Value;

struct Vector {
    name: String,
    decoded: Value,
    config: Value,
    frame: Vec<u8>,
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| u8::try_from(c.to_digit(16).expect("hex")).expect("4 bits")).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn vectors(json: &str, field: &str) -> Vec<Vector> {
    let data: Value = serde_json::from_str(json).expect("JSON");
    let all = data["vectors"].as_array().expect("a list").iter();
    all.filter(|vector| vector[field].is_string())
        .map(|vector| Vector {
            name: vector["name"].as_str().expect("a name").to_owned(),
            decoded: vector["decoded"].clone(),
            config: vector["config"].clone(),
            frame: unhex(vector[field].as_str().expect("hex")),
        })
        .collect()
}

fn vrrp() -> Vec<Vector> {
    vectors(include_str!("../../testdata/vrrp.json"), "frame")
}

/// Source, destination and message of a frame.
fn parts(frame: &[u8]) -> (IpAddr, IpAddr, Vec<u8>) {
    let packet = &frame[14..];
    if packet[0] >> 4 == 4 {
        let packet = ipv4::decode(packet).expect("a packet of protocol 112");
        assert_eq!(packet.ttl, 255);
        return (packet.source.into(), packet.destination.into(), packet.payload.to_vec());
    }
    let address = |at: usize| {
        Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("16 bytes")).into()
    };
    (address(8), address(24), packet[40..].to_vec())
}

#[test]
fn every_version_3_advert_is_read_as_its_sender_meant_it() {
    let mut read = 0;
    for vector in vrrp() {
        let expected = &vector.decoded["vrrp"];
        if expected["version"] != 3 {
            continue;
        }
        let (source, destination, message) = parts(&vector.frame);
        let (advert, checksum) = decode(&message, source, destination)
            .unwrap_or_else(|why| panic!("{}: {why}", vector.name));
        assert_eq!(u64::from(advert.vrid.get()), expected["vrid"], "{}", vector.name);
        assert_eq!(u64::from(advert.priority), expected["priority"], "{}", vector.name);
        assert_eq!(u64::from(advert.max_advert_interval_cs), expected["max_adver_int_cs"]);
        let addresses: Vec<String> = advert.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(serde_json::json!(addresses), expected["addresses"], "{}", vector.name);
        let pseudo = expected["checksum_ok_with_pseudo_header"] == true;
        assert_eq!(checksum == Checksum::PseudoHeader, pseudo, "{}", vector.name);
        read += 1;
    }
    assert!(read >= 20, "only {read} vectors");
}

#[test]
fn every_version_3_advert_is_written_byte_for_byte() {
    for vector in vrrp() {
        let expected = &vector.decoded["vrrp"];
        if expected["version"] != 3 {
            continue;
        }
        let (source, destination, message) = parts(&vector.frame);
        let (advert, checksum) = decode(&message, source, destination).expect("read above");
        let written = encode(&advert, source, destination, checksum);
        assert_eq!(written, message, "{}", vector.name);
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) {
            let id = u16::from_be_bytes([vector.frame[18], vector.frame[19]]);
            let packet = ipv4::encode(source, destination, id, &written);
            let tos = vector.decoded["tos"].as_u64();
            let same_tos = tos == Some(0xc0) && vector.decoded["df"] == false;
            if same_tos {
                assert_eq!(packet, vector.frame[14..], "{}", vector.name);
            }
        }
    }
}

#[test]
fn version_2_and_carp_are_told_apart_and_dropped() {
    let carp = "01005e00001200005e00002a080045100038c1e64000ff70cefe0a4d0001e0000012212a00070001c12\
                8e9d6ffe7b8dd7640f7616a5a9001bf4b2386e0f55c0ad2c16067c00e";
    let version_2 = vrrp()
        .into_iter()
        .filter(|vector| vector.decoded["vrrp"]["version"] == 2 && vector.decoded["proto"] == 112);
    let mut frames: Vec<Vec<u8>> = version_2.map(|vector| vector.frame).collect();
    assert!(frames.len() >= 6);
    frames.push(unhex(&carp.replace(' ', "")));
    for frame in frames {
        let (source, destination, message) = parts(&frame);
        assert_eq!(decode(&message, source, destination), Err(Reject::Version));
    }
}

#[test]
fn a_trailer_after_the_addresses_does_not_hide_a_live_router() {
    for vector in vectors(include_str!("../../testdata/vrrp.json"), "pdu") {
        let source: IpAddr = vector.config["src"].as_str().expect("src").parse().expect("ip");
        let len = usize::try_from(vector.decoded["vrrp_len"].as_u64().expect("len")).expect("len");
        // The recorded message carries a checksum of the sender's test; make it a real one.
        let destination: IpAddr = match source {
            IpAddr::V4(_) => Ipv4Addr::new(224, 0, 0, 18).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12).into(),
        };
        let mut message = vector.frame.clone();
        let advert = Advert::clone(&readdressed(&message[..len], source, destination));
        let core = encode(&advert, source, destination, Checksum::PseudoHeader);
        message[..len].copy_from_slice(&core);
        assert!(message.len() > len, "there is a trailer");
        let read = decode(&message, source, destination).map(|(advert, _)| advert);
        assert_eq!(read, Ok(advert), "{}", vector.name);
    }
}

/// The advert of `message`, whatever its checksum.
fn readdressed(message: &[u8], source: IpAddr, destination: IpAddr) -> Advert {
    for checksum in 0..=u16::MAX {
        let mut message = message.to_vec();
        message[6..8].copy_from_slice(&checksum.to_be_bytes());
        if let Ok((advert, Checksum::PseudoHeader)) = decode(&message, source, destination) {
            return advert;
        }
    }
    panic!("no checksum fits");
}

#[test]
fn announcements_are_those_of_keepalived_byte_for_byte() {
    let mut compared = 0;
    for vector in vectors(include_str!("../../testdata/garp.json"), "frame") {
        let decoded = &vector.decoded;
        // ucarp names its own link-layer address as the target's, FRR sets the router flag: both
        // are right, and both differ from keepalived.
        if vector.name.starts_with("carp") || vector.name == "frr_na_2" {
            continue;
        }
        let ip = decoded["sender_ip"].as_str().or(decoded["target"].as_str()).expect("an address");
        let mac: [u8; 6] = vector.frame[6..12].try_into().expect("6 bytes");
        let written = frame(ip.parse().expect("an address"), Mac::new(mac));
        assert_eq!(written, vector.frame, "{}", vector.name);
        compared += 1;
    }
    assert!(compared >= 20, "only {compared} vectors");
}
