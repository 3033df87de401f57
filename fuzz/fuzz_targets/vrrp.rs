#![no_main]

use std::net::IpAddr;

use ha_vip::vrrp::wire::{GROUP_V4, GROUP_V6, decode, extension};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let pairs: [(IpAddr, IpAddr); 2] = [
        ([192, 0, 2, 1].into(), GROUP_V4.into()),
        ("fe80::1".parse().expect("an address"), GROUP_V6.into()),
    ];
    for (source, destination) in pairs {
        if let Ok(view) = decode(bytes, source, destination) {
            drop(format!("{view:?} {:?}", view.trailer()));
        }
        if let Ok(message) = extension::decode(bytes, source, destination) {
            let written = extension::encode(message, source, destination);
            assert_eq!(extension::decode(&written, source, destination), Ok(message));
        }
    }
});
