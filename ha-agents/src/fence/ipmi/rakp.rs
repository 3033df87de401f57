//! The handshake's messages: open session, and RAKP 1 to 4 (13.17 to 13.24).

use super::crypto::{CipherSuite, Keys};
use super::wire::take;

/// The user is looked up by name alone, not by name and role (13.20, bit 4 of the role).
const BY_NAME: u8 = 0x10;

/// What a board says to a message of the handshake (table 13-15); 0 is accepted.
pub(super) mod status {
    pub(in crate::fence::ipmi) const NO_RESOURCES: u8 = 0x01;
    pub(in crate::fence::ipmi) const NO_AUTHENTICATION: u8 = 0x04;
    pub(in crate::fence::ipmi) const NO_INTEGRITY: u8 = 0x05;
    pub(in crate::fence::ipmi) const INACTIVE_ROLE: u8 = 0x09;
    pub(in crate::fence::ipmi) const UNAUTHORIZED_ROLE: u8 = 0x0a;
    pub(in crate::fence::ipmi) const NO_ROLE_RESOURCES: u8 = 0x0b;
    pub(in crate::fence::ipmi) const BAD_NAME_LENGTH: u8 = 0x0c;
    pub(in crate::fence::ipmi) const UNAUTHORIZED_NAME: u8 = 0x0d;
    pub(in crate::fence::ipmi) const BAD_CODE: u8 = 0x0f;
    pub(in crate::fence::ipmi) const NO_CONFIDENTIALITY: u8 = 0x10;
    pub(in crate::fence::ipmi) const NO_SUITE: u8 = 0x11;
}

/// What both sides know of a session once both have spoken.
#[derive(Debug, Clone)]
pub(super) struct Parties {
    pub(super) suite: CipherSuite,
    /// The session's number with us.
    pub(super) ours: u32,
    /// Its number with the board.
    pub(super) theirs: u32,
    pub(super) our_random: [u8; 16],
    pub(super) their_random: [u8; 16],
    pub(super) guid: [u8; 16],
    /// The privilege that is asked for.
    pub(super) privilege: u8,
    pub(super) user: String,
}

impl Parties {
    fn role(&self) -> [u8; 1] {
        [self.privilege | BY_NAME]
    }

    fn user(&self) -> (&[u8], [u8; 1]) {
        let name = self.user.as_bytes();
        (name, [u8::try_from(name.len()).unwrap_or_default()])
    }

    /// The code in RAKP 2 shows that the board knows the password (13.31).
    pub(super) fn is_rakp2_code(&self, password: &[u8], code: &[u8]) -> bool {
        let (ours, theirs) = (self.ours.to_le_bytes(), self.theirs.to_le_bytes());
        let (name, len) = self.user();
        let role = self.role();
        let parts: [&[u8]; 8] =
            [&ours, &theirs, &self.our_random, &self.their_random, &self.guid, &role, &len, name];
        self.suite.is_mac(password, &parts, code)
    }

    /// The code in RAKP 3 shows that we do.
    pub(super) fn rakp3_code(&self, password: &[u8]) -> Vec<u8> {
        let (name, len) = self.user();
        let (ours, role) = (self.ours.to_le_bytes(), self.role());
        self.suite.mac(password, &[&self.their_random, &ours, &role, &len, name])
    }

    /// The session integrity key, by the board's key or else the password (13.31).
    pub(super) fn session_key(&self, key: &[u8]) -> Vec<u8> {
        let (name, len) = self.user();
        self.suite.mac(key, &[&self.our_random, &self.their_random, &self.role(), &len, name])
    }

    /// The code in RAKP 4 shows that the board has the session's key.
    pub(super) fn is_rakp4_code(&self, session_key: &[u8], code: &[u8]) -> bool {
        let parts: [&[u8]; 3] = [&self.our_random, &self.theirs.to_le_bytes(), &self.guid];
        self.suite.is_short_mac(session_key, &parts, code)
    }

    /// The keys of the session.
    pub(super) fn keys(&self, session_key: &[u8]) -> Keys {
        Keys::of(self.suite, session_key)
    }
}

/// Which algorithms, and the session's number with us.
pub(super) fn open_request(tag: u8, privilege: u8, ours: u32, suite: CipherSuite) -> Vec<u8> {
    let mut message = vec![tag, privilege, 0, 0];
    message.extend(ours.to_le_bytes());
    for (kind, algorithm) in (0..).zip(suite.algorithms()) {
        message.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
    }
    message
}

/// RAKP 1.
pub(super) fn rakp1(tag: u8, parties: &Parties) -> Vec<u8> {
    let mut message = vec![tag, 0, 0, 0];
    message.extend(parties.theirs.to_le_bytes());
    message.extend(parties.our_random);
    let (name, [len]) = parties.user();
    let [role] = parties.role();
    message.extend([role, 0, 0, len]);
    message.extend(name);
    message
}

/// RAKP 3.
pub(super) fn rakp3(tag: u8, parties: &Parties, password: &[u8]) -> Vec<u8> {
    let mut message = vec![tag, 0, 0, 0];
    message.extend(parties.theirs.to_le_bytes());
    message.extend(parties.rakp3_code(password));
    message
}

/// RAKP 3 to a board that did not show that it knows the password.
pub(super) fn rakp3_refusal(tag: u8, parties: &Parties) -> Vec<u8> {
    let mut message = vec![tag, status::BAD_CODE, 0, 0];
    message.extend(parties.theirs.to_le_bytes());
    message
}

/// What a message of the handshake begins with; a refusal has no more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    pub(super) tag: u8,
    pub(super) status: u8,
    body: &'a [u8],
}

impl<'a> Reply<'a> {
    pub(super) fn decode(message: &'a [u8]) -> Option<Self> {
        // Some boards leave the rest of a refusal out: OpenIPMI's simulator does.
        let [tag, status, rest @ ..] = message else { return None };
        Some(Self { tag: *tag, status: *status, body: rest.get(2..).unwrap_or_default() })
    }

    /// The board's number for the session `ours`, if it has taken this suite.
    pub(super) fn opened(&self, ours: u32, suite: CipherSuite) -> Option<u32> {
        let rest = &mut { self.body };
        let (echoed, theirs) = (u32::from_le_bytes(take(rest)?), u32::from_le_bytes(take(rest)?));
        let algorithms: [[u8; 8]; 3] = [take(rest)?, take(rest)?, take(rest)?];
        let chosen = algorithms.map(|[_, _, _, _, algorithm, ..]| algorithm & 0x3f);
        (echoed == ours && theirs != 0 && chosen == suite.algorithms()).then_some(theirs)
    }

    /// The board's random number, its GUID and its code in RAKP 2.
    pub(super) fn rakp2(&self, ours: u32) -> Option<([u8; 16], [u8; 16], &'a [u8])> {
        let rest = &mut { self.body };
        let echoed = u32::from_le_bytes(take(rest)?);
        let (random, guid) = (take(rest)?, take(rest)?);
        (echoed == ours).then_some((random, guid, *rest))
    }

    /// The board's code in RAKP 4.
    pub(super) fn rakp4(&self, ours: u32) -> Option<&'a [u8]> {
        let rest = &mut { self.body };
        let echoed = u32::from_le_bytes(take(rest)?);
        (echoed == ours).then_some(*rest)
    }
}
