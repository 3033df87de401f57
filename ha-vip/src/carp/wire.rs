//! CARP version 2 on the wire.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |Version| Type  |     VHID      |    advskew    |  auth length  |
//! +-------+-------+---------------+---------------+---------------+
//! |   reserved    |    advbase    |           Checksum            |
//! +---------------+---------------+-------------------------------+
//! |                       counter (64 bits)                       |
//! |                     HMAC-SHA1 (160 bits)                      |
//! ```
//!
//! The HMAC's key is the password, padded with zeros to 20 bytes; its message is version, type,
//! VHID, the addresses in ascending order and the counter.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::config::Vhid;
use crate::vrrp::sum;

/// The group that CARP speaks to, the same as VRRP's.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// The length of every message: 8 bytes of header, 8 of counter, 20 of HMAC.
pub const MESSAGE_LEN: usize = 36;
/// The longest password: the key is 20 bytes.
pub const MAX_PASSWORD_LEN: usize = 20;

/// Version 2, type 1 (advertisement) as one byte of the header.
const VERSION_AND_TYPE: u8 = 0x21;
/// Version and type as the HMAC sees them: a byte each.
const VERSION: u8 = 2;
const ADVERTISEMENT: u8 = 1;
/// The authentication part in words of four bytes: counter and HMAC.
const AUTH_LEN: u8 = 7;

/// An advertisement whose HMAC is right, or that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advert {
    /// The group of hosts that share the addresses.
    pub vhid: Vhid,
    /// Seconds between the sender's adverts; **not** covered by the HMAC.
    pub advbase: u8,
    /// What is added to `advbase`, in 1/256 s; **not** covered by the HMAC.
    pub advskew: u8,
    /// A number that the sender's next adverts count up from.
    pub counter: u64,
}

impl Advert {
    /// An advert.
    #[must_use]
    pub const fn new(vhid: Vhid, advbase: u8, advskew: u8, counter: u64) -> Self {
        Self { vhid, advbase, advskew, counter }
    }

    /// The time between the sender's adverts; the shorter one is preferred as master.
    #[must_use]
    pub fn interval(&self) -> Duration {
        interval(self.advbase, self.advskew)
    }

    /// Whether the sender says that it stops: `advbase` and `advskew` are both 255.
    #[must_use]
    pub const fn is_goodbye(&self) -> bool {
        self.advbase == u8::MAX && self.advskew == u8::MAX
    }
}

/// `advbase` + `advskew`/256 seconds.
pub(super) fn interval(advbase: u8, advskew: u8) -> Duration {
    let skew = Duration::from_nanos(1_000_000_000 / 256).saturating_mul(u32::from(advskew));
    Duration::from_secs(u64::from(advbase)).saturating_add(skew)
}

/// Why a packet was not taken for an advert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// Its authentication part has another length than CARP's.
    AuthLength,
    /// Its checksum is wrong.
    Checksum,
    /// Its HMAC is wrong: another password, other addresses, or a forgery.
    Digest,
    /// It came over a router: its TTL is not 255.
    HopLimit,
    /// It is shorter or longer than 36 bytes.
    Length,
    /// It came from our own address.
    OwnReflection,
    /// Its counter was seen before: it is a copy.
    Replay,
    /// Its counter does not follow those of the master that is known to be alive.
    Stale,
    /// It is not an advertisement.
    Type,
    /// It is not version 2: VRRP, which has the same protocol number, or a later CARP.
    Version,
    /// It is another group's.
    Vhid,
}

impl Reject {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::AuthLength,
        Self::Checksum,
        Self::Digest,
        Self::HopLimit,
        Self::Length,
        Self::OwnReflection,
        Self::Replay,
        Self::Stale,
        Self::Type,
        Self::Version,
        Self::Vhid,
    ];
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AuthLength => "authentication length",
            Self::Checksum => "checksum",
            Self::Digest => "HMAC: password or addresses differ",
            Self::HopLimit => "TTL is not 255",
            Self::Length => "not 36 bytes",
            Self::OwnReflection => "own packet",
            Self::Replay => "replayed",
            Self::Stale => "out of sequence",
            Self::Type => "not an advertisement",
            Self::Version => "not CARP version 2",
            Self::Vhid => "another group",
        })
    }
}

/// Signs and verifies the adverts of hosts that share a password and addresses.
#[derive(Clone)]
pub struct Authenticator {
    keyed: Hmac<Sha1>,
    addresses: Vec<Ipv4Addr>,
}

impl Authenticator {
    /// An authenticator; `None` when the password is empty or longer than 20 bytes.
    ///
    /// ucarp has one address; as BSD does, several count in ascending order.
    #[must_use]
    pub fn new(password: &[u8], addresses: &[Ipv4Addr]) -> Option<Self> {
        let mut key = [0; MAX_PASSWORD_LEN];
        key.get_mut(..password.len()).filter(|key| !key.is_empty())?.copy_from_slice(password);
        let keyed = Hmac::<Sha1>::new_from_slice(&key).ok()?;
        let mut addresses = addresses.to_vec();
        addresses.sort_unstable();
        Some(Self { keyed, addresses })
    }

    fn signed(&self, vhid: u8, counter: u64) -> Hmac<Sha1> {
        let mut hmac = self.keyed.clone();
        hmac.update(&[VERSION, ADVERTISEMENT, vhid]);
        for address in &self.addresses {
            hmac.update(&address.octets());
        }
        hmac.update(&counter.to_be_bytes());
        hmac
    }

    /// Eight bytes that nobody without the password can foretell, the same for the same numbers.
    pub(super) fn derive(&self, seed: u64, index: u64) -> u64 {
        let mut hmac = self.keyed.clone();
        // No advert's message begins so: the two uses of the key cannot be mixed up.
        hmac.update(b"counter");
        hmac.update(&seed.to_be_bytes());
        hmac.update(&index.to_be_bytes());
        let digest = hmac.finalize().into_bytes();
        digest.first_chunk().map_or(seed, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl fmt::Debug for Authenticator {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Reads a CARP message (what follows the IP header) of the group `vhid`.
///
/// The HMAC is compared in constant time, and last: what is not for us costs no hash.
///
/// # Errors
///
/// [`Reject`] with the first reason found.
pub fn decode(message: &[u8], vhid: Vhid, authenticator: &Authenticator) -> Result<Advert, Reject> {
    // The version first: VRRP's messages have other lengths.
    let first = message.first().ok_or(Reject::Length)?;
    if first >> 4 != VERSION {
        return Err(Reject::Version);
    }
    if first & 0x0f != ADVERTISEMENT {
        return Err(Reject::Type);
    }
    let whole: &[u8; MESSAGE_LEN] = message.try_into().map_err(|_| Reject::Length)?;
    let [_, their_vhid, advskew, auth_len, _, advbase, _, _, rest @ ..] = whole;
    if *auth_len != AUTH_LEN {
        return Err(Reject::AuthLength);
    }
    if *their_vhid != vhid.get() {
        return Err(Reject::Vhid);
    }
    if sum(&[message]) != 0xffff {
        return Err(Reject::Checksum);
    }
    let (counter, digest) = rest.split_first_chunk::<8>().ok_or(Reject::Length)?;
    let counter = u64::from_be_bytes(*counter);
    authenticator.signed(*their_vhid, counter).verify_slice(digest).map_err(|_| Reject::Digest)?;
    Ok(Advert { vhid, advbase: *advbase, advskew: *advskew, counter })
}

/// Writes the CARP message of `advert`.
///
/// ```
/// use ha_vip::carp::Vhid;
/// use ha_vip::carp::wire::{Advert, Authenticator, decode, encode};
///
/// let authenticator = Authenticator::new(b"love", &["10.77.0.200".parse()?]).ok_or("password")?;
/// let vhid = Vhid::new(42).ok_or("vhid")?;
/// let advert = Advert::new(vhid, 1, 0, 0xe9d6_ffe7_b8dd_7640);
/// let message = encode(&advert, &authenticator);
/// assert_eq!(message[6..8], [0xc1, 0x28]); // the checksum that ucarp computes
/// assert_eq!(decode(&message, vhid, &authenticator), Ok(advert));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn encode(advert: &Advert, authenticator: &Authenticator) -> Vec<u8> {
    let mut message = Vec::with_capacity(MESSAGE_LEN);
    let vhid = advert.vhid.get();
    message.extend([VERSION_AND_TYPE, vhid, advert.advskew, AUTH_LEN, 0, advert.advbase, 0, 0]);
    message.extend(advert.counter.to_be_bytes());
    message.extend(authenticator.signed(vhid, advert.counter).finalize().into_bytes());
    let checksum = !sum(&[&message]);
    if let Some(field) = message.get_mut(6..8) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    message
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vhid(number: u8) -> Vhid {
        Vhid::new(number).expect("not 0")
    }

    fn authenticator(password: &[u8]) -> Authenticator {
        Authenticator::new(password, &[Ipv4Addr::new(10, 0, 0, 100)]).expect("a password")
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            number in 1u8.., advbase: u8, advskew: u8, counter: u64,
            password in prop::collection::vec(any::<u8>(), 1..=20),
        ) {
            let advert = Advert::new(vhid(number), advbase, advskew, counter);
            let message = encode(&advert, &authenticator(&password));
            prop_assert_eq!(decode(&message, vhid(number), &authenticator(&password)), Ok(advert));
        }

        #[test]
        fn one_flipped_bit_is_never_taken(counter: u64, bit in 0..MESSAGE_LEN * 8) {
            let advert = Advert::new(vhid(7), 1, 100, counter);
            let mut message = encode(&advert, &authenticator(b"secret"));
            message[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&message, vhid(7), &authenticator(b"secret")).is_err());
        }

        #[test]
        fn a_changed_counter_needs_the_password(counter: u64, other: u64) {
            prop_assume!(counter != other);
            // Everything right but the HMAC: what an attacker can write.
            let mut message = encode(&Advert::new(vhid(7), 1, 100, counter), &authenticator(b"a"));
            message[8..16].copy_from_slice(&other.to_be_bytes());
            message[6..8].fill(0);
            let checksum = !sum(&[&message]);
            message[6..8].copy_from_slice(&checksum.to_be_bytes());
            prop_assert_eq!(decode(&message, vhid(7), &authenticator(b"a")), Err(Reject::Digest));
        }

        #[test]
        fn any_bytes_are_an_advert_or_a_reason(message in prop::collection::vec(any::<u8>(), 0..80)) {
            let _is_no_panic = decode(&message, vhid(1), &authenticator(b"x"));
        }
    }

    #[test]
    fn several_addresses_count_in_any_order_and_all_of_them() {
        let all = ["10.0.0.9", "10.0.0.100"].map(|ip| ip.parse().expect("an address"));
        let advert = Advert::new(vhid(1), 1, 0, 5);
        let message = encode(&advert, &Authenticator::new(b"x", &all).expect("ok"));
        let turned = Authenticator::new(b"x", &[all[1], all[0]]).expect("ok");
        assert_eq!(decode(&message, vhid(1), &turned), Ok(advert));
        let fewer = Authenticator::new(b"x", &all[..1]).expect("ok");
        assert_eq!(decode(&message, vhid(1), &fewer), Err(Reject::Digest));
    }

    #[test]
    fn a_password_has_1_to_20_bytes_and_is_never_shown() {
        for (len, allowed) in [(0, false), (1, true), (20, true), (21, false)] {
            assert_eq!(Authenticator::new(&vec![b'x'; len], &[]).is_some(), allowed, "{len}");
        }
        assert!(!format!("{:?}", authenticator(b"hunter2")).contains("hunter2"));
    }
}
