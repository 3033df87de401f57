//! Fast adverts: our own extension for a failover in a few milliseconds, where VRRPv3 can say no
//! interval below 10 ms.
//!
//! A backup that wants to hear from the active router more often [`Offer`]s so; the active router
//! answers with a [`Beat`] every few hundred microseconds, beside its adverts. Both are messages
//! of protocol 112, version 3, with types that RFC 9568 does not know: 14 is an offer, 15 a beat.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------+-------+---------------+---------------+---------------+
//! |   3   |14, 15 | Virtual Rtr ID|   Priority    | Extension: 1  |
//! +-------+-------+---------------+---------------+---------------+
//! |      Magic: "HA" (0x4841)     |           Checksum            |
//! +-------------------------------+-------------------------------+
//! |  offer: shortest interval, µs       beat: interval, µs        |
//! +---------------------------------------------------------------+
//! |  offer: good for, µs                beat: sequence            |
//! +---------------------------------------------------------------+
//! ```
//!
//! The checksum always covers the pseudo-header. An HMAC trailer
//! ([`auth`](crate::vrrp::auth)) may follow, as it does an advert.
//!
//! Who does not know the extension drops it: RFC 9568 (section 5.2.2) has packets of an unknown
//! type discarded, and so has RFC 3768 (section 5.3.2) those of an unknown version or type. Who
//! knows it drops what has another magic or extension number. Even so it is sent by unicast
//! alone, and only to peers that the operator named as ours: nobody else ever gets to see it.
//! `docs/protocol/vrrp-extension.md` has the rules of timing.
//!
//! ```
//! use std::time::Duration;
//! use ha_vip::vrrp::Vrid;
//! use ha_vip::vrrp::wire::extension::{Beat, Message, decode, encode};
//!
//! let (active, backup) = ("192.0.2.1".parse()?, "192.0.2.2".parse()?);
//! let vrid = Vrid::new(51).expect("not 0");
//! let interval = Duration::from_millis(1);
//! let beat = Message::Beat(Beat::new(vrid, 150, interval, 7));
//!
//! let message = encode(beat, active, backup);
//! assert_eq!(message.len(), 16);
//! assert_eq!(decode(&message, active, backup), Ok(beat));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::IpAddr;
use std::time::Duration;

use super::{CHECKSUM_AT, Checksum, HEADER_LEN, Reject, reading, sum, write_checksum};
use crate::vrrp::auth::TRAILER_LEN;
use crate::vrrp::config::Vrid;

/// The length of either message without a trailer, in bytes.
pub const LEN: usize = 16;
/// The longest time that the wire can say: 2³² - 1 µs, about 71 minutes.
pub const MAX_TIME: Duration = Duration::from_micros(u32::MAX as u64);

const OFFER: u8 = 14;
const BEAT: u8 = 15;
/// Version 3, the upper half of the first byte.
const VERSION: u8 = 3;
const EXTENSION: u8 = 1;
const MAGIC: [u8; 2] = *b"HA";

/// A message of the extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "a third message is another extension number")]
pub enum Message {
    /// From a backup to the active router.
    Offer(Offer),
    /// From the active router to a backup.
    Beat(Beat),
}

impl Message {
    /// The virtual router that the message is for.
    #[must_use]
    pub const fn vrid(&self) -> Vrid {
        match self {
            Self::Offer(offer) => offer.vrid,
            Self::Beat(beat) => beat.vrid,
        }
    }
}

/// A backup's word that it is there: it would be the heir, and may want to be told more often that
/// the active router is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority; 0 says that it cannot be the heir.
    pub priority: u8,
    /// The shortest interval between beats that the backup can take in: whole microseconds, up to
    /// [`MAX_TIME`]; 0 says that it wants none.
    pub min_rx: Duration,
    /// How long the active router may go on beating without another offer: whole microseconds, up
    /// to [`MAX_TIME`]; 0 takes the offer back.
    pub hold: Duration,
}

impl Offer {
    /// An offer.
    #[must_use]
    pub const fn new(vrid: Vrid, priority: u8, min_rx: Duration, hold: Duration) -> Self {
        Self { vrid, priority, min_rx, hold }
    }
}

/// The active router's word that it is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Beat {
    /// The virtual router.
    pub vrid: Vrid,
    /// The sender's priority; 0 says that it stops, and that the receiver is its heir.
    pub priority: u8,
    /// The time to the next beat: whole microseconds, up to [`MAX_TIME`]; 0 says that there will
    /// be no more, and adverts alone count again.
    pub interval: Duration,
    /// Grows by one with each beat to this peer, and wraps.
    pub sequence: u32,
}

impl Beat {
    /// A beat.
    #[must_use]
    pub const fn new(vrid: Vrid, priority: u8, interval: Duration, sequence: u32) -> Self {
        Self { vrid, priority, interval, sequence }
    }

    /// Whether this beat was sent after the one numbered `earlier`, in the arithmetic of serial
    /// numbers (RFC 1982): one that was overtaken on the way says nothing new.
    #[must_use]
    pub const fn is_after(&self, earlier: u32) -> bool {
        self.sequence.wrapping_sub(earlier).cast_signed() > 0
    }
}

/// Whether `message` is of the extension rather than an advert: by its type and magic alone.
#[must_use]
pub const fn is_extension(message: &[u8]) -> bool {
    let Some([first, _, _, _, magic @ .., _, _]) = message.first_chunk::<HEADER_LEN>() else {
        return false;
    };
    *first >> 4 == VERSION
        && matches!(*first & 0x0f, OFFER | BEAT)
        && magic[0] == MAGIC[0]
        && magic[1] == MAGIC[1]
}

/// Reads a message of the extension that went from `source` to `destination`.
///
/// A trailer is passed over, not checked: see
/// [`Authenticator::verify_extension`](crate::vrrp::auth::Authenticator::verify_extension).
///
/// # Errors
///
/// [`Reject`] with the first reason found; [`Reject::Type`] for what is not of the extension.
pub fn decode(message: &[u8], source: IpAddr, destination: IpAddr) -> Result<Message, Reject> {
    let (header, rest) = message.split_first_chunk::<HEADER_LEN>().ok_or(Reject::Length)?;
    let [version_and_type, vrid, priority, extension, magic @ .., _, _] = *header;
    if version_and_type >> 4 != VERSION {
        return Err(Reject::Version);
    }
    let kind = version_and_type & 0x0f;
    if !matches!(kind, OFFER | BEAT) || magic != MAGIC {
        return Err(Reject::Type);
    }
    if extension != EXTENSION {
        return Err(Reject::Version);
    }
    let (first, rest) = rest.split_first_chunk().ok_or(Reject::PacketLength)?;
    let (second, trailer) = rest.split_first_chunk().ok_or(Reject::PacketLength)?;
    if !matches!(trailer.len(), 0 | TRAILER_LEN) {
        return Err(Reject::PacketLength);
    }
    if !checksum_is_right(message, source, destination) {
        return Err(Reject::Checksum);
    }
    let vrid = Vrid::new(vrid).ok_or(Reject::Vrid)?;
    let (first, second) = (u32::from_be_bytes(*first), u32::from_be_bytes(*second));
    let interval = Duration::from_micros(first.into());
    if kind == BEAT {
        return Ok(Message::Beat(Beat { vrid, priority, interval, sequence: second }));
    }
    let hold = Duration::from_micros(second.into());
    Ok(Message::Offer(Offer { vrid, priority, min_rx: interval, hold }))
}

/// As with adverts, the sum covers the trailer in IPv6, and leaves it out in IPv4.
fn checksum_is_right(message: &[u8], source: IpAddr, destination: IpAddr) -> bool {
    let right = |part: &[u8]| {
        reading(sum(&[part]), part.len(), source, destination) == Some(Checksum::PseudoHeader)
    };
    message.get(..LEN).is_some_and(right) || (message.len() > LEN && right(message))
}

/// Writes a message of the extension, to go from `source` to `destination`, a peer's address.
///
/// Times are rounded up to whole microseconds and cut to [`MAX_TIME`].
#[must_use]
pub fn encode(message: Message, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN + TRAILER_LEN);
    encode_into(&mut bytes, message, source, destination);
    bytes
}

/// Does what [`encode`] does, but replaces what is in `bytes`, so that a sender can use one
/// buffer for all its beats.
pub fn encode_into(bytes: &mut Vec<u8>, message: Message, source: IpAddr, destination: IpAddr) {
    let (kind, vrid, priority, first, second) = match message {
        Message::Offer(offer) => {
            (OFFER, offer.vrid, offer.priority, micros(offer.min_rx), micros(offer.hold))
        }
        Message::Beat(beat) => {
            (BEAT, beat.vrid, beat.priority, micros(beat.interval), beat.sequence)
        }
    };
    let [magic_1, magic_2] = MAGIC;
    bytes.clear();
    let first_byte = VERSION << 4 | kind;
    bytes.extend([first_byte, vrid.get(), priority, EXTENSION, magic_1, magic_2, 0, 0]);
    bytes.extend(first.to_be_bytes());
    bytes.extend(second.to_be_bytes());
    debug_assert!(CHECKSUM_AT.end <= LEN && bytes.len() == LEN);
    write_checksum(bytes, Some((source, destination)));
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::super::GROUP_V4;
    use super::*;
    use crate::vrrp::wire;

    fn messages() -> impl Strategy<Value = Message> {
        let vrid = (1u8..).prop_map(|vrid| Vrid::new(vrid).expect("not 0"));
        let time = any::<u32>().prop_map(|micros| Duration::from_micros(micros.into()));
        let offer = (vrid.clone(), any::<u8>(), time.clone(), time.clone()).prop_map(
            |(vrid, priority, min_rx, hold)| {
                Message::Offer(Offer::new(vrid, priority, min_rx, hold))
            },
        );
        let beat = (vrid, any::<u8>(), time, any::<u32>())
            .prop_map(|(vrid, priority, at, n)| Message::Beat(Beat::new(vrid, priority, at, n)));
        prop_oneof![offer, beat]
    }

    fn paths() -> impl Strategy<Value = (IpAddr, IpAddr)> {
        prop_oneof![
            any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
            any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
        ]
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let (active, backup) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let vrid = Vrid::new(51).expect("not 0");
        let offer = Offer::new(vrid, 100, Duration::from_micros(500), Duration::from_millis(100));
        assert_eq!(
            encode(Message::Offer(offer), backup, active),
            [0x3e, 51, 100, 1, 0x48, 0x41, 0x08, 0x70, 0, 0, 1, 0xf4, 0, 1, 0x86, 0xa0],
        );
        let beat = Beat::new(vrid, 150, Duration::from_millis(1), 7);
        assert_eq!(
            encode(Message::Beat(beat), active, backup),
            [0x3f, 51, 150, 1, 0x48, 0x41, 0x5a, 0x16, 0, 0, 3, 0xe8, 0, 0, 0, 7],
        );
    }

    #[test]
    fn a_time_that_the_wire_cannot_say_is_rounded_up_or_cut() {
        let (source, destination) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let vrid = Vrid::new(1).expect("not 0");
        let through = |min_rx, hold| {
            let message =
                encode(Message::Offer(Offer::new(vrid, 1, min_rx, hold)), source, destination);
            match decode(&message, source, destination) {
                Ok(Message::Offer(offer)) => (offer.min_rx, offer.hold),
                other => panic!("{other:?}"),
            }
        };
        let micro = Duration::from_micros(1);
        assert_eq!(through(Duration::ZERO, Duration::ZERO), (Duration::ZERO, Duration::ZERO));
        assert_eq!(through(Duration::from_nanos(1), Duration::MAX), (micro, MAX_TIME));
    }

    #[test]
    fn beats_are_ordered_across_the_wrap() {
        let beat = |sequence| Beat::new(Vrid::new(1).expect("ok"), 1, MAX_TIME, sequence);
        assert!(
            beat(1).is_after(0) && beat(0).is_after(u32::MAX) && beat(5).is_after(u32::MAX - 5)
        );
        assert!(!beat(1).is_after(1) && !beat(0).is_after(1) && !beat(u32::MAX).is_after(0));
    }

    #[test]
    fn an_advert_is_no_extension_and_the_other_way_round() {
        let (source, destination) = ([192, 0, 2, 1].into(), GROUP_V4.into());
        let vrid = Vrid::new(51).expect("not 0");
        let advert = wire::Advert::new(
            wire::Version::V3,
            vrid,
            1,
            Duration::from_secs(1),
            vec![[192, 0, 2, 9].into()],
        );
        let advert = wire::encode(&advert, source, destination, Checksum::PseudoHeader);
        assert_eq!(decode(&advert, source, destination), Err(Reject::Type));
        assert!(!is_extension(&advert) && !is_extension(&[]));
        let beat = Message::Beat(Beat::new(vrid, 1, MAX_TIME, 1));
        let beat = encode(beat, source, destination);
        assert!(is_extension(&beat));
        assert_eq!(wire::decode(&beat, source, destination), Err(Reject::Type));
    }

    #[test]
    fn a_later_extension_is_told_by_its_number() {
        let (source, destination) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let beat = Beat::new(Vrid::new(1).expect("not 0"), 1, MAX_TIME, 1);
        let mut message = encode(Message::Beat(beat), source, destination);
        message[3] = 2;
        assert_eq!(decode(&message, source, destination), Err(Reject::Version));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(message in messages(), path in paths()) {
            let bytes = encode(message, path.0, path.1);
            prop_assert_eq!(bytes.len(), LEN);
            prop_assert_eq!(decode(&bytes, path.0, path.1), Ok(message));
        }

        #[test]
        fn one_flipped_bit_is_never_taken(message in messages(), path in paths(), bit: usize) {
            let mut bytes = encode(message, path.0, path.1);
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, path.0, path.1).is_err());
        }

        #[test]
        fn any_bytes_are_a_message_or_a_reason(
            mut bytes in prop::collection::vec(any::<u8>(), 0..60), path in paths(), dress: bool,
        ) {
            if dress && bytes.len() >= HEADER_LEN {
                bytes[0] = 0x3e | bytes[0] & 1;
                bytes[3..6].copy_from_slice(&[EXTENSION, MAGIC[0], MAGIC[1]]);
            }
            let _is_no_panic = decode(&bytes, path.0, path.1);
        }
    }
}
