//! Sealed datagrams against the hostile.

use std::os::unix::fs::PermissionsExt;

use ha_membership::transport::{KeyFileError, OpenError, Sealed, SessionId, SharedKey};
use proptest::prelude::*;

fn sealed(keys: &[(u8, u8)], session: u8) -> Sealed {
    let keys = keys.iter().map(|(id, byte)| (*id, SharedKey::new([*byte; 32])));
    Sealed::new(keys, SessionId::new([session; 16])).expect("good keys")
}

#[test]
fn a_replayed_datagram_is_dropped_and_late_ones_are_taken_once() {
    let (mut a, mut b) = (sealed(&[(1, 7)], 1), sealed(&[(1, 7)], 2));
    let sent: Vec<_> = (0..1500).map(|n: u32| a.seal(&n.to_be_bytes()).expect("sealed")).collect();
    assert!(b.open(&sent[1100]).is_ok());
    assert!(b.open(&sent[500]).is_ok(), "late, but within the window");
    assert_eq!(b.open(&sent[500]), Err(OpenError::Replayed));
    assert_eq!(b.open(&sent[10]), Err(OpenError::Replayed), "too late to tell");
    assert!(b.open(&sent[1499]).is_ok());
    assert!(b.open(&sent[1200]).is_ok());
    assert_eq!(b.open(&sent[1100]), Err(OpenError::Replayed));
    assert_eq!(a.open(&sent[0]), Err(OpenError::Replayed), "one's own, sent back");
    assert_eq!((b.stats().opened, b.stats().replayed), (4, 3));
}

#[test]
fn another_key_another_version_and_cut_datagrams_are_counted() {
    let (mut a, mut wrong) = (sealed(&[(1, 7)], 1), sealed(&[(1, 8)], 2));
    let datagram = a.seal(b"hello").expect("sealed");
    assert_eq!(wrong.open(&datagram), Err(OpenError::Forged));
    assert_eq!(sealed(&[(2, 7)], 2).open(&datagram), Err(OpenError::UnknownKey(1)));
    assert_eq!(wrong.open(&datagram[..20]), Err(OpenError::Malformed));
    let mut old = datagram.clone();
    old[1] = 0;
    assert_eq!(wrong.open(&old), Err(OpenError::Version(0)));
    let stats = wrong.stats();
    assert_eq!((stats.forged, stats.malformed, stats.version, stats.opened), (1, 1, 1, 0));
}

#[test]
fn keys_rotate_without_a_break() {
    let mut old = sealed(&[(1, 7)], 1);
    let mut both = sealed(&[(1, 7), (2, 9)], 2);
    let mut new = sealed(&[(2, 9), (1, 7)], 3);
    for (from, to) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
        let datagram = match from {
            1 => old.seal(b"x"),
            2 => both.seal(b"x"),
            _ => new.seal(b"x"),
        };
        let datagram = datagram.expect("sealed");
        let opened = match to {
            1 => old.open(&datagram),
            2 => both.open(&datagram),
            _ => new.open(&datagram),
        };
        assert_eq!(opened.as_deref(), Ok(&b"x"[..]), "{from} to {to}");
    }
    assert!(Sealed::new([], SessionId::new([1; 16])).is_err());
}

#[test]
fn a_key_file_is_raw_or_hex_and_private() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let put = |bytes: &[u8], mode| {
        std::fs::write(file.path(), bytes).expect("written");
        std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).expect("set");
        SharedKey::read(file.path())
    };
    assert_eq!(put(&[7; 32], 0o600).expect("raw"), SharedKey::new([7; 32]));
    let hex = format!("{}\n", "07".repeat(32));
    assert_eq!(put(hex.as_bytes(), 0o640).expect("hex"), SharedKey::new([7; 32]));
    assert!(matches!(put(&[7; 32], 0o604), Err(KeyFileError::Exposed { .. })));
    assert!(matches!(put(b"secret", 0o600), Err(KeyFileError::NoKey { .. })));
    assert!(matches!(
        SharedKey::read("/nonexistent".as_ref()),
        Err(KeyFileError::Unreadable { .. })
    ));
}

proptest! {
    #[test]
    fn a_changed_bit_anywhere_is_noticed(plain: Vec<u8>, at: usize, bit in 0u8..8) {
        let (mut a, mut b) = (sealed(&[(1, 7)], 1), sealed(&[(1, 7)], 2));
        let mut datagram = a.seal(&plain).expect("sealed");
        let at = at % datagram.len();
        datagram[at] ^= 1 << bit;
        prop_assert!(b.open(&datagram).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes: Vec<u8>) {
        prop_assert!(sealed(&[(1, 7)], 1).open(&bytes).is_err());
    }
}
