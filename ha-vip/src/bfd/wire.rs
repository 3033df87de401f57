//! BFD control packets (RFC 5880, section 4).
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//! |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//! +-----+---------+---+-+-+-+-+-+-+---------------+---------------+
//! |                       My Discriminator                        |
//! +---------------------------------------------------------------+
//! |                      Your Discriminator                       |
//! +---------------------------------------------------------------+
//! |                    Desired Min TX Interval                    |
//! +---------------------------------------------------------------+
//! |                   Required Min RX Interval                    |
//! +---------------------------------------------------------------+
//! |                 Required Min Echo RX Interval                 |
//! +---------------+---------------+---------------+---------------+
//! |   Auth Type   |   Auth Len    |  Auth Key ID  | …             |
//! +---------------+---------------+---------------+---------------+
//! ```
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::num::{NonZeroU8, NonZeroU32};

use super::auth::Method;

/// The length of a control packet without an authentication section, in bytes.
pub const HEADER_LEN: usize = 24;

const VERSION: u8 = 1;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// The number by which one end of a session knows it, 1 to 2³²-1; unique on its system (RFC 5880,
/// section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Discriminator(NonZeroU32);

impl Discriminator {
    /// A discriminator; `None` for 0, which on the wire means "not known yet".
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Discriminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.get())
    }
}

/// The state of one end of a session (RFC 5880, section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the field has two bits")]
pub enum State {
    /// Held down by an administrator; says nothing about the path.
    AdminDown,
    /// The path is down, or nobody was heard yet.
    Down,
    /// The other end is heard, but does not know it yet.
    Init,
    /// Both ends hear each other.
    Up,
}

impl State {
    /// The state's name in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AdminDown => "admin-down",
            Self::Down => "down",
            Self::Init => "init",
            Self::Up => "up",
        }
    }

    const fn from_bits(bits: u8) -> Self {
        match bits & 0b11 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why the state of a session changed last (RFC 5880, section 4.1), 0 to 31.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// No reason is given.
    pub const NONE: Self = Self(0);
    /// The other end was silent for the detection time.
    pub const DETECTION_TIME_EXPIRED: Self = Self(1);
    /// The echo function failed.
    pub const ECHO_FAILED: Self = Self(2);
    /// The other end said that it is down.
    pub const NEIGHBOR_DOWN: Self = Self(3);
    /// The forwarding plane was reset.
    pub const FORWARDING_PLANE_RESET: Self = Self(4);
    /// The path is known to be down from elsewhere.
    pub const PATH_DOWN: Self = Self(5);
    /// A path that continues this one is down.
    pub const CONCATENATED_PATH_DOWN: Self = Self(6);
    /// An administrator took the session down.
    pub const ADMINISTRATIVELY_DOWN: Self = Self(7);
    /// A path that continues this one is down in the other direction.
    pub const REVERSE_CONCATENATED_PATH_DOWN: Self = Self(8);

    /// A diagnostic; `None` above 31. Those above 8 have no meaning yet.
    #[must_use]
    pub const fn new(code: u8) -> Option<Self> {
        if code < 32 { Some(Self(code)) } else { None }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            _ => "unknown diagnostic",
        })
    }
}

/// What a packet is in a poll sequence (RFC 5880, section 6.5); never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "the two bits P and F, of which one may be set")]
pub enum Poll {
    /// Neither.
    #[default]
    Neither,
    /// The sender asks for an answer at once (P).
    Poll,
    /// The answer to a poll (F).
    Final,
}

/// A control packet that can only be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the fields of version 1; another one has others")]
pub struct ControlPacket {
    /// Why the sender's state changed last.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// Whether it polls or answers a poll.
    pub poll: Poll,
    /// Whether the sender's BFD lives on when its control plane does not (C).
    pub control_plane_independent: bool,
    /// Whether the sender wants no periodic packets (D).
    pub demand: bool,
    /// After how many missing packets of the sender the session is down.
    pub detect_mult: NonZeroU8,
    /// The sender's number of the session.
    pub my_discriminator: Discriminator,
    /// The receiver's number, if the sender knows it. Without it the state is Down or `AdminDown`.
    pub your_discriminator: Option<Discriminator>,
    /// How often the sender would like to send, in microseconds.
    pub desired_min_tx_us: u32,
    /// How often the sender can take packets, in microseconds; 0: no periodic packets at all.
    pub required_min_rx_us: u32,
    /// How often the sender can loop echo packets back, in microseconds; 0: not at all.
    pub required_min_echo_rx_us: u32,
    /// The authentication section, not verified yet: see [`auth`](super::auth).
    pub authentication: Option<Section>,
}

/// An authentication section (RFC 5880, sections 4.2 to 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section {
    /// How the packet is authenticated.
    pub method: Method,
    /// Which key is used.
    pub key_id: u8,
    /// The sequence number; 0 for a simple password, which has none.
    pub sequence: u32,
    /// The password, 1 to 16 bytes; or the digest, 16 bytes of MD5 or 20 of SHA1.
    pub proof: Vec<u8>,
}

/// Why a packet was not taken for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// Its authentication section has a wrong length.
    AuthLength,
    /// It is authenticated in another way than this session, or not at all, or this session is
    /// not.
    AuthMethod,
    /// Its password or digest is wrong.
    AuthProof,
    /// Its sequence number is outside the window: a replay, or a peer that was started again.
    AuthSequence,
    /// Its key is not one of this session's.
    AuthKey,
    /// Its detect multiplier is 0.
    DetectMult,
    /// It came over a router: TTL or hop limit is not 255 (RFC 5881, section 5).
    HopLimit,
    /// It is shorter than its header, or than it says itself.
    Length,
    /// It is for several receivers.
    Multipoint,
    /// Its own discriminator is 0.
    MyDiscriminator,
    /// No session here has its discriminator, or its source.
    NoSession,
    /// It polls and answers a poll at once.
    PollAndFinal,
    /// It is not version 1.
    Version,
    /// It names no discriminator of ours, but a state that can only follow one.
    YourDiscriminator,
}

impl Reject {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 14] = [
        Self::AuthLength,
        Self::AuthMethod,
        Self::AuthProof,
        Self::AuthSequence,
        Self::AuthKey,
        Self::DetectMult,
        Self::HopLimit,
        Self::Length,
        Self::Multipoint,
        Self::MyDiscriminator,
        Self::NoSession,
        Self::PollAndFinal,
        Self::Version,
        Self::YourDiscriminator,
    ];
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AuthLength => "authentication length",
            Self::AuthMethod => "another authentication",
            Self::AuthProof => "wrong password or digest",
            Self::AuthSequence => "sequence number",
            Self::AuthKey => "unknown key",
            Self::DetectMult => "detect multiplier is 0",
            Self::HopLimit => "hop limit is not 255",
            Self::Length => "length",
            Self::Multipoint => "multipoint",
            Self::MyDiscriminator => "its discriminator is 0",
            Self::NoSession => "no such session",
            Self::PollAndFinal => "poll and final at once",
            Self::Version => "not BFD version 1",
            Self::YourDiscriminator => "state without our discriminator",
        })
    }
}

/// Reads a control packet: the payload of a datagram.
///
/// What follows the length that the packet states is ignored, and so are bytes between the last
/// field and that length, as RFC 5880 asks for no more.
///
/// # Errors
///
/// [`Reject`] with the first reason found, in the order of RFC 5880, section 6.8.6.
pub fn decode(message: &[u8]) -> Result<ControlPacket, Reject> {
    let Some((header, rest)) = message.split_first_chunk::<HEADER_LEN>() else {
        return Err(Reject::Length);
    };
    let [
        version_and_diagnostic,
        flags,
        detect_mult,
        length,
        my_0,
        my_1,
        my_2,
        my_3,
        your_0,
        your_1,
        your_2,
        your_3,
        tx_0,
        tx_1,
        tx_2,
        tx_3,
        rx_0,
        rx_1,
        rx_2,
        rx_3,
        echo_0,
        echo_1,
        echo_2,
        echo_3,
    ] = *header;
    if version_and_diagnostic >> 5 != VERSION {
        return Err(Reject::Version);
    }
    let rest_len = usize::from(length).checked_sub(HEADER_LEN).ok_or(Reject::Length)?;
    let rest = rest.get(..rest_len).ok_or(Reject::Length)?;
    let has = |flag: u8| flags & flag != 0;
    if has(AUTHENTICATED) && rest_len < 2 {
        return Err(Reject::Length);
    }
    let detect_mult = NonZeroU8::new(detect_mult).ok_or(Reject::DetectMult)?;
    if has(MULTIPOINT) {
        return Err(Reject::Multipoint);
    }
    let my_discriminator = Discriminator::new(u32::from_be_bytes([my_0, my_1, my_2, my_3]))
        .ok_or(Reject::MyDiscriminator)?;
    let your_discriminator =
        Discriminator::new(u32::from_be_bytes([your_0, your_1, your_2, your_3]));
    let state = State::from_bits(flags >> 6);
    if your_discriminator.is_none() && !matches!(state, State::Down | State::AdminDown) {
        return Err(Reject::YourDiscriminator);
    }
    Ok(ControlPacket {
        diagnostic: Diagnostic(version_and_diagnostic & 0x1f),
        state,
        poll: match (has(POLL), has(FINAL)) {
            (true, true) => return Err(Reject::PollAndFinal),
            (true, false) => Poll::Poll,
            (false, true) => Poll::Final,
            (false, false) => Poll::Neither,
        },
        control_plane_independent: has(CONTROL_PLANE_INDEPENDENT),
        demand: has(DEMAND),
        detect_mult,
        my_discriminator,
        your_discriminator,
        desired_min_tx_us: u32::from_be_bytes([tx_0, tx_1, tx_2, tx_3]),
        required_min_rx_us: u32::from_be_bytes([rx_0, rx_1, rx_2, rx_3]),
        required_min_echo_rx_us: u32::from_be_bytes([echo_0, echo_1, echo_2, echo_3]),
        authentication: has(AUTHENTICATED).then(|| section(rest)).transpose()?,
    })
}

/// Reads an authentication section; what follows it is ignored.
fn section(bytes: &[u8]) -> Result<Section, Reject> {
    let [method, length, key_id, data @ ..] = bytes else {
        return Err(Reject::AuthLength);
    };
    let method = Method::from_wire(*method).ok_or(Reject::AuthMethod)?;
    let data_len = usize::from(*length).checked_sub(3).ok_or(Reject::AuthLength)?;
    let data = data.get(..data_len).ok_or(Reject::AuthLength)?;
    let (sequence, proof) = if method.digest_len().is_some() {
        // A reserved byte, ignored, and the sequence number.
        let ([_, sequence @ ..], digest) =
            data.split_first_chunk::<5>().ok_or(Reject::AuthLength)?;
        (u32::from_be_bytes(*sequence), digest)
    } else {
        (0, data)
    };
    if !method.proof_lens().contains(&proof.len()) {
        return Err(Reject::AuthLength);
    }
    Ok(Section { method, key_id: *key_id, sequence, proof: proof.to_vec() })
}

/// Writes the payload of a datagram.
#[must_use]
pub fn encode(packet: &ControlPacket) -> Vec<u8> {
    let section = packet.authentication.as_ref().map(encode_section).unwrap_or_default();
    let flags = [
        (POLL, packet.poll == Poll::Poll),
        (FINAL, packet.poll == Poll::Final),
        (CONTROL_PLANE_INDEPENDENT, packet.control_plane_independent),
        (AUTHENTICATED, packet.authentication.is_some()),
        (DEMAND, packet.demand),
    ];
    let flags = flags.into_iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag);
    let length = HEADER_LEN.saturating_add(section.len());
    let mut message = Vec::with_capacity(length);
    message.push(VERSION << 5 | packet.diagnostic.get());
    message.push(packet.state.bits() << 6 | flags);
    message.push(packet.detect_mult.get());
    message.push(u8::try_from(length).unwrap_or(u8::MAX));
    for field in [
        packet.my_discriminator.get(),
        packet.your_discriminator.map_or(0, Discriminator::get),
        packet.desired_min_tx_us,
        packet.required_min_rx_us,
        packet.required_min_echo_rx_us,
    ] {
        message.extend(field.to_be_bytes());
    }
    message.extend(section);
    message
}

fn encode_section(section: &Section) -> Vec<u8> {
    let mut bytes = vec![section.method.to_wire(), 0, section.key_id];
    if section.method.digest_len().is_some() {
        bytes.push(0);
        bytes.extend(section.sequence.to_be_bytes());
    }
    // A longer proof would not be valid: passwords have at most 16 bytes, digests at most 20.
    bytes.extend(section.proof.iter().take(*section.method.proof_lens().end()));
    let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    if let Some(field) = bytes.get_mut(1) {
        *field = length;
    }
    bytes
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests may panic")]
pub(super) mod tests;
