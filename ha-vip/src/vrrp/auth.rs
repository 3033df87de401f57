//! Adverts that prove who sent them: the HMAC trailer of keepalived 2.4.1 (`auth_hmac`).
//!
//! VRRP trusts whoever is near enough: a hop limit of 255 says that a packet crossed no router.
//! Where adverts go by unicast over routed networks, or where the link itself is not trusted, a
//! forged advert takes the addresses away. This trailer of 28 bytes after the advert, of either
//! version and in IPv4 and IPv6, holds against that:
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +---------------+---------------+-------------------------------+
//! |    Type: 1    |    Key id     |           Reserved            |
//! +---------------+---------------+-------------------------------+
//! |                    Seconds since the epoch                    |
//! +-------------------------------+-------------------------------+
//! |    Fraction: 1/65536 s        |           Counter             |
//! +-------------------------------+-------------------------------+
//! |     HMAC-SHA256, the first 16 of its 32 bytes …               |
//! ```
//!
//! The HMAC is that of a pseudo-header (address family 4 or 6, VRRP version, virtual router, a
//! zero byte, source address filled up with zeros to 16 bytes), the advert with its checksum set
//! to 0, and the trailer with its HMAC set to 0. So a trailer fits neither another virtual router
//! nor another sender. The advert's own checksum covers the advert alone in IPv4, and the trailer,
//! too, in IPv6.
//!
//! ```
//! use std::net::IpAddr;
//! use std::time::Duration;
//! use ha_vip::vrrp::Vrid;
//! use ha_vip::vrrp::auth::{Authenticator, HmacConfig};
//! use ha_vip::vrrp::wire::{Advert, Checksum, Reject, Version, decode, encode};
//!
//! let config = HmacConfig::builder().key(1, [7; 32]).build()?;
//! let (mut ours, mut theirs) = (Authenticator::new(config.clone()), Authenticator::new(config));
//!
//! let (us, peer): (IpAddr, IpAddr) = ("192.0.2.1".parse()?, "192.0.2.2".parse()?);
//! let vrid = Vrid::new(51).expect("not 0");
//! let addresses = vec!["192.0.2.100".parse()?];
//! let advert = Advert::new(Version::V3, vrid, 150, Duration::from_secs(1), addresses);
//! let mut message = encode(&advert, us, peer, Checksum::PseudoHeader);
//!
//! let wall = Duration::from_secs(1_800_000_000); // the calendar time, from the driver's clock
//! ours.sign(&mut message, us, wall);
//!
//! let view = decode(&message, us, peer)?;
//! assert_eq!(theirs.verify(&view, us, wall), Ok(()));
//! assert_eq!(theirs.verify(&view, us, wall), Err(Reject::Replay)); // the same packet again
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Replay, and clocks
//!
//! A packet is taken only if it was made within the window around the receiver's calendar time,
//! and after the last packet taken from its sender. Hence:
//!
//! - The clocks of all routers must agree to within the window (NTP does by far). A router whose
//!   clock differs by more is not heard ([`Reject::HmacStale`]), as if it were dead: both serve
//!   the addresses, as *at least one* promises. [`Reject::HmacStale`] counted is the sign to look
//!   at the clocks.
//! - A restarted sender is heard at once: its time has gone on. So it is if its clock stepped
//!   back while it was down by no more than it was down.
//! - A sender whose clock steps back while it runs goes on from its last number, until the time
//!   has caught up; if it stepped by more than two windows, it follows the clock.
//! - A receiver whose clock steps back by more than the window forgets what it heard from the
//!   future, so that it need not wait for the future to come. Packets recorded at the times
//!   that now come again can be replayed once.
//! - A restarted receiver knows nobody: a packet recorded within the window can be replayed once.
//! - Without a window ([`HmacBuilder::monotonic`]) clocks need not agree; but a packet that was
//!   never heard, or was heard before a restart of the receiver, can be replayed whenever it is
//!   newer than what the receiver heard last.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod config;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

pub use config::{HmacBuilder, HmacConfig, Key, Rollout};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::wire::extension;
use super::wire::{Reject, View, cover_with_checksum};

/// The length of a trailer, in bytes.
pub const TRAILER_LEN: usize = 28;
/// The type of trailer that this is.
const HMAC_TRAILER: u8 = 1;
const PREFIX_LEN: usize = 12;
const HMAC_LEN: usize = 16;

/// The most senders whose last number is remembered. Only holders of a key are; a virtual router
/// has a handful.
const MAX_SENDERS: usize = 256;

type HmacSha256 = Hmac<Sha256>;

/// The trailer of a message, as it was received: not yet checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trailer<'a> {
    prefix: &'a [u8; PREFIX_LEN],
    hmac: &'a [u8],
}

impl<'a> Trailer<'a> {
    /// The trailer that `bytes` are, if they are one.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (prefix, hmac) = bytes.split_first_chunk::<PREFIX_LEN>()?;
        let [kind, ..] = *prefix;
        (kind == HMAC_TRAILER && hmac.len() == HMAC_LEN).then_some(Self { prefix, hmac })
    }

    /// The number of the key that the sender signed with.
    #[must_use]
    pub const fn key_id(&self) -> u8 {
        let [_, key_id, ..] = *self.prefix;
        key_id
    }

    /// When the sender made it, by its calendar: since the Unix epoch, modulo 2³² seconds, in
    /// steps of 1/65536 s.
    #[must_use]
    pub fn made_at(&self) -> Duration {
        let [_, _, _, _, a, b, c, d, high, low, _, _] = *self.prefix;
        let fraction = u64::from(u16::from_be_bytes([high, low]));
        let nanos = fraction.saturating_mul(1_000_000_000) >> 16;
        let seconds = Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into());
        seconds.saturating_add(Duration::from_nanos(nanos))
    }

    /// Tells messages apart that were made at the same time.
    #[must_use]
    pub const fn counter(&self) -> u16 {
        let [.., high, low] = *self.prefix;
        u16::from_be_bytes([high, low])
    }

    fn number(&self) -> Number {
        let [_, _, _, _, number @ ..] = *self.prefix;
        Number(u64::from_be_bytes(number))
    }
}

impl fmt::Debug for Trailer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trailer")
            .field("key_id", &self.key_id())
            .field("made_at", &self.made_at())
            .field("counter", &self.counter())
            .finish_non_exhaustive()
    }
}

/// Seconds, fraction and counter as one number, compared in the arithmetic of serial numbers
/// (RFC 1982), so that the year 2106 is a year like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number(u64);

impl Number {
    /// The first number of a time.
    fn at(wall: Duration) -> Self {
        let fraction = (u64::from(wall.subsec_nanos()) << 16) / 1_000_000_000;
        Self(wall.as_secs() << 32 | fraction << 16)
    }

    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How much later this is than `other`: negative if it is earlier.
    const fn after(self, other: Self) -> i64 {
        self.0.wrapping_sub(other.0).cast_signed()
    }
}

/// A time as a difference of [`Number`]s.
fn span(time: Duration) -> i64 {
    Number::at(time).0.cast_signed()
}

/// Signs the adverts of one virtual router on this host, and checks those of the others.
///
/// It has no clock: calendar time comes in with each call, as the time since the Unix epoch.
#[derive(Debug, Clone)]
pub struct Authenticator {
    config: HmacConfig,
    keys: BTreeMap<u8, HmacSha256>,
    sent: Option<Number>,
    heard: BTreeMap<IpAddr, Number>,
}

impl Authenticator {
    /// Signs and checks as `config` says.
    #[must_use]
    pub fn new(config: HmacConfig) -> Self {
        let keys = keyed(&config);
        Self { config, keys, sent: None, heard: BTreeMap::new() }
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &HmacConfig {
        &self.config
    }

    /// Goes on with other keys, another window or rollout: whatever was heard is remembered, so
    /// that a change of keys opens no gap for a replay.
    pub fn reconfigure(&mut self, config: HmacConfig) {
        self.keys = keyed(&config);
        self.config = config;
    }

    /// Appends the trailer to `message`, an advert or a message of the extension that goes out
    /// from `source`; does nothing while the rollout is [`Rollout::ReceiveOnly`].
    ///
    /// `wall` is the calendar time, since the Unix epoch. The checksum is kept right: in IPv6 it
    /// covers the trailer. A message shorter than a VRRP header is left alone.
    pub fn sign(&mut self, message: &mut Vec<u8>, source: IpAddr, wall: Duration) {
        match self.config.rollout() {
            Rollout::ReceiveOnly => return,
            Rollout::Permissive | Rollout::Enforce => {}
        }
        let active = self.config.active();
        let number = self.next_number(wall);
        let mut prefix = [HMAC_TRAILER, active, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        if let Some(field) = prefix.last_chunk_mut() {
            *field = number.0.to_be_bytes();
        }
        let Some(mac) = self.keys.get(&active).and_then(|key| mac(key, message, &prefix, source))
        else {
            return;
        };
        self.sent = Some(number);
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let mut trailer = [0; TRAILER_LEN];
        for (to, from) in trailer.iter_mut().zip(prefix.iter().chain(&digest)) {
            *to = *from;
        }
        if source.is_ipv6() {
            cover_with_checksum(message, &trailer);
        }
        message.extend_from_slice(&trailer);
    }

    /// Checks that an advert from `source` may be believed, and remembers it.
    ///
    /// `wall` is the calendar time, since the Unix epoch. Call it once a packet, for our own
    /// virtual router alone, as an advert can be believed only once.
    ///
    /// # Errors
    ///
    /// [`Reject::HmacKey`], [`Reject::HmacMissing`] (only with [`Rollout::Enforce`]),
    /// [`Reject::HmacStale`], [`Reject::HmacWrong`], [`Reject::Replay`]. Nothing is remembered
    /// then.
    pub fn verify(
        &mut self,
        advert: &View<'_>,
        source: IpAddr,
        wall: Duration,
    ) -> Result<(), Reject> {
        self.check(advert.advert_bytes(), advert.trailer(), source, wall)
    }

    /// Checks a message of the [`extension`] as [`verify`](Self::verify) does an advert.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](Self::verify).
    pub fn verify_extension(
        &mut self,
        message: &[u8],
        source: IpAddr,
        wall: Duration,
    ) -> Result<(), Reject> {
        let (core, trailer) =
            message.split_at_checked(extension::LEN).ok_or(Reject::PacketLength)?;
        self.check(core, Trailer::read(trailer), source, wall)
    }

    fn check(
        &mut self,
        message: &[u8],
        trailer: Option<Trailer<'_>>,
        source: IpAddr,
        wall: Duration,
    ) -> Result<(), Reject> {
        let Some(trailer) = trailer else {
            return match self.config.rollout() {
                Rollout::ReceiveOnly | Rollout::Permissive => Ok(()),
                Rollout::Enforce => Err(Reject::HmacMissing),
            };
        };
        let key = self.keys.get(&trailer.key_id()).ok_or(Reject::HmacKey)?;
        let mac = mac(key, message, trailer.prefix, source).ok_or(Reject::HmacWrong)?;
        // In constant time: how much of a forgery was right must not show.
        mac.verify_truncated_left(trailer.hmac).map_err(|_| Reject::HmacWrong)?;
        self.admit(source, trailer.number(), Number::at(wall))
    }

    /// Refuses what is not new; nobody but a holder of a key comes this far.
    fn admit(&mut self, source: IpAddr, number: Number, now: Number) -> Result<(), Reject> {
        let window = self.config.window().map(span);
        if window.is_some_and(|window| number.after(now).saturating_abs() > window) {
            return Err(Reject::HmacStale);
        }
        if let Some(last) = self.heard.get_mut(&source) {
            // A last word from beyond the window was heard before our clock stepped back.
            let believable = window.is_none_or(|window| last.after(now) <= window);
            if believable && number.after(*last) <= 0 {
                return Err(Reject::Replay);
            }
            *last = number;
            return Ok(());
        }
        if self.heard.len() >= MAX_SENDERS {
            // What is outside of the window cannot be replayed, so it may be forgotten.
            let Some(window) = window else { return Err(Reject::Replay) };
            self.heard.retain(|_, last| last.after(now).saturating_abs() <= window);
            if self.heard.len() >= MAX_SENDERS {
                return Err(Reject::Replay);
            }
        }
        self.heard.insert(source, number);
        Ok(())
    }

    /// A number after all that were sent, unless the clock stepped back far.
    fn next_number(&self, wall: Duration) -> Number {
        let now = Number::at(wall);
        let Some(sent) = self.sent else { return now };
        let ahead = sent.after(now);
        // Twice: a peer whose clock differs by one window heard us at most two windows from here.
        let limit = self.config.window().map(|window| span(window.saturating_mul(2)));
        if ahead < 0 || limit.is_some_and(|limit| ahead > limit) { now } else { sent.next() }
    }
}

fn keyed(config: &HmacConfig) -> BTreeMap<u8, HmacSha256> {
    let keyed = |key: &Key| Some((key.id(), HmacSha256::new_from_slice(key.secret()).ok()?));
    config.keys().iter().filter_map(keyed).collect()
}

/// The HMAC of `message` with a trailer that starts with `prefix`; `None` if it has no header.
fn mac(
    key: &HmacSha256,
    message: &[u8],
    prefix: &[u8; PREFIX_LEN],
    source: IpAddr,
) -> Option<HmacSha256> {
    let (header, rest) = message.split_first_chunk::<8>()?;
    let [first, vrid, a, b, c, d, _, _] = *header;
    let (family, mut address) = (if source.is_ipv4() { 4 } else { 6 }, [0; 16]);
    match source {
        IpAddr::V4(ip) => address.first_chunk_mut::<4>()?.copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => address = ip.octets(),
    }
    let mut mac = key.clone();
    mac.update(&[family, first >> 4, vrid, 0]);
    mac.update(&address);
    mac.update(&[first, vrid, a, b, c, d, 0, 0]);
    mac.update(rest);
    mac.update(prefix);
    mac.update(&[0; HMAC_LEN]);
    Some(mac)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
mod tests;
