//! A management board for tests, written from the board's side of the standard; `ipmitool`, which
//! is not ours, agrees with it (see the tests).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

use super::crypto::{CipherSuite, Entropy, Keys};
use super::wire::{self, Packet, payload};

const GUID: [u8; 16] = *b"board of a test.";
const OURS: u32 = 0x0203_0405;

/// What a board does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fault {
    #[default]
    None,
    /// It says that it has switched the power, and has not.
    Stuck,
    /// It says that it is busy for a while.
    Busy(u32),
    /// It forgets its session after each command of the chassis.
    Forgets,
    /// It answers suites that it does not have with nothing.
    Mute,
    /// It grants the privilege to nobody.
    Role,
    /// It has no session to give for a while.
    Full(u32),
}

#[derive(Debug)]
struct Session {
    suite: CipherSuite,
    console: u32,
    console_random: [u8; 16],
    random: [u8; 16],
    role: u8,
    name: Vec<u8>,
    keys: Option<Keys>,
    sequence: u32,
}

/// A board with one chassis.
#[derive(Debug)]
pub(super) struct Board {
    suites: Vec<CipherSuite>,
    password: Vec<u8>,
    key: Option<Vec<u8>>,
    pub(super) fault: Fault,
    pub(super) is_on: bool,
    /// How often a look after a cycle still says off.
    off_looks: u32,
    /// The chassis commands that were carried out.
    pub(super) done: Vec<u8>,
    pub(super) logins: u32,
    entropy: Entropy,
    session: Option<Session>,
}

impl Board {
    /// A board that is on, with the user `admin`.
    pub(super) fn new(suites: &[CipherSuite], password: &str) -> Self {
        Self {
            suites: suites.to_vec(),
            password: password.into(),
            key: None,
            fault: Fault::None,
            is_on: true,
            off_looks: 0,
            done: Vec::new(),
            logins: 0,
            entropy: Entropy::new([7; 32]),
            session: None,
        }
    }

    /// The board with a key of its own.
    pub(super) fn with_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(Into::into);
        self
    }

    /// Whether somebody is logged in.
    pub(super) fn has_session(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.keys.is_some())
    }

    /// What the board answers to a datagram.
    pub(super) fn receive(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let suite = self.session.as_ref().map(|session| session.suite);
        match wire::decode(datagram, suite.map_or(0, CipherSuite::short))? {
            Packet::Bare(message) => Some(wire::bare(&self.serve(message)?)),
            Packet::Handshake { kind: payload::OPEN_REQUEST, payload } => self.open(payload),
            Packet::Handshake { kind: payload::RAKP_1, payload } => self.greet(payload),
            Packet::Handshake { kind: payload::RAKP_3, payload } => self.prove(payload),
            Packet::Handshake { .. } => None,
            Packet::Sealed(sealed) => {
                let session = self.session.as_mut()?;
                let keys = session.keys.clone()?;
                session.sequence += 1;
                let (console, sequence) = (session.console, session.sequence);
                assert_eq!(sealed.session, OURS, "the board's number of the session");
                let message = sealed.open(&keys).expect("genuine");
                let answer = self.serve(&message)?;
                let vector = self.entropy.draw();
                Some(wire::sealed(&keys, vector, console, sequence, &answer))
            }
        }
    }

    fn open(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let [tag, _, _, _, a, b, c, d, algorithms @ ..] = message else { return None };
        let console = u32::from_le_bytes([*a, *b, *c, *d]);
        let asked: Vec<u8> = algorithms.chunks(8).map(|chunk| chunk[4]).collect();
        let refuse = |status: u8| {
            let mut reply = vec![*tag, status, 0, 0];
            reply.extend(console.to_le_bytes());
            Some(wire::handshake(payload::OPEN_RESPONSE, &reply))
        };
        if let Fault::Full(times @ 1..) = self.fault {
            self.fault = Fault::Full(times - 1);
            return refuse(0x01);
        }
        let Some(suite) = self.suites.iter().copied().find(|suite| asked == suite.algorithms())
        else {
            return if self.fault == Fault::Mute { None } else { refuse(0x11) };
        };
        self.session = Some(Session {
            suite,
            console,
            console_random: [0; 16],
            random: self.entropy.draw(),
            role: 0,
            name: Vec::new(),
            keys: None,
            sequence: 0,
        });
        let mut reply = vec![*tag, 0, 4, 0];
        reply.extend(console.to_le_bytes());
        reply.extend(OURS.to_le_bytes());
        reply.extend(algorithms);
        Some(wire::handshake(payload::OPEN_RESPONSE, &reply))
    }

    fn greet(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let session = self.session.as_mut()?;
        let tag = message[0];
        assert_eq!(message[4..8], OURS.to_le_bytes());
        session.console_random = message[8..24].try_into().expect("16 bytes");
        (session.role, session.name) = (message[24], message[28..].to_vec());
        assert_eq!(usize::from(message[27]), session.name.len());
        let mut reply = vec![tag, 0, 0, 0];
        reply.extend(session.console.to_le_bytes());
        if session.name != b"admin" || self.fault == Fault::Role {
            reply[1] = if self.fault == Fault::Role { 0x0a } else { 0x0d };
            return Some(wire::handshake(payload::RAKP_2, &reply));
        }
        reply.extend(session.random);
        reply.extend(GUID);
        let head: [&[u8]; 5] = [
            &session.console.to_le_bytes(),
            &OURS.to_le_bytes(),
            &session.console_random,
            &session.random,
            &GUID,
        ];
        let tail = [&[session.role, 5][..], b"admin"].concat();
        reply.extend(session.suite.mac(&self.password, &[&head.concat(), &tail]));
        Some(wire::handshake(payload::RAKP_2, &reply))
    }

    fn prove(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let session = self.session.as_mut()?;
        let (suite, console) = (session.suite, session.console);
        if message[1] != 0 {
            self.session = None; // the console does not believe us
            return None;
        }
        let tail = [&[session.role, 5][..], b"admin"].concat();
        let parts: [&[u8]; 3] = [&session.random, &console.to_le_bytes(), &tail];
        let mut reply = vec![message[0], 0, 0, 0];
        reply.extend(console.to_le_bytes());
        if suite.mac(&self.password, &parts) != message[8..] {
            reply[1] = 0x0f;
            return Some(wire::handshake(payload::RAKP_4, &reply));
        }
        let key = self.key.as_ref().unwrap_or(&self.password);
        let sik = suite.mac(key, &[&session.console_random, &session.random, &tail]);
        let code = suite.mac(&sik, &[&session.console_random, &OURS.to_le_bytes(), &GUID]);
        reply.extend(&code[..suite.short()]);
        session.keys = Some(Keys::of(suite, &sik));
        self.logins += 1;
        Some(wire::handshake(payload::RAKP_4, &reply))
    }

    /// Carries out a message, and answers it.
    fn serve(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let [0x20, function, _, 0x81, number, command, data @ .., _] = message else {
            return None;
        };
        let mut body = match (function >> 2, *command, data) {
            (0x06, 0x38, _) => vec![0, 1, 0x80, 0x14, 0x02, 0, 0, 0, 0],
            (0x06, 0x3b, [privilege, ..]) => vec![0, *privilege],
            (0x06, 0x3c, _) => {
                self.session = None;
                vec![0]
            }
            (0x00, 0x01, _) => self.look(),
            (0x00, 0x02, [control]) => vec![self.switch(*control)],
            _ => vec![0xc1],
        };
        if self.fault == Fault::Forgets && function >> 2 == 0 {
            self.session = None;
            return None;
        }
        let head = [0x81, function | 0x04];
        let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        let mut answer = vec![head[0], head[1], sum(&head), 0x20, *number, *command];
        answer.append(&mut body);
        answer.push(sum(&answer[3..]));
        Some(answer)
    }

    fn look(&mut self) -> Vec<u8> {
        if self.off_looks > 0 {
            self.off_looks -= 1;
            self.is_on = self.off_looks == 0;
        }
        vec![0, u8::from(self.is_on), 0, 0]
    }

    fn switch(&mut self, control: u8) -> u8 {
        if let Fault::Busy(times @ 1..) = self.fault {
            self.fault = Fault::Busy(times - 1);
            return 0xc0;
        }
        self.done.push(control);
        match control {
            _ if self.fault == Fault::Stuck => {}
            0 => self.is_on = false,
            2 => self.off_looks = 3,
            _ => self.is_on = true,
        }
        0
    }
}

/// A board on a socket, as long as the future is polled.
pub(super) async fn serve(socket: UdpSocket, board: Arc<Mutex<Board>>) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
        let answer = board.lock().expect("no panic").receive(&buffer[..len]);
        if let Some(answer) = answer {
            socket.send_to(&answer, from).await.expect("sent");
        }
    }
}

/// A socket for a board, and its address.
pub(super) async fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}
