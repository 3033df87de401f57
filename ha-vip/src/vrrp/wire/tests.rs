use proptest::prelude::*;

use super::*;

fn adverts() -> impl Strategy<Value = (Advert, IpAddr, IpAddr)> {
    let v4 = prop::collection::vec(any::<Ipv4Addr>().prop_map(IpAddr::V4), 1..=255);
    let v6 = prop::collection::vec(any::<Ipv6Addr>().prop_map(IpAddr::V6), 1..=255);
    let group = |ip: IpAddr| if ip.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() };
    (1u8.., any::<u8>(), 1u16..4096, prop_oneof![v4, v6]).prop_map(
        move |(vrid, priority, max_advert_interval_cs, addresses)| {
            let vrid = Vrid::new(vrid).expect("not 0");
            let source = addresses[0];
            let advert = Advert { vrid, priority, max_advert_interval_cs, addresses };
            (advert, source, group(source))
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_again((advert, source, group) in adverts(), pseudo: bool) {
        let checksum = if pseudo || source.is_ipv6() {
            Checksum::PseudoHeader
        } else {
            Checksum::MessageOnly
        };
        let message = encode(&advert, source, group, checksum);
        prop_assert_eq!(decode(&message, source, group), Ok((advert, checksum)));
    }

    #[test]
    fn one_flipped_bit_is_never_taken((advert, source, group) in adverts(), bit: usize) {
        let mut message = encode(&advert, source, group, Checksum::PseudoHeader);
        let bit = bit % (message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        // The other reading of IPv4 may fit by chance, one time in 65,535 or so.
        let taken = decode(&message, source, group);
        prop_assert!(!matches!(taken, Ok((_, Checksum::PseudoHeader))), "{taken:?}");
    }

    #[test]
    fn any_bytes_are_an_advert_or_a_reason(
        message in prop::collection::vec(any::<u8>(), 0..2_000), source: IpAddr, destination: IpAddr,
    ) {
        let _is_no_panic = decode(&message, source, destination);
    }
}
