//! RMCP packets with IPMI 1.5 and 2.0 session headers, and the IPMI messages in them.

use super::crypto::Keys;

/// RMCP 1.0, no acknowledgement, class IPMI (13.1.3).
const RMCP: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
/// The authentication type that says: a 2.0 header follows.
const RMCP_PLUS: u8 = 0x06;
/// The end of a signed packet, before its code.
const NEXT_HEADER: u8 = 0x07;
const ENCRYPTED: u8 = 0x80;
const AUTHENTICATED: u8 = 0x40;

/// What a 2.0 packet carries (table 13-16).
pub(super) mod payload {
    /// An IPMI message.
    pub(in crate::fence::ipmi) const MESSAGE: u8 = 0x00;
    /// The first message to a board: which algorithms?
    pub(in crate::fence::ipmi) const OPEN_REQUEST: u8 = 0x10;
    /// Its answer.
    pub(in crate::fence::ipmi) const OPEN_RESPONSE: u8 = 0x11;
    /// RAKP 1: who we are.
    pub(in crate::fence::ipmi) const RAKP_1: u8 = 0x12;
    /// RAKP 2: the board knows the password.
    pub(in crate::fence::ipmi) const RAKP_2: u8 = 0x13;
    /// RAKP 3: we know the password.
    pub(in crate::fence::ipmi) const RAKP_3: u8 = 0x14;
    /// RAKP 4: the board knows the session's key.
    pub(in crate::fence::ipmi) const RAKP_4: u8 = 0x15;
}

/// A received packet, not yet checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    /// An IPMI message outside of sessions, as of IPMI 1.5.
    Bare(&'a [u8]),
    /// A message of the handshake.
    Handshake { kind: u8, payload: &'a [u8] },
    /// A message of a session.
    Sealed(Sealed<'a>),
}

/// A signed and encrypted message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed<'a> {
    pub(super) session: u32,
    pub(super) sequence: u32,
    payload: &'a [u8],
    /// What is signed, and the code.
    signed: &'a [u8],
    code: &'a [u8],
}

impl Sealed<'_> {
    /// The message, if it is genuine.
    pub(super) fn open(&self, keys: &Keys) -> Option<Vec<u8>> {
        if keys.is_genuine(self.signed, self.code) { keys.decrypt(self.payload) } else { None }
    }
}

/// Splits a fixed number of bytes off.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

/// Reads a packet; `None` if it is none of ours. `code_len` is the length of the codes under
/// messages of the session.
pub(super) fn decode(datagram: &[u8], code_len: usize) -> Option<Packet<'_>> {
    let rest = &mut { datagram };
    if take::<4>(rest)? != RMCP {
        return None;
    }
    let session_part = *rest;
    match take::<1>(rest)? {
        // 13.6: sequence, session, length; both are zero outside of sessions.
        [0] => {
            let [header @ .., len] = take::<9>(rest)?;
            let message = rest.get(..usize::from(len))?;
            (header == [0; 8]).then_some(Packet::Bare(message))
        }
        [RMCP_PLUS] => decode_plus(session_part, rest, code_len),
        _ => None,
    }
}

fn decode_plus<'a>(
    session_part: &'a [u8],
    rest: &mut &'a [u8],
    code_len: usize,
) -> Option<Packet<'a>> {
    let [kind] = take::<1>(rest)?;
    let session = u32::from_le_bytes(take(rest)?);
    let sequence = u32::from_le_bytes(take(rest)?);
    let len = usize::from(u16::from_le_bytes(take(rest)?));
    let (payload, trailer) = rest.split_at_checked(len)?;
    if kind & (ENCRYPTED | AUTHENTICATED) == 0 {
        let is_handshake = kind != payload::MESSAGE && session == 0;
        return is_handshake.then_some(Packet::Handshake { kind, payload });
    }
    // Inside a session only messages that are both are taken.
    if kind != payload::MESSAGE | ENCRYPTED | AUTHENTICATED {
        return None;
    }
    let signed_trailer = trailer.len().checked_sub(code_len)?;
    let (signed_trailer, code) = trailer.split_at_checked(signed_trailer)?;
    let [padding @ .., padding_len, NEXT_HEADER] = signed_trailer else {
        return None;
    };
    if padding.len() != usize::from(*padding_len) {
        return None;
    }
    let signed = session_part.get(..session_part.len().checked_sub(code_len)?)?;
    Some(Packet::Sealed(Sealed { session, sequence, payload, signed, code }))
}

/// A message outside of sessions.
pub(super) fn bare(message: &[u8]) -> Vec<u8> {
    let mut packet = RMCP.to_vec();
    packet.extend([0; 9]);
    packet.push(u8::try_from(message.len()).unwrap_or(u8::MAX));
    packet.extend(message);
    packet
}

/// A message of the handshake.
pub(super) fn handshake(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = RMCP.to_vec();
    packet.extend(plus_header(kind, 0, 0, payload.len()));
    packet.extend(payload);
    packet
}

/// A message of a session, encrypted with this vector and signed.
pub(super) fn sealed(
    keys: &Keys,
    vector: [u8; 16],
    session: u32,
    sequence: u32,
    message: &[u8],
) -> Vec<u8> {
    let payload = keys.encrypt(vector, message);
    let kind = payload::MESSAGE | ENCRYPTED | AUTHENTICATED;
    let mut signed = plus_header(kind, session, sequence, payload.len());
    signed.extend(payload);
    // 13.28.4: what is signed is a multiple of four, with these two bytes at its end.
    let padding = (4 - (signed.len() + 2) % 4) % 4;
    signed.extend(std::iter::repeat_n(0xff, padding));
    signed.push(u8::try_from(padding).unwrap_or_default());
    signed.push(NEXT_HEADER);
    let code = keys.sign(&signed);
    [&RMCP[..], &signed, &code].concat()
}

fn plus_header(kind: u8, session: u32, sequence: u32, len: usize) -> Vec<u8> {
    let mut header = vec![RMCP_PLUS, kind];
    header.extend(session.to_le_bytes());
    header.extend(sequence.to_le_bytes());
    header.extend(u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
    header
}

/// The board's address on its own bus, and ours.
const BOARD: u8 = 0x20;
const CONSOLE: u8 = 0x81;

/// What is asked of a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) function: u8,
    pub(super) command: u8,
    pub(super) data: Vec<u8>,
    /// Whether it must not be done twice: it is sent again only as the same packet, which a board
    /// that has had it drops.
    pub(super) once: bool,
}

/// What a board answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) function: u8,
    pub(super) command: u8,
    /// The number of the request that it answers.
    pub(super) number: u8,
    /// The completion code: 0 is done (table 5-2).
    pub(super) code: u8,
    pub(super) data: Vec<u8>,
}

impl Response {
    /// Whether it answers this request.
    pub(super) const fn answers(&self, request: &Request, number: u8) -> bool {
        self.function == request.function | 1
            && self.command == request.command
            && self.number == number & 0x3f
    }
}

/// Makes the sum of all bytes zero.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// A request as a message (13.8).
pub(super) fn encode_request(request: &Request, number: u8) -> Vec<u8> {
    let head = [BOARD, request.function << 2];
    let mut body = vec![CONSOLE, number << 2, request.command];
    body.extend(&request.data);
    let sums = [checksum(&head), checksum(&body)];
    [&head[..], &sums[..1], &body, &sums[1..]].concat()
}

/// A message that is a response, its sums checked.
pub(super) fn decode_response(message: &[u8]) -> Option<Response> {
    let (head, body) = message.split_at_checked(3)?;
    if checksum(head) != 0 || checksum(body) != 0 {
        return None;
    }
    let ([CONSOLE, function, _], [BOARD, number, command, code, data @ .., _]) = (head, body)
    else {
        return None;
    };
    Some(Response {
        function: function >> 2,
        command: *command,
        number: number >> 2,
        code: *code,
        data: data.to_vec(),
    })
}
