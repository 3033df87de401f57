use std::num::NonZeroU8;

use proptest::prelude::*;

use super::super::wire::{Diagnostic, Discriminator, Poll, State, decode};
use super::*;

fn content(detect_mult: u8) -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state: State::Up,
        poll: Poll::Neither,
        control_plane_independent: false,
        demand: false,
        detect_mult: NonZeroU8::new(detect_mult).expect("not 0"),
        my_discriminator: Discriminator::new(1).expect("not 0"),
        your_discriminator: Discriminator::new(2),
        desired_min_tx_us: 10_000,
        required_min_rx_us: 10_000,
        required_min_echo_rx_us: 0,
        authentication: None,
    }
}

fn check(receiver: &mut Sequence, auth: &Auth, message: &[u8]) -> Result<(), Reject> {
    receiver.verify(Some(auth), &decode(message)?, message)
}

fn auth(method: Method) -> Auth {
    Auth::new(method, Key::new(7, *b"secret"))
}

#[test]
fn the_digest_covers_the_packet_with_the_padded_key_in_its_place() {
    for (method, len) in [(Method::KeyedMd5, 16), (Method::MeticulousKeyedSha1, 20)] {
        let message = Sequence::new(40).sign(&auth(method), content(3));
        let (head, digest) = message.split_at(message.len() - len);
        assert_eq!(
            (head[3], head[25], head[26], head[27]),
            (head[25] + 24, 8 + head[25] - 8, 7, 0)
        );
        let mut padded = b"secret".to_vec();
        padded.resize(len, 0);
        let whole = [head, &padded].concat();
        let md5 = method == Method::KeyedMd5;
        let expected =
            if md5 { Md5::digest(&whole).to_vec() } else { Sha1::digest(&whole).to_vec() };
        assert_eq!(digest, expected, "{method}");
    }
}

#[test]
fn the_right_key_is_taken_and_any_other_refused() {
    for method in Method::ALL {
        let ours = auth(method);
        let message = Sequence::new(1).sign(&ours, content(3));
        let verify = |auth: &Auth| check(&mut Sequence::new(0), auth, &message);
        assert_eq!(verify(&ours), Ok(()), "{method}");
        let other_secret = Auth::new(method, Key::new(7, *b"Secret"));
        assert_eq!(verify(&other_secret), Err(Reject::AuthProof), "{method}");
        let other_id = Auth::new(method, Key::new(8, *b"secret"));
        assert_eq!(verify(&other_id), Err(Reject::AuthKey), "{method}");
        assert_eq!(verify(&other_id.also_accept(Key::new(7, *b"secret"))), Ok(()), "{method}");
        for other in Method::ALL.into_iter().filter(|other| *other != method) {
            assert_eq!(verify(&auth(other)), Err(Reject::AuthMethod), "{method} {other}");
        }
        let packet = decode(&message).expect("valid");
        let none = Sequence::new(0).verify(None, &packet, &message);
        assert_eq!(none, Err(Reject::AuthMethod), "no authentication here");
    }
    let plain = encode(&content(3));
    let refused = check(&mut Sequence::new(0), &auth(Method::KeyedSha1), &plain);
    assert_eq!(refused, Err(Reject::AuthMethod), "no authentication there");
}

#[test]
fn meticulous_methods_take_each_number_once() {
    for method in [Method::MeticulousKeyedMd5, Method::MeticulousKeyedSha1] {
        let auth = auth(method);
        let (mut sender, mut receiver) = (Sequence::new(u32::MAX - 2), Sequence::new(0));
        for _ in 0..6 {
            // Across the wrap of the number.
            let message = sender.sign(&auth, content(3));
            assert_eq!(check(&mut receiver, &auth, &message), Ok(()));
            assert_eq!(check(&mut receiver, &auth, &message), Err(Reject::AuthSequence));
        }
    }
}

#[test]
fn other_methods_take_a_repeated_packet_but_none_from_before_a_change() {
    for method in [Method::KeyedMd5, Method::KeyedSha1] {
        let auth = auth(method);
        let (mut sender, mut receiver) = (Sequence::new(5), Sequence::new(0));
        let first = sender.sign(&auth, content(3));
        assert_eq!(sender.sign(&auth, content(3)), first, "the same says the same");
        assert_eq!(check(&mut receiver, &auth, &first), Ok(()));
        assert_eq!(check(&mut receiver, &auth, &first), Ok(()));
        let changed = sender.sign(&auth, ControlPacket { state: State::Down, ..content(3) });
        assert_eq!(check(&mut receiver, &auth, &changed), Ok(()));
        assert_eq!(check(&mut receiver, &auth, &first), Err(Reject::AuthSequence));
    }
}

#[test]
fn the_window_is_three_detect_multipliers_wide() {
    let auth = auth(Method::MeticulousKeyedSha1);
    for (ahead, expected) in [(6, Ok(())), (7, Err(Reject::AuthSequence))] {
        let mut receiver = Sequence::new(0);
        let first = Sequence::new(100).sign(&auth, content(2));
        assert_eq!(check(&mut receiver, &auth, &first), Ok(()));
        let later = Sequence::new(100 + ahead).sign(&auth, content(2));
        assert_eq!(check(&mut receiver, &auth, &later), expected, "{ahead} ahead");
        receiver.forget();
        assert_eq!(check(&mut receiver, &auth, &later), Ok(()), "after a long silence");
    }
}

#[test]
fn a_forged_packet_does_not_move_the_window() {
    let (right, wrong) = (
        auth(Method::MeticulousKeyedMd5),
        Auth::new(Method::MeticulousKeyedMd5, Key::new(7, *b"?")),
    );
    let mut receiver = Sequence::new(0);
    let first = Sequence::new(10).sign(&right, content(3));
    assert_eq!(check(&mut receiver, &right, &first), Ok(()));
    let forged = Sequence::new(15).sign(&wrong, content(3));
    assert_eq!(check(&mut receiver, &right, &forged), Err(Reject::AuthProof));
    let next = Sequence::new(11).sign(&right, content(3));
    assert_eq!(check(&mut receiver, &right, &next), Ok(()));
}

#[test]
fn keys_are_changed_without_a_gap() {
    let (old, new) = (Key::new(1, *b"old"), Key::new(2, *b"new"));
    let method = Method::MeticulousKeyedSha1;
    let steps = [
        Auth::new(method, old.clone()),
        Auth::new(method, old.clone()).also_accept(new.clone()),
        Auth::new(method, new.clone()).also_accept(old),
        Auth::new(method, new),
    ];
    // Each end goes one step, then the other one: at no time do they refuse each other.
    for pair in steps.windows(2) {
        for (sends, hears) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
            let message = Sequence::new(0).sign(sends, content(3));
            assert_eq!(check(&mut Sequence::new(0), hears, &message), Ok(()));
        }
    }
}

proptest! {
    #[test]
    fn one_flipped_bit_of_an_authenticated_packet_is_never_taken(bit in 0_usize..52 * 8, method in 1_usize..5) {
        let auth = auth(Method::ALL[method]);
        let mut message = Sequence::new(3).sign(&auth, content(3));
        let bit = bit % (message.len() * 8);
        // The reserved byte is covered by the digest, too.
        message[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(check(&mut Sequence::new(0), &auth, &message).is_err());
    }

    #[test]
    fn methods_are_read_as_they_are_shown(index in 0_usize..5) {
        let method = Method::ALL[index];
        prop_assert_eq!(method.to_string().parse(), Ok(method));
    }
}
