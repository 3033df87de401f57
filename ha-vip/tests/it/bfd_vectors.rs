//! Frames of BFD recorded from keepalived 2.2.7.

use ha_vip::bfd::wire::{ControlPacket, Discriminator, Poll, decode, encode};
use serde_json::{Value, json};

use crate::vectors::unhex;

/// A packet in the words of the recording.
fn described(packet: &ControlPacket) -> Value {
    let state = match packet.state.as_str() {
        "admin-down" => "AdminDown",
        "down" => "Down",
        "init" => "Init",
        _ => "Up",
    };
    json!({
        "version": 1,
        "diag": packet.diagnostic.get(),
        "state": state,
        "flags": {
            "poll": packet.poll == Poll::Poll,
            "final": packet.poll == Poll::Final,
            "cpi": packet.control_plane_independent,
            "auth": packet.authentication.is_some(),
            "demand": packet.demand,
            "multipoint": false,
        },
        "detect_mult": packet.detect_mult,
        "length": encode(packet).len(),
        "my_discr": packet.my_discriminator.get(),
        "your_discr": packet.your_discriminator.map_or(0, Discriminator::get),
        "desired_min_tx_us": packet.desired_min_tx_us,
        "required_min_rx_us": packet.required_min_rx_us,
        "required_min_echo_rx_us": packet.required_min_echo_rx_us,
    })
}

#[test]
fn every_recorded_control_packet_is_read_and_written_byte_for_byte() {
    let recorded: Value =
        serde_json::from_str(include_str!("../../testdata/bfd.json")).expect("JSON");
    let vectors = recorded["vectors"].as_array().expect("a list");
    assert!(vectors.len() >= 10, "only {}", vectors.len());
    for vector in vectors {
        let name = vector["name"].as_str().expect("a name");
        let frame = unhex(vector["frame"].as_str().expect("hex"));
        // Ethernet, IPv4 or IPv6 without options, UDP.
        let headers = 14 + if frame[14] >> 4 == 4 { 20 } else { 40 } + 8;
        let message = &frame[headers..];
        let packet = decode(message).unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(described(&packet), vector["decoded"]["bfd"], "{name}");
        assert_eq!(encode(&packet), message, "{name}");
    }
}
