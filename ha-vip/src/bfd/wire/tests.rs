use proptest::prelude::*;

use super::*;

/// Any valid packet.
pub(crate) fn packets() -> impl Strategy<Value = ControlPacket> {
    let section = (0_usize..6, any::<u8>(), any::<u32>(), prop::collection::vec(any::<u8>(), 20));
    let section = section.prop_map(|(method, key_id, sequence, mut proof)| {
        let method = *Method::ALL.get(method)?;
        let password = method.digest_len().is_none();
        let len = method.digest_len().unwrap_or(1 + usize::from(key_id) % 16);
        proof.truncate(len);
        Some(Section { method, key_id, sequence: if password { 0 } else { sequence }, proof })
    });
    let bits = (0_u8..32, 0_u8..4, 0_u8..3, any::<bool>(), any::<bool>(), 1..=u8::MAX);
    let fields = (1..=u32::MAX, any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    (bits, fields, section).prop_map(|(bits, fields, authentication)| {
        let (diagnostic, state, poll, control_plane_independent, demand, mult) = bits;
        let (my, your, desired_min_tx_us, required_min_rx_us, required_min_echo_rx_us) = fields;
        let your_discriminator = Discriminator::new(your);
        let state = State::from_bits(state);
        ControlPacket {
            diagnostic: Diagnostic::new(diagnostic).expect("below 32"),
            state: if your_discriminator.is_some() { state } else { State::Down },
            poll: [Poll::Neither, Poll::Poll, Poll::Final][usize::from(poll)],
            control_plane_independent,
            demand,
            detect_mult: NonZeroU8::new(mult).expect("not 0"),
            my_discriminator: Discriminator::new(my).expect("not 0"),
            your_discriminator,
            desired_min_tx_us,
            required_min_rx_us,
            required_min_echo_rx_us,
            authentication,
        }
    })
}

fn example() -> Vec<u8> {
    let mut message = vec![0x20, 0x40, 3, 24];
    for field in [7_u32, 0, 1_000_000, 10_000, 0] {
        message.extend(field.to_be_bytes());
    }
    message
}

#[test]
fn each_rule_of_reception_has_its_reason() {
    let wrong = |at: usize, value: u8| {
        let mut message = example();
        message[at] = value;
        decode(&message)
    };
    assert!(decode(&example()).is_ok());
    assert_eq!(decode(&example()[..23]), Err(Reject::Length));
    assert_eq!(wrong(0, 0x00), Err(Reject::Version));
    assert_eq!(wrong(0, 0x40), Err(Reject::Version));
    assert_eq!(wrong(3, 23), Err(Reject::Length), "shorter than the header");
    assert_eq!(wrong(3, 25), Err(Reject::Length), "longer than the datagram");
    assert_eq!(wrong(2, 0), Err(Reject::DetectMult));
    assert_eq!(wrong(1, 0x41), Err(Reject::Multipoint));
    assert_eq!(wrong(7, 0), Err(Reject::MyDiscriminator));
    assert_eq!(wrong(1, 0x80), Err(Reject::YourDiscriminator), "Init");
    assert_eq!(wrong(1, 0xc0), Err(Reject::YourDiscriminator), "Up");
    assert!(wrong(1, 0x00).is_ok(), "AdminDown");
    assert_eq!(wrong(1, 0x70), Err(Reject::PollAndFinal));
    assert_eq!(wrong(1, 0x44), Err(Reject::Length), "authenticated, but no room for it");
}

#[test]
fn authentication_sections_of_a_wrong_length_are_refused() {
    let with = |section: &[u8]| {
        let mut message = example();
        message[1] |= AUTHENTICATED;
        message[3] += u8::try_from(section.len()).expect("short");
        message.extend(section);
        decode(&message).map(|packet| packet.authentication.expect("a section").proof)
    };
    assert_eq!(with(&[1, 6, 9, b'a', b'b', b'c']), Ok(b"abc".to_vec()));
    assert_eq!(with(&[1, 6, 9, b'a', b'b', b'c', 0, 0]), Ok(b"abc".to_vec()), "what follows");
    assert_eq!(with(&[1, 2]), Err(Reject::AuthLength));
    assert_eq!(with(&[1, 3, 9]), Err(Reject::AuthLength), "an empty password");
    assert_eq!(with(&[1, 7, 9, b'a', b'b', b'c']), Err(Reject::AuthLength), "beyond the packet");
    let mut long = vec![1, 20, 9];
    long.resize(20, b'x');
    assert_eq!(with(&long), Err(Reject::AuthLength), "17 letters");
    for (number, len) in [(2, 24), (3, 24), (4, 28), (5, 28)] {
        let section = |len: u8| {
            let mut section = vec![number, len, 9];
            section.resize(usize::from(len), 0);
            section
        };
        assert!(with(&section(len)).is_ok());
        assert_eq!(with(&section(len - 1)), Err(Reject::AuthLength));
        assert_eq!(with(&section(len + 1)), Err(Reject::AuthLength));
    }
    assert_eq!(with(&[6, 6, 9, 0, 0, 0]), Err(Reject::AuthMethod), "not known");
    assert_eq!(with(&[0, 6, 9, 0, 0, 0]), Err(Reject::AuthMethod), "reserved");
}

#[test]
fn every_reason_is_counted_once_and_named_differently() {
    let mut names: Vec<String> = Reject::ALL.iter().map(ToString::to_string).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), Reject::ALL.len());
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(packet in packets(), more in prop::collection::vec(any::<u8>(), 0..9)) {
        let mut message = encode(&packet);
        prop_assert_eq!(usize::from(message[3]), message.len());
        message.extend(more);
        prop_assert_eq!(decode(&message), Ok(packet));
    }

    #[test]
    fn any_bytes_are_a_packet_or_a_reason(mut bytes in prop::collection::vec(any::<u8>(), 0..80), likely: bool) {
        if likely && bytes.len() >= 4 {
            bytes[0] = 0x20 | bytes[0] & 0x1f;
            bytes[3] %= 80;
        }
        if let Ok(packet) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&packet)), Ok(packet));
        }
    }
}
