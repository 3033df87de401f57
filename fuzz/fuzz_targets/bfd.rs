#![no_main]

use ha_vip::bfd::wire::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = decode(bytes) {
        let written = encode(&packet);
        assert_eq!(decode(&written).as_ref(), Ok(&packet));
    }
});
