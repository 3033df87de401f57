use proptest::prelude::*;

use super::super::config::Vrid;
use super::super::wire::extension::{Beat, Message};
use super::super::wire::{Advert, Checksum, Version, decode, encode};
use super::*;

const NOW: Duration = Duration::from_hours(500_000);
const BEFORE: Duration = Duration::from_hours(499_999);
const SECOND: Duration = Duration::from_secs(1);

fn peer() -> IpAddr {
    [192, 0, 2, 2].into()
}

fn us() -> IpAddr {
    [192, 0, 2, 1].into()
}

fn config(rollout: Rollout) -> HmacConfig {
    HmacConfig::builder().key(1, [1; 32]).rollout(rollout).build().expect("a configuration")
}

fn enforcing() -> Authenticator {
    Authenticator::new(config(Rollout::Enforce))
}

fn keys(ids: &[u8], active: u8) -> Authenticator {
    let builder = ids.iter().fold(HmacConfig::builder(), |b, id| b.key(*id, [*id; 32]));
    Authenticator::new(builder.active(active).build().expect("a configuration"))
}

fn monotonic() -> Authenticator {
    let builder = HmacConfig::builder().key(1, [1; 32]).monotonic();
    Authenticator::new(builder.build().expect("a configuration"))
}

fn unsigned(source: IpAddr, priority: u8) -> Vec<u8> {
    let vrid = Vrid::new(51).expect("not 0");
    let address = if source.is_ipv4() { us() } else { "fe80::100".parse().expect("an address") };
    let advert = Advert::new(Version::V3, vrid, priority, SECOND, vec![address]);
    encode(&advert, source, us_of(source), Checksum::PseudoHeader)
}

fn us_of(source: IpAddr) -> IpAddr {
    if source.is_ipv4() { us() } else { "fe80::1".parse().expect("an address") }
}

fn signed(signer: &mut Authenticator, source: IpAddr, wall: Duration) -> Vec<u8> {
    let mut message = unsigned(source, 150);
    signer.sign(&mut message, source, wall);
    message
}

fn heard(
    verifier: &mut Authenticator,
    message: &[u8],
    source: IpAddr,
    wall: Duration,
) -> Result<(), Reject> {
    verifier.verify(&decode(message, source, us_of(source))?, source, wall)
}

#[test]
fn the_trailer_says_key_time_and_counter() {
    let mut signer = keys(&[1, 7], 7);
    let wall = NOW + Duration::from_millis(250);
    for counter in 0..3 {
        let message = signed(&mut signer, peer(), wall);
        let trailer = decode(&message, peer(), us()).expect("valid").trailer().expect("signed");
        assert_eq!((trailer.key_id(), trailer.made_at(), trailer.counter()), (7, wall, counter));
    }
}

#[test]
fn a_replayed_or_old_packet_is_refused() {
    let (mut signer, mut verifier) = (enforcing(), enforcing());
    let first = signed(&mut signer, peer(), NOW);
    let second = signed(&mut signer, peer(), NOW);
    assert_eq!(heard(&mut verifier, &second, peer(), NOW), Ok(()));
    for old in [&first, &second] {
        assert_eq!(heard(&mut verifier, old, peer(), NOW), Err(Reject::Replay));
    }
    // Another host's record of it is no more use, nor is it later.
    let (other, mut stolen) = ([192, 0, 2, 3].into(), second.clone());
    mend_checksum(&mut stolen, other);
    assert_eq!(heard(&mut enforcing(), &stolen, other, NOW), Err(Reject::HmacWrong));
    assert_eq!(heard(&mut enforcing(), &second, peer(), NOW + 6 * SECOND), Err(Reject::HmacStale));
    assert_eq!(heard(&mut enforcing(), &second, peer(), BEFORE), Err(Reject::HmacStale));
    assert_eq!(heard(&mut enforcing(), &second, peer(), NOW + 5 * SECOND), Ok(()));
}

#[test]
fn what_was_refused_is_not_remembered() {
    let mut verifier = enforcing();
    let mut stranger =
        Authenticator::new(HmacConfig::builder().key(1, [9; 32]).build().expect("a configuration"));
    let forged = signed(&mut stranger, peer(), NOW + SECOND);
    assert_eq!(heard(&mut verifier, &forged, peer(), NOW), Err(Reject::HmacWrong));
    let right = signed(&mut enforcing(), peer(), NOW);
    assert_eq!(heard(&mut verifier, &right, peer(), NOW), Ok(()));
}

#[test]
fn old_and_new_key_are_both_accepted_while_keys_change() {
    let mut receiver = keys(&[1, 2], 1);
    let not_yet = signed(&mut keys(&[1], 1), peer(), NOW);
    let already = signed(&mut keys(&[1, 2], 2), peer(), NOW + SECOND);
    assert_eq!(heard(&mut receiver, &not_yet, peer(), NOW), Ok(()));
    assert_eq!(heard(&mut receiver, &already, peer(), NOW + SECOND), Ok(()));
    // The old key is taken out; what was heard is not forgotten.
    receiver.reconfigure(keys(&[2], 2).config().clone());
    let late = signed(&mut keys(&[1], 1), peer(), NOW + 2 * SECOND);
    assert_eq!(heard(&mut receiver, &late, peer(), NOW), Err(Reject::HmacKey));
    assert_eq!(heard(&mut receiver, &already, peer(), NOW), Err(Reject::Replay));
}

#[test]
fn each_step_of_the_rollout_hears_the_step_before_and_after() {
    use Rollout::{Enforce, Permissive, ReceiveOnly};
    for (from, to, taken) in [
        (ReceiveOnly, ReceiveOnly, Ok(())),
        (ReceiveOnly, Permissive, Ok(())),
        (Permissive, ReceiveOnly, Ok(())),
        (Permissive, Enforce, Ok(())),
        (Enforce, Permissive, Ok(())),
        (Enforce, Enforce, Ok(())),
        (ReceiveOnly, Enforce, Err(Reject::HmacMissing)),
    ] {
        let message = signed(&mut Authenticator::new(config(from)), peer(), NOW);
        assert_eq!(message.len(), if from == ReceiveOnly { 12 } else { 40 });
        let mut receiver = Authenticator::new(config(to));
        assert_eq!(heard(&mut receiver, &message, peer(), NOW), taken, "{from:?} to {to:?}");
    }
    // A wrong trailer is refused at every step.
    let wrong = signed(&mut keys(&[2], 2), peer(), NOW);
    for to in [ReceiveOnly, Permissive, Enforce] {
        let mut receiver = Authenticator::new(config(to));
        assert_eq!(heard(&mut receiver, &wrong, peer(), NOW), Err(Reject::HmacKey));
    }
}

#[test]
fn a_restarted_peer_is_heard_at_once() {
    let mut verifier = enforcing();
    for life in 0..5 {
        let wall = NOW + SECOND * life;
        let message = signed(&mut enforcing(), peer(), wall);
        assert_eq!(heard(&mut verifier, &message, peer(), wall), Ok(()));
    }
}

#[test]
fn a_sender_whose_clock_steps_back_goes_on_being_heard() {
    // By less than the window: the receivers' clocks are right, its own was fast.
    for mut pair in [(enforcing(), enforcing()), (monotonic(), monotonic())] {
        for ms in 0..20_000 {
            let true_time = NOW + Duration::from_millis(ms);
            let error = if ms < 1_000 { 4 * SECOND } else { Duration::ZERO };
            let message = signed(&mut pair.0, peer(), true_time + error);
            assert_eq!(heard(&mut pair.1, &message, peer(), true_time), Ok(()), "at {ms} ms");
        }
    }
}

#[test]
fn all_clocks_may_step_back_together() {
    let (mut signer, mut verifier) = (enforcing(), enforcing());
    let before = signed(&mut signer, peer(), NOW + 3600 * SECOND);
    assert_eq!(heard(&mut verifier, &before, peer(), NOW + 3600 * SECOND), Ok(()));
    let after = signed(&mut signer, peer(), NOW);
    assert_eq!(heard(&mut verifier, &after, peer(), NOW), Ok(()));
    assert_eq!(heard(&mut verifier, &after, peer(), NOW), Err(Reject::Replay));
}

#[test]
fn without_a_window_clocks_need_not_agree_and_numbers_must_still_grow() {
    let (mut signer, mut verifier) = (monotonic(), monotonic());
    let first = signed(&mut signer, peer(), NOW);
    // It stepped back by an hour: this sender goes on from its last number.
    let second = signed(&mut signer, peer(), BEFORE);
    for message in [&first, &second] {
        assert_eq!(heard(&mut verifier, message, peer(), Duration::ZERO), Ok(()));
    }
    assert_eq!(heard(&mut verifier, &first, peer(), Duration::ZERO), Err(Reject::Replay));
}

#[test]
fn the_end_of_the_32_bits_of_seconds_is_no_event() {
    let (mut signer, mut verifier) = (enforcing(), enforcing());
    for ms in (0..10_000).step_by(100) {
        let wall = Duration::from_secs(u64::from(u32::MAX) - 4) + Duration::from_millis(ms);
        let message = signed(&mut signer, peer(), wall);
        assert_eq!(heard(&mut verifier, &message, peer(), wall), Ok(()), "{wall:?}");
    }
}

#[test]
fn senders_are_remembered_up_to_a_bound() {
    let mut verifier = enforcing();
    let sender = |n: u16| IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    let hear = |verifier: &mut Authenticator, n: u16, wall| {
        let message = signed(&mut enforcing(), sender(n), wall);
        heard(verifier, &message, sender(n), wall)
    };
    for n in 0..256 {
        assert_eq!(hear(&mut verifier, n, NOW), Ok(()));
    }
    assert_eq!(hear(&mut verifier, 256, NOW), Err(Reject::Replay), "nobody is forgotten too early");
    assert_eq!(hear(&mut verifier, 5, NOW + SECOND), Ok(()), "who is known is still heard");
    assert_eq!(hear(&mut verifier, 256, NOW + 6 * SECOND), Ok(()), "old ones make room");
    assert!(verifier.heard.len() <= 3, "{}", verifier.heard.len());
}

#[test]
fn messages_of_the_extension_are_signed_like_adverts() {
    for source in [peer(), "fe80::2".parse().expect("an address")] {
        let destination = us_of(source);
        let beat = Beat::new(Vrid::new(51).expect("not 0"), 150, SECOND / 1_000, 1);
        let mut message = extension::encode(Message::Beat(beat), source, destination);
        let bare = message.clone();
        enforcing().sign(&mut message, source, NOW);
        let read = extension::decode(&message, source, destination);
        assert_eq!(read, Ok(Message::Beat(beat)));
        let mut verifier = enforcing();
        assert_eq!(verifier.verify_extension(&message, source, NOW), Ok(()));
        assert_eq!(verifier.verify_extension(&message, source, NOW), Err(Reject::Replay));
        assert_eq!(verifier.verify_extension(&bare, source, NOW), Err(Reject::HmacMissing));
        message[2] ^= 1;
        let mut verifier = enforcing();
        assert_eq!(verifier.verify_extension(&message, source, NOW), Err(Reject::HmacWrong));
    }
}

#[test]
fn a_message_without_a_header_is_not_signed() {
    let mut message = vec![0x31; 7];
    enforcing().sign(&mut message, peer(), NOW);
    assert_eq!(message, [0x31; 7]);
}

proptest! {
    #[test]
    fn any_flipped_bit_is_refused(
        of_ipv6: bool, ms in 0u64..100_000, bit: usize, mend: bool,
    ) {
        let source = if of_ipv6 { "fe80::2".parse().expect("an address") } else { peer() };
        let wall = NOW + Duration::from_millis(ms);
        let mut message = signed(&mut enforcing(), source, wall);
        prop_assert_eq!(heard(&mut enforcing(), &message, source, wall), Ok(()));
        let bit = bit % (message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        if mend && !(48..64).contains(&bit) {
            mend_checksum(&mut message, source);
            let view = decode(&message, source, us_of(source));
            prop_assert_ne!(view.map(|_| ()), Err(Reject::Checksum));
        }
        prop_assert!(heard(&mut enforcing(), &message, source, wall).is_err());
    }

    #[test]
    fn every_message_is_newer_than_the_one_before(
        steps in prop::collection::vec((-2_000i64..20_000, 0u64..3), 1..200),
    ) {
        // A clock that jumps about by up to 2 s, on hosts whose clocks differ by up to 2 s.
        let (mut signer, mut verifier) = (enforcing(), enforcing());
        let mut true_time = NOW;
        for (error, wait) in steps {
            true_time += Duration::from_millis(wait);
            let error = Duration::from_micros((error / 10 + 2_000).unsigned_abs());
            let message = signed(&mut signer, peer(), true_time + error);
            prop_assert_eq!(heard(&mut verifier, &message, peer(), true_time), Ok(()));
            prop_assert_eq!(heard(&mut verifier, &message, peer(), true_time), Err(Reject::Replay));
        }
    }

    #[test]
    fn any_trailer_is_right_or_refused(
        tail in prop::collection::vec(any::<u8>(), 0..60), wall: u32, kind: bool,
    ) {
        let mut message = unsigned(peer(), 100);
        let at = message.len();
        message.extend(tail);
        if kind && message.len() > at + 1 {
            message[at..at + 2].copy_from_slice(&[1, 1]);
        }
        let wall = Duration::from_secs(wall.into());
        prop_assert!(heard(&mut enforcing(), &message, peer(), wall).is_err());
        let _is_no_panic = enforcing().verify_extension(&message, peer(), wall);
    }
}

/// What a forger does, who has no key: it makes the checksum right.
fn mend_checksum(message: &mut [u8], source: IpAddr) {
    for checksum in 0..=u16::MAX {
        message[6..8].copy_from_slice(&checksum.to_be_bytes());
        if decode(message, source, us_of(source)).map(|_| ()) != Err(Reject::Checksum) {
            return;
        }
    }
}
