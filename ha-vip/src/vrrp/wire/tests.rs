use std::time::Duration;

use proptest::prelude::*;

use super::super::config::Vrid;
use super::*;

fn group(source: IpAddr) -> IpAddr {
    if source.is_ipv4() { GROUP_V4.into() } else { GROUP_V6.into() }
}

/// Adverts that the wire can say, of either version and family, with their sender.
fn adverts() -> impl Strategy<Value = (Advert, IpAddr, IpAddr)> {
    let v4 = prop::collection::vec(any::<Ipv4Addr>().prop_map(IpAddr::V4), 1..=255);
    let v6 = prop::collection::vec(any::<Ipv6Addr>().prop_map(IpAddr::V6), 1..=255);
    let password = prop::option::of("[ -~]{1,8}".prop_map(Password::new));
    let of_version_2 = (1u16..=255, v4.clone(), password).prop_map(|(seconds, ips, password)| {
        (Version::V2, Duration::from_secs(seconds.into()), ips, password.flatten())
    });
    let of_version_3 = (1u32..4096, prop_oneof![v4, v6])
        .prop_map(|(cs, ips)| (Version::V3, Duration::from_millis(10) * cs, ips, None));
    (1u8.., any::<u8>(), prop_oneof![of_version_2, of_version_3]).prop_map(
        |(vrid, priority, (version, interval, addresses, password))| {
            let vrid = Vrid::new(vrid).expect("not 0");
            let source = addresses[0];
            let mut advert = Advert::new(version, vrid, priority, interval, addresses);
            advert.password = password;
            (advert, source, group(source))
        },
    )
}

/// The reading with which `advert` goes out when asked for this one.
fn reading_of(advert: &Advert, source: IpAddr, pseudo: bool) -> Checksum {
    match advert.version {
        Version::V3 if pseudo || source.is_ipv6() => Checksum::PseudoHeader,
        Version::V2 | Version::V3 => Checksum::MessageOnly,
    }
}

fn simple(version: Version, interval: Duration, addresses: Vec<IpAddr>) -> Advert {
    Advert::new(version, Vrid::new(51).expect("not 0"), 100, interval, addresses)
}

const SECOND: Duration = Duration::from_secs(1);

fn ours() -> IpAddr {
    [192, 0, 2, 1].into()
}

/// What is read of a message that was changed by `edit`, with its checksum made right again.
fn read_edited(advert: &Advert, edit: impl FnOnce(&mut Vec<u8>)) -> Result<Advert, Reject> {
    let mut message = encode(advert, ours(), GROUP_V4.into(), Checksum::MessageOnly);
    edit(&mut message);
    if let Some(field) = message.get_mut(CHECKSUM_AT) {
        field.fill(0);
    }
    write_checksum(&mut message, None);
    decode(&message, ours(), GROUP_V4.into()).map(|view| view.to_advert())
}

#[test]
fn reasons_are_in_alphabetical_order_and_complete() {
    let names = Reject::ALL.map(|reason| format!("{reason:?}"));
    assert!(names.is_sorted());
    assert!(Reject::ALL.is_sorted(), "the order of the declaration");
    assert_eq!(Reject::ALL[16], Reject::Vrid);
}

type Edit = fn(&mut Vec<u8>);

#[test]
fn bad_fields_of_version_2_are_told_apart() {
    let advert = simple(Version::V2, SECOND, vec![[192, 0, 2, 9].into()]);
    let cases: [(Reject, Edit); 10] = [
        (Reject::AddressCount, |m| m[3] = 0),
        (Reject::AddressCount, |m| m[3] = 4),
        (Reject::Authentication, |m| m[4] = 2), // the IPsec header
        (Reject::Authentication, |m| m[4] = 77),
        (Reject::Interval, |m| m[5] = 0),
        (Reject::Length, |m| m.truncate(7)),
        (Reject::PacketLength, |m| m.truncate(19)),
        (Reject::Type, |m| m[0] = 0x22),
        (Reject::Version, |m| m[0] = 0x11),
        (Reject::Vrid, |m| m[1] = 0),
    ];
    for (why, edit) in cases {
        assert_eq!(read_edited(&advert, edit), Err(why));
    }
    assert_eq!(read_edited(&advert, |_| ()), Ok(advert));
}

#[test]
fn version_2_is_not_spoken_over_ipv6() {
    let advert = simple(Version::V2, SECOND, vec![[192, 0, 2, 9].into()]);
    let source = "fe80::1".parse().expect("an address");
    let message = encode(&advert, source, GROUP_V6.into(), Checksum::PseudoHeader);
    assert_eq!(decode(&message, source, GROUP_V6.into()), Err(Reject::Version));
}

#[test]
fn passwords_are_read_and_not_shown() {
    let mut advert = simple(Version::V2, SECOND, vec![[192, 0, 2, 9].into()]);
    advert.password = Password::new("s3cret");
    let message = encode(&advert, ours(), GROUP_V4.into(), Checksum::MessageOnly);
    let view = decode(&message, ours(), GROUP_V4.into()).expect("our own");
    assert_eq!(view.password(), Password::new("s3cret"));
    assert_ne!(view.password(), Password::new("s3cre"));
    let text = format!("{view:?} {advert:?}");
    assert!(!text.contains("s3cret") && !text.contains("115"), "{text}");
}

#[test]
fn an_interval_that_the_wire_cannot_say_is_rounded_up_or_cut() {
    let ms = Duration::from_millis;
    for (version, given, said) in [
        (Version::V2, ms(400), SECOND),
        (Version::V2, ms(1_001), 2 * SECOND),
        (Version::V2, Duration::MAX, 255 * SECOND),
        (Version::V3, Duration::ZERO, ms(10)),
        (Version::V3, ms(15), ms(20)),
        (Version::V3, Duration::MAX, ms(40_950)),
    ] {
        let advert = simple(version, given, vec![[192, 0, 2, 9].into()]);
        let message = encode(&advert, ours(), GROUP_V4.into(), Checksum::MessageOnly);
        let view = decode(&message, ours(), GROUP_V4.into()).expect("our own");
        assert_eq!(view.interval(), said, "{version:?} {given:?}");
    }
}

#[test]
fn what_the_wire_cannot_carry_is_left_out() {
    let mut addresses: Vec<IpAddr> =
        (0..300u16).map(|n| Ipv4Addr::from(u32::from(n)).into()).collect();
    addresses[0] = Ipv6Addr::LOCALHOST.into();
    let advert = simple(Version::V3, SECOND, addresses.clone());
    let message = encode(&advert, ours(), GROUP_V4.into(), Checksum::PseudoHeader);
    let view = decode(&message, ours(), GROUP_V4.into()).expect("our own");
    assert_eq!(view.addresses().collect::<Vec<_>>(), addresses[1..255]);
}

#[test]
fn the_reserved_bits_of_version_3_are_ignored() {
    let advert = simple(Version::V3, SECOND, vec![[192, 0, 2, 9].into()]);
    assert_eq!(read_edited(&advert, |m| m[4] |= 0xf0), Ok(advert.clone()));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again((advert, source, group) in adverts(), pseudo: bool) {
        let asked = if pseudo { Checksum::PseudoHeader } else { Checksum::MessageOnly };
        let message = encode(&advert, source, group, asked);
        let view = decode(&message, source, group).expect("our own");
        prop_assert_eq!(view.checksum(), reading_of(&advert, source, pseudo));
        prop_assert_eq!(view.address_count(), advert.addresses.len());
        prop_assert_eq!(view.address_bytes().len() / view.address_count(),
            if source.is_ipv4() { 4 } else { 16 });
        prop_assert!(view.trailer().is_none());
        prop_assert_eq!(view.to_advert(), advert);
    }

    #[test]
    fn a_used_buffer_makes_no_difference(
        (advert, source, group) in adverts(), mut used in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        encode_into(&mut used, &advert, source, group, Checksum::PseudoHeader);
        prop_assert_eq!(used, encode(&advert, source, group, Checksum::PseudoHeader));
    }

    #[test]
    fn one_flipped_bit_is_never_taken((advert, source, group) in adverts(), bit: usize) {
        let mut message = encode(&advert, source, group, Checksum::PseudoHeader);
        let sent = reading_of(&advert, source, true);
        let bit = bit % (message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        // Another reading may fit by chance, one time in 65,535 or so.
        let taken = decode(&message, source, group).map(|view| view.checksum());
        prop_assert_ne!(taken, Ok(sent));
    }

    #[test]
    fn bytes_after_the_advert_do_not_hide_it(
        (advert, source, group) in adverts(), tail in prop::collection::vec(any::<u8>(), 1..50),
        covered: bool,
    ) {
        let mut message = encode(&advert, source, group, Checksum::PseudoHeader);
        if covered && advert.version == Version::V3 {
            cover_with_checksum(&mut message, &tail);
        }
        message.extend(&tail);
        let view = decode(&message, source, group).expect("our own");
        prop_assert_eq!(view.trailer().is_some(), tail.len() == 28 && tail[0] == 1);
        prop_assert_eq!(view.to_advert(), advert);
    }

    #[test]
    fn any_bytes_are_an_advert_or_a_reason(
        mut message in prop::collection::vec(any::<u8>(), 0..2_000),
        source: IpAddr, destination: IpAddr, version in prop::option::of(2u8..4), whole: bool,
    ) {
        if let (Some(version), Some(first)) = (version, message.first_mut()) {
            *first = version << 4 | 1;
        }
        if whole && message.len() >= HEADER_LEN {
            message[CHECKSUM_AT].fill(0);
            write_checksum(&mut message, None);
        }
        if let Ok(view) = decode(&message, source, destination) {
            prop_assert!((1..=255).contains(&view.address_count()));
            prop_assert_eq!(view.addresses().count(), view.address_count());
            prop_assert!(!view.interval().is_zero());
        }
    }
}
