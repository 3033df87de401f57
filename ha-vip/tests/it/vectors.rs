//! Frames recorded from real daemons: keepalived 2.2.7 and FRR vrrpd 8.4.4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ha_vip::announce::{Mac, frame};
use ha_vip::net::ipv4;
use ha_vip::vrrp::auth::{Authenticator, HmacConfig};
use ha_vip::vrrp::wire::{Checksum, Password, Reject, Version, decode, encode};
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
fn every_advert_is_read_as_its_sender_meant_it() {
    let (mut version_2, mut version_3) = (0, 0);
    for vector in vrrp().iter().filter(|vector| vector.decoded["proto"] == 112) {
        let (expected, name) = (&vector.decoded["vrrp"], &vector.name);
        let (source, destination, message) = parts(&vector.frame);
        let view =
            decode(&message, source, destination).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(u64::from(view.vrid().get()), expected["vrid"], "{name}");
        assert_eq!(u64::from(view.priority()), expected["priority"], "{name}");
        let addresses: Vec<String> = view.addresses().map(|ip| ip.to_string()).collect();
        assert_eq!(serde_json::json!(addresses), expected["addresses"], "{name}");
        assert_eq!(expected["count"], view.address_count(), "{name}");
        assert!(view.trailer().is_none(), "{name}");
        let pseudo = expected["checksum_ok_with_pseudo_header"] == true;
        assert_eq!(view.checksum() == Checksum::PseudoHeader, pseudo, "{name}");
        match view.version() {
            Version::V2 => {
                assert_eq!(expected["version"], 2, "{name}");
                assert_eq!(view.interval().as_secs(), expected["adver_int_s"], "{name}");
                let password = vector.config["auth_pass"].as_str().and_then(Password::new);
                assert_eq!(view.password(), password, "{name}");
                version_2 += 1;
            }
            Version::V3 => {
                assert_eq!(expected["version"], 3, "{name}");
                assert_eq!(view.interval().as_millis() / 10, max_advert_interval(expected));
                assert_eq!(view.password(), None, "{name}");
                version_3 += 1;
            }
        }
    }
    assert!(version_2 >= 12 && version_3 >= 26, "only {version_2} and {version_3} vectors");
}

fn max_advert_interval(expected: &Value) -> u128 {
    expected["max_adver_int_cs"].as_u64().expect("a number").into()
}

#[test]
fn every_advert_is_written_byte_for_byte() {
    for vector in vrrp().iter().filter(|vector| vector.decoded["proto"] == 112) {
        let (source, destination, message) = parts(&vector.frame);
        let view = decode(&message, source, destination).expect("read above");
        let written = encode(&view.to_advert(), source, destination, view.checksum());
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
fn carp_is_told_apart_from_version_2() {
    let carp = "01005e00001200005e00002a080045100038c1e64000ff70cefe0a4d0001e0000012212a00070001c12\
                8e9d6ffe7b8dd7640f7616a5a9001bf4b2386e0f55c0ad2c16067c00e";
    let (source, destination, message) = parts(&unhex(&carp.replace(' ', "")));
    assert_eq!(decode(&message, source, destination), Err(Reject::Version));
}

#[test]
fn the_ipsec_header_of_version_2_is_refused_by_its_reason() {
    let all = vrrp();
    let of_ipsec: Vec<_> = all.iter().filter(|vector| vector.decoded["proto"] == 51).collect();
    assert_eq!(of_ipsec.len(), 2);
    for vector in of_ipsec {
        // 14 bytes of Ethernet, 20 of IPv4, 24 of the authentication header.
        let (source, destination) = ([10, 77, 0, 1].into(), [224, 0, 0, 18].into());
        let read = decode(&vector.frame[58..], source, destination);
        assert_eq!(read, Err(Reject::Authentication), "{}", vector.name);
        assert!(ipv4::decode(&vector.frame[14..]).is_none(), "it is not of protocol 112");
    }
}

/// The vectors of the HMAC trailer: source, destination, message with its trailer.
fn signed() -> Vec<(Vector, IpAddr, IpAddr)> {
    let signed = vectors(include_str!("../../testdata/vrrp.json"), "pdu").into_iter();
    let signed: Vec<_> = signed
        .map(|vector| {
            let source = vector.config["src"].as_str().expect("src").parse().expect("ip");
            let destination = match source {
                IpAddr::V4(_) => Ipv4Addr::new(224, 0, 0, 18).into(),
                IpAddr::V6(_) => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x20).into(),
            };
            (vector, source, destination)
        })
        .collect();
    assert_eq!(signed.len(), 2);
    signed
}

fn authenticator(vector: &Vector) -> Authenticator {
    let key = unhex(vector.config["key_hex"].as_str().expect("hex"));
    let config = HmacConfig::builder().key(1, key).build().expect("a configuration");
    Authenticator::new(config)
}

/// When the vectors were signed.
const SIGNED_AT: Duration = Duration::from_millis(1_744_830_464_500);

#[test]
fn the_hmac_trailers_of_keepalived_are_right() {
    for (vector, source, destination) in signed() {
        let name = &vector.name;
        let mut message = vector.frame.clone();
        let view = decode(&message, source, destination).expect("valid");
        let trailer = view.trailer().expect("signed");
        assert_eq!(vector.decoded["key_id"], trailer.key_id(), "{name}");
        assert_eq!(trailer.made_at(), SIGNED_AT, "{name}");
        assert_eq!(vector.decoded["counter"], trailer.counter(), "{name}");
        assert_eq!(authenticator(&vector).verify(&view, source, SIGNED_AT), Ok(()), "{name}");
        *message.last_mut().expect("bytes") ^= 1;
        // The sum of IPv6 covers the trailer; that of IPv4 does not.
        let why = decode(&message, source, destination)
            .and_then(|view| authenticator(&vector).verify(&view, source, SIGNED_AT));
        let expected = if source.is_ipv4() { Reject::HmacWrong } else { Reject::Checksum };
        assert_eq!(why, Err(expected), "{name}");
    }
}

#[test]
fn an_advert_is_signed_byte_for_byte_as_keepalived_does() {
    for (vector, source, destination) in signed() {
        let view = decode(&vector.frame, source, destination).expect("valid");
        let mut message = encode(&view.to_advert(), source, destination, view.checksum());
        authenticator(&vector).sign(&mut message, source, SIGNED_AT);
        assert_eq!(message, vector.frame, "{}", vector.name);
    }
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
