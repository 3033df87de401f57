#![no_main]

use ha_vip::carp::Vhid;
use ha_vip::carp::wire::{Authenticator, decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let vhid = Vhid::new(bytes.get(1).copied().unwrap_or(1)).or(Vhid::new(1));
    let authenticator = Authenticator::new(b"love", &["192.0.2.10".parse().expect("an address")]);
    let (Some(vhid), Some(authenticator)) = (vhid, authenticator) else { return };
    if let Ok(advert) = decode(bytes, vhid, &authenticator) {
        assert_eq!(decode(&encode(&advert, &authenticator), vhid, &authenticator), Ok(advert));
    }
});
