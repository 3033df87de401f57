//! As much of the MySQL client protocol as checks need, within bounds.
//!
//! Written after the protocol documentation of MariaDB ("Clientserver protocol") and MySQL
//! ("Client/Server Protocol").

use bytes::Bytes;

use super::Failed;
use super::dialog::{Dialog, Stream};

/// The longest packet that is taken, in bytes; the protocol allows 16 MiB.
const MAX_PACKET: usize = 64 * 1024;

/// The longest user name, in bytes (MariaDB: 128 characters).
pub(super) const MAX_USER: usize = 512;

const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 1 << 9;
pub(super) const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

/// UTF-8, as every server knows it.
const CHARACTER_SET: u8 = 33;

pub(super) const OK: u8 = 0x00;
#[cfg(feature = "mysql")]
pub(super) const MORE_DATA: u8 = 0x01;
pub(super) const END: u8 = 0xfe;
pub(super) const ERROR: u8 = 0xff;

/// A packet's content and its number in the exchange.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) number: u8,
    pub(super) content: Bytes,
}

/// Reads a packet; one that says it is too long is refused before it is read.
pub(super) async fn packet<S: Stream>(
    dialog: &mut Dialog<S>,
    what: &str,
) -> Result<Packet, Failed> {
    let header = dialog.exactly(what, 4).await?;
    let mut header = Fields(&header);
    let (Some(length), Some(number)) = (header.integer(3), header.byte()) else {
        return Err(Failed::because(format_args!("{what} is cut")));
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_PACKET {
        let reason = format_args!("{what} is a packet of {length} bytes, more than {MAX_PACKET}");
        return Err(Failed::because(reason));
    }
    Ok(Packet { number, content: dialog.exactly(what, length).await? })
}

/// Sends a packet.
pub(super) async fn send<S: Stream>(
    dialog: &mut Dialog<S>,
    what: &str,
    number: u8,
    content: &[u8],
) -> Result<(), Failed> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes: Vec<u8> = length.into_iter().take(3).collect();
    bytes.push(number);
    bytes.extend_from_slice(content);
    dialog.send(what, &bytes).await
}

/// Takes fields from the front of a packet; `None` where it ends too soon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// An integer of up to eight bytes, the lowest first.
    pub(super) fn integer(&mut self, bytes: usize) -> Option<u64> {
        let bytes = self.take(bytes)?;
        Some(bytes.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
    }

    /// A string that ends with a zero, or with the packet.
    pub(super) fn until_zero(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        let (string, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.strip_prefix(&[0]).unwrap_or(rest);
        string
    }

    /// An integer whose first byte says how long it is.
    #[cfg(feature = "mysql")]
    pub(super) fn counted(&mut self) -> Option<u64> {
        match self.byte()? {
            small @ 0..=0xfa => Some(u64::from(small)),
            0xfc => self.integer(2),
            0xfd => self.integer(3),
            0xfe => self.integer(8),
            0xfb | 0xff => None,
        }
    }

    /// A string with its length before it; `None` for a NULL, too.
    #[cfg(feature = "mysql")]
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.counted()?).ok()?;
        self.take(length)
    }
}

/// What a server says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) version: String,
    pub(super) capabilities: u32,
    pub(super) nonce: Vec<u8>,
    pub(super) plugin: String,
}

impl Greeting {
    /// Reads the first packet of a server, which may be an error.
    pub(super) fn read(content: &[u8]) -> Result<Self, Failed> {
        if content.first() == Some(&ERROR) {
            return Err(complaint("refuses the connection", content, str::to_owned));
        }
        Self::version_10(content).ok_or_else(|| {
            let version = content.first().copied().unwrap_or_default();
            Failed::because(format_args!("greets with protocol {version} or a malformed packet"))
        })
    }

    fn version_10(content: &[u8]) -> Option<Self> {
        let mut fields = Fields(content);
        if fields.byte()? != 10 {
            return None;
        }
        let version = text(fields.until_zero());
        fields.integer(4)?; // the connection's number
        let mut nonce = fields.take(8)?.to_vec();
        fields.byte()?;
        let low = u32::try_from(fields.integer(2)?).ok()?;
        // Servers older than any that is alive end here.
        fields.take(3)?;
        let high = u32::try_from(fields.integer(2)?).ok()?;
        let length = usize::from(fields.byte()?);
        fields.take(10)?;
        let rest = fields.take(length.saturating_sub(8).max(13))?;
        // The last byte is a zero.
        nonce.extend(rest.iter().take(12));
        let plugin = text(fields.until_zero());
        Some(Self { version, capabilities: low | (high << 16), nonce, plugin })
    }
}

/// The words of an error packet.
///
/// `hide` takes out of the server's words what no log may show.
pub(super) fn complaint(does: &str, content: &[u8], hide: impl Fn(&str) -> String) -> Failed {
    let mut fields = Fields(content);
    fields.byte();
    let Some(code) = fields.integer(2) else {
        return Failed::because(format_args!("{does} with an error that is cut"));
    };
    if fields.0.first() == Some(&b'#') {
        fields.take(6); // the SQL state
    }
    Failed::because(format_args!("{does}: error {code}: {:?}", hide(&text(fields.0))))
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const fn wanted(secured: bool) -> u32 {
    let capabilities = LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    if secured { capabilities | SSL } else { capabilities }
}

/// The packet that asks for TLS, which is how the response starts.
pub(super) fn response_head(secured: bool) -> Vec<u8> {
    let mut bytes = wanted(secured).to_le_bytes().to_vec();
    bytes.extend(u32::try_from(MAX_PACKET).unwrap_or(u32::MAX).to_le_bytes());
    bytes.push(CHARACTER_SET);
    bytes.extend([0; 23]);
    bytes
}

/// The response to the greeting: who logs in, and the proof.
pub(super) fn response(secured: bool, user: &str, proof: &[u8], plugin: &str) -> Vec<u8> {
    let mut bytes = response_head(secured);
    bytes.extend_from_slice(user.as_bytes());
    bytes.push(0);
    let length = u8::try_from(proof.len()).unwrap_or(u8::MAX);
    bytes.push(length);
    bytes.extend(proof.iter().take(usize::from(length)));
    bytes.extend_from_slice(plugin.as_bytes());
    bytes.push(0);
    bytes
}

/// The goodbye.
pub(super) const QUIT: [u8; 5] = [1, 0, 0, 0, 1];

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A greeting as servers send it.
    pub(in super::super) fn greeting(plugin: &str) -> Vec<u8> {
        let mut bytes = b"\x0a10.11.6-MariaDB\0\x01\x00\x00\x00".to_vec();
        bytes.extend(b"abcdefgh\0\xff\xf7\x21\x02\x00\xff\x81\x15");
        bytes.extend([0; 10]);
        bytes.extend(b"ijklmnopqrst\0");
        bytes.extend(plugin.as_bytes());
        bytes.push(0);
        bytes
    }

    /// A packet as bytes.
    pub(in super::super) fn framed(number: u8, content: &[u8]) -> Vec<u8> {
        let [low, middle, ..] = u32::try_from(content.len()).expect("short").to_le_bytes();
        [&[low, middle, 0, number], content].concat()
    }

    #[test]
    fn greetings_are_read() {
        let read = Greeting::read(&greeting("mysql_native_password")).expect("whole");
        assert_eq!(read.version, "10.11.6-MariaDB");
        assert_eq!(read.nonce, b"abcdefghijklmnopqrst");
        assert_eq!(read.plugin, "mysql_native_password");
        assert_eq!(read.capabilities & SSL, 0);
        let blocked = b"\xff\x69\x04Host 'a' is blocked";
        let failed = Greeting::read(blocked).expect_err("an error");
        let expected = "refuses the connection: error 1129: \"Host 'a' is blocked\"";
        assert_eq!(failed.reason(), expected);
        let many = Greeting::read(b"\xff\x10\x04#08004Too many connections").expect_err("an error");
        assert_eq!(many.reason(), "refuses the connection: error 1040: \"Too many connections\"");
        for cut in 0..greeting("").len() - 1 {
            assert!(Greeting::read(&greeting("")[..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_packets_are_read_to_an_end(bytes: Vec<u8>) {
            let _any = Greeting::read(&bytes);
            let _words = complaint("refuses", &bytes, str::to_owned);
            let mut fields = Fields(&bytes);
            let mut total = 0;
            while !fields.0.is_empty() {
                total += fields.until_zero().len();
            }
            prop_assert!(total <= bytes.len());
        }
    }
}
