//! What stands where on an SBD disk.

use std::fmt;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;

/// The first bytes of every SBD disk.
const MAGIC: &[u8; 8] = b"SBD_SBD_";
/// The version of the layout that is read and written.
const VERSION: u8 = 2;
/// The second part of it, since which a header has a UUID.
const MINOR: u8 = 1;
/// The room for a name, with the zero that ends it.
const NAME: usize = 64;

/// Where our token stands in the sector of a mail.
const TOKEN: usize = 72;

/// How many slots a disk has.
pub const SLOTS: u8 = 255;
/// The longest name of a node, in bytes.
pub const MAX_NODE_NAME: usize = NAME - 1;
/// The largest sector.
pub const MAX_SECTOR: usize = 4096;

/// What is told to a node by its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the messages that the layout has")]
pub enum Message {
    /// Nothing.
    Clear,
    /// Only note that it came.
    Test,
    /// Reset the node.
    Reset,
    /// Switch the node off.
    Off,
    /// End the watcher: nobody guards the node after that.
    Exit,
    /// Crash the node, so that its memory is written out.
    Crashdump,
}

impl Message {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Clear, Self::Test, Self::Reset, Self::Off, Self::Exit, Self::Crashdump];

    /// Whether the node is harmless once it has done what it says.
    #[must_use]
    pub const fn fences(self) -> bool {
        matches!(self, Self::Reset | Self::Off | Self::Crashdump)
    }

    const fn code(self) -> u8 {
        match self {
            Self::Clear => 0,
            Self::Test => 1,
            Self::Reset => 2,
            Self::Off => 3,
            Self::Exit => 4,
            Self::Crashdump => 5,
        }
    }
}

impl fmt::Display for Message {
    /// As the `sbd` tool names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear => "clear",
            Self::Test => "test",
            Self::Reset => "reset",
            Self::Off => "off",
            Self::Exit => "exit",
            Self::Crashdump => "crashdump",
        })
    }
}

/// A message with its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The message.
    pub message: Message,
    /// Who wrote it; empty in a slot that was never written to.
    pub from: String,
    /// What tells an order from an earlier one; 0 in those of the `sbd` tool. It stands where that
    /// has, and leaves, zeros, and lets an order be [acknowledged](Self::acknowledgement).
    pub token: u64,
}

impl Mail {
    /// No message of anybody.
    pub const NONE: Self = Self { message: Message::Clear, from: String::new(), token: 0 };

    /// A message as the `sbd` tool writes it.
    #[must_use]
    pub fn new(message: Message, from: impl Into<String>) -> Self {
        Self { message, from: from.into(), token: 0 }
    }

    /// What `node` writes back when it has carried out this order: the same, under its own name.
    /// `None` for one of the `sbd` tool, which does not ask for it, and what is no order.
    #[must_use]
    pub fn acknowledgement(&self, node: &NodeName) -> Option<Self> {
        let asked = self.token != 0 && self.message.fences();
        asked.then(|| Self { from: node.to_string(), ..self.clone() })
    }
}

/// The slot of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Slot {
    /// Its number, from 0.
    pub number: u8,
    /// The node.
    pub node: String,
    /// What it is told.
    pub mail: Mail,
}

/// The times on a disk, the same for all nodes; whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskTimes {
    /// After how long without a good read a node's watchdog fires (`-1` of sbd). Default: 5 s.
    pub watchdog: Duration,
    /// How long a slot that was taken is watched for another taker (`-2`). Default: 2 s.
    pub allocate: Duration,
    /// How often a node reads its slot (`-3`). Default: 1 s.
    pub loop_interval: Duration,
    /// After how long a message counts as delivered (`-4`). Default: 10 s.
    pub message_wait: Duration,
}

impl Default for DiskTimes {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            watchdog: 5 * second,
            allocate: 2 * second,
            loop_interval: second,
            message_wait: 10 * second,
        }
    }
}

impl DiskTimes {
    /// The defaults for a watchdog of this timeout: a message wait of twice that.
    #[must_use]
    pub fn of_watchdog(watchdog: Duration) -> Self {
        Self { watchdog, message_wait: watchdog.saturating_mul(2), ..Self::default() }
    }

    /// Checks them before they are written to a disk.
    ///
    /// # Errors
    ///
    /// Times that are no whole seconds of 32 bits, or nothing, and a message wait of less than
    /// twice the watchdog's timeout: after it a node might still run.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        for (name, time) in [
            ("watchdog", self.watchdog),
            ("allocate", self.allocate),
            ("loop_interval", self.loop_interval),
            ("message_wait", self.message_wait),
        ] {
            let whole = time.subsec_nanos() == 0 && u32::try_from(time.as_secs()).is_ok();
            if !whole || time.is_zero() {
                let allowed = "whole seconds, 1 or more";
                problems.add(format!("sbd.{name}"), format!("{time:?}"), allowed);
            }
        }
        let least = self.watchdog.saturating_mul(2);
        if self.message_wait < least {
            let allowed = format!("at least {least:?}, twice the watchdog's timeout");
            problems.add("sbd.message_wait", format!("{:?}", self.message_wait), allowed);
        }
        problems.into_result(())
    }
}

/// The first sector of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// How many slots there are.
    pub slots: u8,
    /// The size of a sector: 512, 1024, 2048 or 4096 bytes.
    pub sector_size: usize,
    /// The times.
    pub times: DiskTimes,
    /// What tells one disk from another; a disk of version 2.0 has none.
    pub uuid: Option<[u8; 16]>,
}

/// A sector does not hold what should stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// Another message than the layout has.
    #[error("its message has the unknown code {0}")]
    Message(u8),
    /// A name without an end, or that is no text.
    #[error("a name on it is not readable")]
    Name,
    /// The disk is no SBD disk.
    #[error("it has no SBD header; create one")]
    NoHeader,
    /// The header's sector size is none.
    #[error("its header tells of sectors of {0} bytes; 512 to 4096 are possible")]
    SectorSize(u32),
    /// Less than a sector was read.
    #[error("it is cut short")]
    Short,
    /// A layout of another version.
    #[error("its layout has version {0}; version 2 is known")]
    Version(u8),
}

impl Header {
    /// The header of a new disk.
    #[must_use]
    pub const fn new(sector_size: usize, times: DiskTimes, uuid: [u8; 16]) -> Self {
        Self { slots: SLOTS, sector_size, times, uuid: Some(uuid) }
    }

    /// Reads a first sector; the 64 first bytes of it are enough.
    ///
    /// # Errors
    ///
    /// [`LayoutError`]; never a panic, whatever the bytes are.
    pub fn decode(sector: &[u8]) -> Result<Self, LayoutError> {
        let head = sector.get(..49).ok_or(LayoutError::Short)?;
        if head.get(..8) != Some(MAGIC) {
            return Err(LayoutError::NoHeader);
        }
        let byte = |at: usize| head.get(at).copied().unwrap_or_default();
        let number = |at: usize| {
            let bytes = head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).unwrap_or_default()
        };
        if byte(8) != VERSION {
            return Err(LayoutError::Version(byte(8)));
        }
        let sector_size = number(12);
        if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(LayoutError::SectorSize(sector_size));
        }
        let seconds = |at| Duration::from_secs(number(at).into());
        let times = DiskTimes {
            watchdog: seconds(16),
            allocate: seconds(20),
            loop_interval: seconds(24),
            message_wait: seconds(28),
        };
        let uuid = head.get(33..49).and_then(|bytes| bytes.try_into().ok());
        let uuid = uuid.filter(|_| byte(32) >= MINOR);
        let sector_size = usize::try_from(sector_size).unwrap_or(MAX_SECTOR);
        Ok(Self { slots: byte(9), sector_size, times, uuid })
    }

    /// The bytes of the sector.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let size = u32::try_from(self.sector_size).unwrap_or_default();
        let DiskTimes { watchdog, allocate, loop_interval, message_wait } = self.times;
        let mut sector = Vec::with_capacity(self.sector_size);
        sector.extend_from_slice(MAGIC);
        sector.extend_from_slice(&[VERSION, self.slots, 0, 0]);
        for number in
            [size].into_iter().chain([watchdog, allocate, loop_interval, message_wait].map(seconds))
        {
            sector.extend_from_slice(&number.to_be_bytes());
        }
        if let Some(uuid) = &self.uuid {
            sector.push(MINOR);
            sector.extend_from_slice(uuid);
        }
        sector.resize(self.sector_size, 0);
        sector
    }

    /// Where the name of a slot stands, in bytes from the start; its mail is a sector further.
    #[must_use]
    pub fn offset(&self, slot: u8) -> u64 {
        (1 + 2 * u64::from(slot)) * self.sector_size as u64
    }

    /// How many bytes of the disk are used.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.offset(self.slots)
    }

    /// The sector of a slot in use.
    #[must_use]
    pub fn encode_node(&self, node: &NodeName) -> Vec<u8> {
        self.named(1, node.as_str())
    }

    /// The sector of a mail.
    #[must_use]
    pub fn encode_mail(&self, mail: &Mail) -> Vec<u8> {
        let mut sector = self.named(mail.message.code(), &mail.from);
        if let Some(place) = sector.get_mut(TOKEN..TOKEN + 8) {
            place.copy_from_slice(&mail.token.to_be_bytes());
        }
        sector
    }

    fn named(&self, first: u8, name: &str) -> Vec<u8> {
        let mut sector = vec![first];
        sector.extend(name.bytes().take(MAX_NODE_NAME));
        sector.resize(self.sector_size, 0);
        sector
    }
}

/// The node of a slot's first sector; `None`: the slot is free.
///
/// # Errors
///
/// As [`Header::decode`].
pub fn decode_node(sector: &[u8]) -> Result<Option<String>, LayoutError> {
    match sector.first() {
        None => Err(LayoutError::Short),
        Some(0) => Ok(None),
        Some(_) => name(sector).map(Some),
    }
}

/// The mail of a slot's second sector.
///
/// # Errors
///
/// As [`Header::decode`].
pub fn decode_mail(sector: &[u8]) -> Result<Mail, LayoutError> {
    let code = *sector.first().ok_or(LayoutError::Short)?;
    let message = Message::ALL.into_iter().find(|message| message.code() == code);
    let message = message.ok_or(LayoutError::Message(code))?;
    let token = sector.get(TOKEN..TOKEN + 8).and_then(|bytes| bytes.try_into().ok());
    let token = token.map(u64::from_be_bytes).unwrap_or_default();
    Ok(Mail { message, from: name(sector)?, token })
}

/// Graphic characters only: a name goes into logs and onto terminals.
fn name(sector: &[u8]) -> Result<String, LayoutError> {
    let field = sector.get(1..=NAME).ok_or(LayoutError::Short)?;
    let end = field.iter().position(|&byte| byte == 0).ok_or(LayoutError::Name)?;
    let text = field.get(..end).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let text = text.filter(|text| text.chars().all(|c| c.is_ascii_graphic()));
    text.map(str::to_owned).ok_or(LayoutError::Name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first bytes of a disk that sbd 1.5.2 created with `-1 5 -4 10`.
    const RECORDED: [u8; 49] = [
        0x53, 0x42, 0x44, 0x5f, 0x53, 0x42, 0x44, 0x5f, 0x02, 0xff, 0, 0, 0, 0, 0x02, 0, 0, 0, 0,
        0x05, 0, 0, 0, 0x02, 0, 0, 0, 0x01, 0, 0, 0, 0x0a, 0x01, 0xe1, 0x4e, 0x4a, 0xb0, 0xfe,
        0x6f, 0x49, 0xe1, 0xac, 0x8d, 0x89, 0x57, 0x84, 0xe4, 0xcf, 0x6b,
    ];

    #[test]
    fn a_recorded_header_is_read_and_written_alike() {
        let header = Header::decode(&RECORDED).expect("a header");
        assert_eq!((header.slots, header.sector_size), (255, 512));
        assert_eq!(header.times, DiskTimes::default());
        assert_eq!((header.offset(0), header.offset(1)), (0x200, 0x600));
        let written = header.encode();
        assert_eq!(written[..49], RECORDED);
        assert!(written.len() == 512 && written[49..].iter().all(|&byte| byte == 0));
        let mut older = RECORDED;
        older[32..].fill(0);
        assert_eq!(Header::decode(&older).expect("version 2.0").uuid, None);
    }

    #[test]
    fn times_that_would_let_a_node_outlive_its_fencing_are_refused() {
        DiskTimes::default().check().expect("the defaults");
        DiskTimes::of_watchdog(Duration::from_secs(15)).check().expect("twice");
        let second = Duration::from_secs(1);
        let times = DiskTimes {
            watchdog: 5 * second,
            allocate: Duration::from_millis(1_500),
            loop_interval: Duration::ZERO,
            message_wait: 9 * second,
        };
        assert_eq!(times.check().expect_err("three mistakes").problems().len(), 3);
    }

    proptest! {
        #[test]
        fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..600), head: bool) {
            let mut bytes = bytes;
            if head {
                bytes.splice(..bytes.len().min(9), RECORDED[..9].iter().copied());
            }
            drop((Header::decode(&bytes), decode_node(&bytes), decode_mail(&bytes)));
        }

        #[test]
        fn what_is_written_is_read(
            name in "[a-z][a-z0-9.-]{0,62}",
            code in 0..6usize,
            size in prop::sample::select(vec![512usize, 4096]),
            token: u64,
        ) {
            let header = Header::new(size, DiskTimes::default(), [7; 16]);
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
            let node: NodeName = name.parse().expect("a name");
            let sector = header.encode_node(&node);
            prop_assert_eq!(sector.len(), size);
            prop_assert_eq!(decode_node(&sector), Ok(Some(name.clone())));
            let mail = Mail { message: Message::ALL[code], from: name, token };
            prop_assert_eq!(decode_mail(&header.encode_mail(&mail)), Ok(mail));
        }
    }
}
