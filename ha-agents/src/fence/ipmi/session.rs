//! A session with a board, as a machine: log in, ask, ask again, log in anew.

use std::time::Duration;

use ha_core::machine::Machine;
use ha_core::time::Instant;

use super::crypto::{CipherSuite, Entropy, Keys};
use super::rakp::{self, Parties, Reply, status};
use super::window::Window;
use super::wire::{self, Packet, Request, Response, payload};
use crate::secret::Secret;

/// How often a session that was lost is opened again for one question.
const SESSIONS: u32 = 2;
/// How often a suite is asked for that is not the last one: there are boards that do not answer
/// what they do not know.
const FIRST_SUITE_ATTEMPTS: u32 = 2;

const APPLICATION: u8 = 0x06;
const GET_CHANNEL_AUTHENTICATION_CAPABILITIES: u8 = 0x38;
const SET_SESSION_PRIVILEGE: u8 = 0x3b;
const CLOSE_SESSION: u8 = 0x3c;

/// How to log in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Secret<Vec<u8>>,
    /// The board's key, `K_g`.
    pub(super) board_key: Option<Secret<Vec<u8>>>,
    /// 3: operator, 4: administrator.
    pub(super) privilege: u8,
    /// The best one first; never empty.
    pub(super) suites: Vec<CipherSuite>,
    /// How long an answer is waited for before the question is sent again.
    pub(super) retransmit: Duration,
    /// How often a question is sent.
    pub(super) attempts: u32,
}

/// What can happen to a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub(super) enum Input {
    /// Ask the board; takes the place of a question that is not answered yet.
    Ask(Request),
    /// Log out.
    Close,
    /// A datagram of the board's.
    Received(Vec<u8>),
}

/// What a session wants done, and says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Send this to the board.
    Send(Vec<u8>),
    /// The question is answered.
    Answered(Response),
    /// It cannot be asked, or does not answer any more.
    Failed(SessionError),
    /// A datagram was dropped.
    Rejected(&'static str),
}

/// Why a board cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SessionError {
    #[error("its key (K_g) is not the one that is set here, or none is; correct it")]
    BoardKey,
    #[error("all its sessions are taken; close some, or wait until they end by themselves")]
    Busy,
    #[error("it stopped answering; check the network and the board")]
    Lost,
    #[error("it has none of the cipher suites {0}; allow one that it has")]
    NoSuite(String),
    #[error("it does not accept the password; correct it")]
    Password,
    #[error("it refuses the privilege to this user; set a lower one, or let the board grant it")]
    Privilege,
    #[error("it refuses the login with status {0:#04x}; look it up in table 13-15 of IPMI 2.0")]
    Refused(u8),
    #[error("it speaks IPMI 1.5 only, which cannot be made secure; update its firmware")]
    TooOld,
    #[error("it does not answer; check its address, its IPMI over LAN, and firewalls")]
    Unreachable,
    #[error("it does not know the user, or does not let it in over the network; correct it")]
    User,
}

#[derive(Debug)]
enum State {
    Closed,
    /// Asked what the board can do.
    Probing,
    /// Asked for a session with the suite of this index.
    Opening {
        ours: u32,
        choice: usize,
    },
    /// RAKP 1 is sent.
    Greeting(Parties),
    /// RAKP 3 is sent.
    Proving {
        parties: Parties,
        session_key: Secret<Vec<u8>>,
    },
    /// Asked for the privilege.
    Raising(Live),
    Open(Live),
}

/// A session that is open.
#[derive(Debug)]
struct Live {
    ours: u32,
    theirs: u32,
    keys: Keys,
    window: Window,
    sequence: u32,
}

/// What is waited for.
#[derive(Debug)]
struct Waiting {
    packet: Vec<u8>,
    /// What the packet asks, inside of a session: it is sealed anew each time.
    request: Option<Request>,
    due: Instant,
    attempts: u32,
}

/// A session with one board.
#[derive(Debug)]
pub(super) struct Session {
    login: Login,
    entropy: Entropy,
    now: Instant,
    state: State,
    waiting: Option<Waiting>,
    /// What is to be asked, or is being asked.
    question: Option<Request>,
    /// Whether the question may have reached the board.
    is_asked: bool,
    sessions: u32,
    is_full: bool,
    /// The number of the last message that waits for an answer.
    tag: u8,
}

impl Session {
    /// A session that is not open yet. `seed` must be random: keys depend on it.
    pub(super) fn new(login: Login, seed: [u8; 32]) -> Self {
        Self {
            login,
            entropy: Entropy::new(seed),
            now: Instant::ZERO,
            state: State::Closed,
            waiting: None,
            question: None,
            is_asked: false,
            sessions: 0,
            is_full: false,
            tag: 0,
        }
    }

    /// Sends something that is to be answered.
    fn send(&mut self, packet: Vec<u8>, attempts: u32, out: &mut Vec<Output>) {
        out.push(Output::Send(packet.clone()));
        let due = self.now + self.login.retransmit;
        self.waiting = Some(Waiting { packet, request: None, due, attempts: attempts - 1 });
    }

    /// Seals a request for the session and sends it.
    fn send_request(&mut self, request: Request, out: &mut Vec<Output>) {
        self.tag = self.tag.wrapping_add(1);
        let Some(packet) = self.seal(&request) else { return };
        self.send(packet, self.login.attempts, out);
        if let Some(waiting) = &mut self.waiting {
            waiting.request = Some(request);
        }
    }

    fn seal(&mut self, request: &Request) -> Option<Vec<u8>> {
        let vector = self.entropy.draw();
        let (State::Raising(live) | State::Open(live)) = &mut self.state else { return None };
        // 0 is the number of messages outside of sessions.
        live.sequence = live.sequence.checked_add(1).unwrap_or(1);
        let message = wire::encode_request(request, self.tag & 0x3f);
        Some(wire::sealed(&live.keys, vector, live.theirs, live.sequence, &message))
    }

    /// Asks the board what it can do; the handshake follows.
    fn begin(&mut self, out: &mut Vec<Output>) {
        self.state = State::Probing;
        self.is_full = false;
        self.tag = self.tag.wrapping_add(1);
        let message = wire::encode_request(&self.probe(), self.tag & 0x3f);
        self.send(wire::bare(&message), self.login.attempts, out);
    }

    fn probe(&self) -> Request {
        // 22.13: of the channel that this comes by, with the data of IPMI 2.0.
        let data = vec![0x8e, self.login.privilege];
        let command = GET_CHANNEL_AUTHENTICATION_CAPABILITIES;
        Request { function: APPLICATION, command, data, once: false }
    }

    /// Asks for a session with the suite of this index.
    fn open(&mut self, choice: usize, out: &mut Vec<Output>) {
        let Some(suite) = self.login.suites.get(choice).copied() else {
            let names: Vec<String> = self.login.suites.iter().map(ToString::to_string).collect();
            return self.fail(SessionError::NoSuite(names.join(", ")), out);
        };
        let ours = self.entropy.number();
        self.tag = self.tag.wrapping_add(1);
        self.state = State::Opening { ours, choice };
        let message = rakp::open_request(self.tag, self.login.privilege, ours, suite);
        let is_last = choice + 1 == self.login.suites.len();
        let attempts = if is_last { u32::MAX } else { FIRST_SUITE_ATTEMPTS };
        let packet = wire::handshake(payload::OPEN_REQUEST, &message);
        self.send(packet, attempts.min(self.login.attempts), out);
    }

    /// Asks what is to be asked, or for a session first.
    fn proceed(&mut self, out: &mut Vec<Output>) {
        match self.state {
            State::Closed => self.begin(out),
            State::Open(_) => {
                if let Some(question) = self.question.clone() {
                    self.is_asked = true;
                    self.send_request(question, out);
                }
            }
            State::Probing
            | State::Opening { .. }
            | State::Greeting(_)
            | State::Proving { .. }
            | State::Raising(_) => {}
        }
    }

    fn fail(&mut self, error: SessionError, out: &mut Vec<Output>) {
        self.state = State::Closed;
        self.waiting = None;
        self.question = None;
        out.push(Output::Failed(error));
    }

    /// Opens another session, if the question may be asked again.
    fn start_again(&mut self, out: &mut Vec<Output>) {
        let is_risky = self.is_asked && self.question.as_ref().is_some_and(|ask| ask.once);
        if self.sessions == 0 || is_risky {
            let error = if self.is_full { SessionError::Busy } else { SessionError::Lost };
            return self.fail(error, out);
        }
        self.sessions -= 1;
        self.begin(out);
    }

    /// Nobody has answered in time.
    fn expire(&mut self, out: &mut Vec<Output>) {
        let Some(mut waiting) = self.waiting.take() else { return };
        if waiting.attempts > 0 {
            if let Some(request) = waiting.request.take_if(|request| !request.once) {
                if let Some(packet) = self.seal(&request) {
                    waiting.packet = packet;
                }
                waiting.request = Some(request);
            }
            waiting.attempts -= 1;
            waiting.due = self.now + self.login.retransmit;
            out.push(Output::Send(waiting.packet.clone()));
            self.waiting = Some(waiting);
            return;
        }
        match self.state {
            State::Probing => self.fail(SessionError::Unreachable, out),
            State::Opening { choice, .. } if choice + 1 < self.login.suites.len() => {
                self.open(choice + 1, out);
            }
            State::Closed
            | State::Opening { .. }
            | State::Greeting(_)
            | State::Proving { .. }
            | State::Raising(_)
            | State::Open(_) => self.start_again(out),
        }
    }

    fn receive(&mut self, datagram: &[u8], out: &mut Vec<Output>) {
        let code_len = match &self.state {
            State::Raising(live) | State::Open(live) => live.keys.suite.short(),
            State::Closed
            | State::Probing
            | State::Opening { .. }
            | State::Greeting(_)
            | State::Proving { .. } => 0,
        };
        let Some(packet) = wire::decode(datagram, code_len) else {
            return out.push(Output::Rejected("not a packet of ours"));
        };
        let taken = match packet {
            Packet::Bare(message) => self.receive_bare(message, out),
            Packet::Handshake { kind, payload } => self.receive_handshake(kind, payload, out),
            Packet::Sealed(sealed) => self.receive_sealed(&sealed, out),
        };
        if let Err(why) = taken {
            out.push(Output::Rejected(why));
        }
    }

    /// What the board can do.
    fn receive_bare(&mut self, message: &[u8], out: &mut Vec<Output>) -> Result<(), &'static str> {
        let State::Probing = self.state else { return Err("outside of the session") };
        let answer = wire::decode_response(message).ok_or("damaged")?;
        if !answer.answers(&self.probe(), self.tag) {
            return Err("not an answer to the last question");
        }
        // 22.13: the extended capabilities are there, and IPMI 2.0 is among them.
        let speaks = |data: &[u8]| matches!(data, [_, types, _, more, ..] if types & 0x80 != 0 && more & 2 != 0);
        if answer.code == 0 && speaks(&answer.data) {
            self.open(0, out);
        } else {
            self.fail(SessionError::TooOld, out);
        }
        Ok(())
    }

    fn receive_handshake(
        &mut self,
        kind: u8,
        message: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let reply = Reply::decode(message).ok_or("cut short")?;
        if reply.tag != self.tag {
            return Err("not an answer to the last message");
        }
        match (kind, &self.state) {
            (payload::OPEN_RESPONSE, &State::Opening { ours, choice }) => {
                self.opened(&reply, ours, choice, out)
            }
            (payload::RAKP_2, State::Greeting(parties)) => {
                let parties = parties.clone();
                self.greeted(&reply, parties, out)
            }
            (payload::RAKP_4, State::Proving { parties, session_key }) => {
                let (parties, session_key) = (parties.clone(), session_key.clone());
                self.proved(&reply, &parties, session_key.reveal(), out)
            }
            _ => Err("out of turn"),
        }
    }

    fn opened(
        &mut self,
        reply: &Reply<'_>,
        ours: u32,
        choice: usize,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        match reply.status {
            0 => {}
            status::NO_AUTHENTICATION
            | status::NO_INTEGRITY
            | status::NO_CONFIDENTIALITY
            | status::NO_SUITE => {
                self.open(choice + 1, out);
                return Ok(());
            }
            status::NO_RESOURCES => {
                // The request is sent again when its time is up.
                self.is_full = true;
                return Ok(());
            }
            other => {
                self.fail(refusal(other), out);
                return Ok(());
            }
        }
        let suite = self.login.suites.get(choice).copied().ok_or("out of turn")?;
        let theirs = reply.opened(ours, suite).ok_or("not what was asked for")?;
        let parties = Parties {
            suite,
            ours,
            theirs,
            our_random: self.entropy.draw(),
            their_random: [0; 16],
            guid: [0; 16],
            privilege: self.login.privilege,
            user: self.login.user.clone(),
        };
        self.tag = self.tag.wrapping_add(1);
        let packet = wire::handshake(payload::RAKP_1, &rakp::rakp1(self.tag, &parties));
        self.state = State::Greeting(parties);
        self.send(packet, self.login.attempts, out);
        Ok(())
    }

    fn greeted(
        &mut self,
        reply: &Reply<'_>,
        mut parties: Parties,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        if reply.status != 0 {
            self.fail(refusal(reply.status), out);
            return Ok(());
        }
        let (random, guid, code) = reply.rakp2(parties.ours).ok_or("not our session")?;
        (parties.their_random, parties.guid) = (random, guid);
        let password = self.login.password.reveal();
        self.tag = self.tag.wrapping_add(1);
        if !parties.is_rakp2_code(password, code) {
            // 13.22: the board is told, so that it forgets the session.
            let refused = rakp::rakp3_refusal(self.tag, &parties);
            out.push(Output::Send(wire::handshake(payload::RAKP_3, &refused)));
            self.fail(SessionError::Password, out);
            return Ok(());
        }
        let board_key = self.login.board_key.as_ref().map_or(password, Secret::reveal);
        let session_key = Secret::new(parties.session_key(board_key));
        let packet = wire::handshake(payload::RAKP_3, &rakp::rakp3(self.tag, &parties, password));
        self.state = State::Proving { parties, session_key };
        self.send(packet, self.login.attempts, out);
        Ok(())
    }

    fn proved(
        &mut self,
        reply: &Reply<'_>,
        parties: &Parties,
        session_key: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        if reply.status != 0 {
            self.fail(refusal(reply.status), out);
            return Ok(());
        }
        let code = reply.rakp4(parties.ours).ok_or("not our session")?;
        if !parties.is_rakp4_code(session_key, code) {
            self.fail(SessionError::BoardKey, out);
            return Ok(());
        }
        self.state = State::Raising(Live {
            ours: parties.ours,
            theirs: parties.theirs,
            keys: parties.keys(session_key),
            window: Window::default(),
            sequence: 0,
        });
        self.send_request(
            Request {
                function: APPLICATION,
                command: SET_SESSION_PRIVILEGE,
                data: vec![self.login.privilege],
                once: false,
            },
            out,
        );
        Ok(())
    }

    fn receive_sealed(
        &mut self,
        sealed: &wire::Sealed<'_>,
        out: &mut Vec<Output>,
    ) -> Result<(), &'static str> {
        let (State::Raising(live) | State::Open(live)) = &mut self.state else {
            return Err("no session is open");
        };
        if sealed.session != live.ours {
            return Err("not our session");
        }
        let message = sealed.open(&live.keys).ok_or("not genuine")?;
        if !live.window.take(sealed.sequence) {
            return Err("a second time, or far too late");
        }
        let response = wire::decode_response(&message).ok_or("damaged")?;
        let request = self.waiting.as_ref().and_then(|waiting| waiting.request.as_ref());
        if !request.is_some_and(|request| response.answers(request, self.tag)) {
            return Err("not an answer to the last question");
        }
        self.waiting = None;
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Raising(live) if response.code == 0 => {
                self.state = State::Open(live);
                self.proceed(out);
            }
            State::Open(live) => {
                self.state = State::Open(live);
                self.question = None;
                out.push(Output::Answered(response));
            }
            State::Closed
            | State::Probing
            | State::Opening { .. }
            | State::Greeting(_)
            | State::Proving { .. }
            | State::Raising(_) => self.fail(SessionError::Privilege, out),
        }
        Ok(())
    }
}

/// What a status of the handshake means for the one who configured the login.
const fn refusal(status: u8) -> SessionError {
    match status {
        status::NO_RESOURCES => SessionError::Busy,
        status::INACTIVE_ROLE | status::UNAUTHORIZED_ROLE | status::NO_ROLE_RESOURCES => {
            SessionError::Privilege
        }
        status::BAD_NAME_LENGTH | status::UNAUTHORIZED_NAME => SessionError::User,
        status::BAD_CODE => SessionError::Password,
        other => SessionError::Refused(other),
    }
}

impl Machine for Session {
    type Input = Input;
    type Output = Output;
    /// A question that is sent again, and what an input makes of it: a refusal and its reason.
    const MAX_OUTPUTS: usize = 4;

    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) {
        self.tick(now, out);
        match input {
            Input::Ask(request) => {
                self.question = Some(request);
                self.is_asked = false;
                self.sessions = SESSIONS;
                self.proceed(out);
            }
            Input::Close => {
                if let State::Open(live) = &self.state {
                    let data = live.theirs.to_le_bytes().to_vec();
                    let command = CLOSE_SESSION;
                    let request = Request { function: APPLICATION, command, data, once: true };
                    self.tag = self.tag.wrapping_add(1);
                    out.extend(self.seal(&request).map(Output::Send));
                }
                self.state = State::Closed;
                self.waiting = None;
                self.question = None;
            }
            Input::Received(datagram) => self.receive(&datagram, out),
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.now = self.now.max(now);
        if self.deadline().is_some_and(|due| due <= self.now) {
            self.expire(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.due)
    }
}
