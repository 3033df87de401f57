//! A name server that answers what a test says, by UDP and TCP on one port.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use ha_core::driver::Task;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

pub(crate) const A: u16 = 1;
pub(crate) const CNAME: u16 = 5;
pub(crate) const AAAA: u16 = 28;
pub(crate) const SRV: u16 = 33;

/// One resource record; its name is the question's.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) kind: u16,
    pub(crate) ttl: u32,
    pub(crate) data: Vec<u8>,
}

impl Record {
    pub(crate) fn address(address: IpAddr, ttl: u32) -> Self {
        match address {
            IpAddr::V4(v4) => Self { kind: A, ttl, data: v4.octets().to_vec() },
            IpAddr::V6(v6) => Self { kind: AAAA, ttl, data: v6.octets().to_vec() },
        }
    }

    pub(crate) fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Self {
        let mut data = Vec::new();
        for number in [priority, weight, port] {
            data.extend(number.to_be_bytes());
        }
        data.extend(name(target));
        Self { kind: SRV, ttl: 1, data }
    }
}

/// A name on the wire.
fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("short"));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// What is answered to a question.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, after the question's id.
    Bytes(Vec<u8>),
    /// Records; by UDP only that there are more than fit, if they are `large`.
    Records { records: Vec<Record>, large: bool },
    /// No answer; the code says why.
    Refusal(u8),
    /// Nothing at all.
    Silence,
    /// The records, under another id than was asked for.
    WrongId(Vec<Record>),
}

pub(crate) const SERVFAIL: u8 = 2;
pub(crate) const NXDOMAIN: u8 = 3;

/// Addresses of one kind are answered with those, all other questions with nothing.
pub(crate) fn addresses(asked: u16, addresses: &[&str], ttl: u32) -> Answer {
    let parsed = addresses.iter().map(|text| text.parse().expect("an address"));
    let records: Vec<_> = parsed.map(|address| Record::address(address, ttl)).collect();
    let records = records.into_iter().filter(|record| record.kind == asked).collect();
    Answer::Records { records, large: false }
}

type Script = Box<dyn FnMut(&str, u16) -> Answer + Send>;

/// The server; ends when dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _tasks: [Task<()>; 2],
}

impl NameServer {
    /// Answers a question's name and type as `script` says.
    pub(crate) async fn start(script: impl FnMut(&str, u16) -> Answer + Send + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
            // The same port may be taken for TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("bound");
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let (for_udp, for_tcp) = (Arc::clone(&script), Arc::clone(&script));
        let tasks = [
            Task::spawn(|mut stop| async move {
                let mut query = [0; 4096];
                loop {
                    let (len, client) = tokio::select! {
                        () = stop.wait() => return,
                        got = udp.recv_from(&mut query) => got.expect("received"),
                    };
                    if let Some(bytes) = answer(&query[..len], &for_udp, true) {
                        let _gone = udp.send_to(&bytes, client).await;
                    }
                }
            }),
            Task::spawn(|mut stop| async move {
                let mut clients = tokio::task::JoinSet::new();
                loop {
                    tokio::select! {
                        () = stop.wait() => return,
                        client = tcp.accept() => {
                            let script = Arc::clone(&for_tcp);
                            clients.spawn(serve(client.expect("accepted").0, script));
                        }
                    }
                }
            }),
        ];
        Self { address, script, _tasks: tasks }
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer(&self, script: impl FnMut(&str, u16) -> Answer + Send + 'static) {
        *self.script.lock().expect("no panic") = Box::new(script);
    }
}

async fn serve(mut client: TcpStream, script: Arc<Mutex<Script>>) {
    while let Ok(len) = client.read_u16().await {
        let mut query = vec![0; len.into()];
        if client.read_exact(&mut query).await.is_err() {
            return;
        }
        let Some(bytes) = answer(&query, &script, false) else { continue };
        let len = u16::try_from(bytes.len()).expect("it fits");
        let whole = [len.to_be_bytes().as_slice(), &bytes].concat();
        if client.write_all(&whole).await.is_err() {
            return;
        }
    }
}

fn answer(query: &[u8], script: &Mutex<Script>, udp: bool) -> Option<Vec<u8>> {
    let (mut at, mut name) = (12, String::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push_str(std::str::from_utf8(&query[at + 1..end]).expect("ASCII"));
        name.push('.');
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let id = [query[0], query[1]];
    let answer = (script.lock().expect("no panic"))(&name.to_lowercase(), kind);
    match answer {
        Answer::Bytes(bytes) => Some([id.as_slice(), &bytes].concat()),
        Answer::Records { large: true, .. } if udp => Some(message(id, question, 0, true, &[])),
        Answer::Records { records, .. } => Some(message(id, question, 0, false, &records)),
        Answer::Refusal(code) => Some(message(id, question, code, false, &[])),
        Answer::Silence => None,
        Answer::WrongId(records) => {
            Some(message([id[0] ^ 0x55, id[1]], question, 0, false, &records))
        }
    }
}

fn message(id: [u8; 2], question: &[u8], code: u8, truncated: bool, records: &[Record]) -> Vec<u8> {
    let mut bytes = id.to_vec();
    // An answer to a recursive question, from a server that does recursion.
    bytes.push(0x81 | if truncated { 2 } else { 0 });
    bytes.push(0x80 | code);
    bytes.extend([0, 1]);
    bytes.extend(u16::try_from(records.len()).expect("few").to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(question);
    for record in records {
        bytes.extend([0xc0, 12]); // the name of the question
        bytes.extend(record.kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(record.ttl.to_be_bytes());
        bytes.extend(u16::try_from(record.data.len()).expect("short").to_be_bytes());
        bytes.extend(&record.data);
    }
    bytes
}

/// Answers that are none: cut off, circular, with numbers that do not fit.
pub(crate) fn garbage() -> Vec<Answer> {
    let header = |answers: u8| vec![0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0];
    let with = |answers, rest: &[u8]| Answer::Bytes([header(answers), rest.to_vec()].concat());
    vec![
        Answer::Bytes(Vec::new()),
        Answer::Bytes(vec![0x81]),
        Answer::Bytes(vec![0xff; 500]),
        // Records that are announced and do not follow.
        with(200, &[]),
        // A name that points at itself, and two that point at each other.
        with(1, &[0xc0, 12, 0, 1, 0, 1]),
        with(1, &[0xc0, 14, 0xc0, 12, 0, 1, 0, 1]),
        // A record that says it is longer than the message.
        with(1, &[1, b'x', 0, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 1, 2]),
        // An address of three bytes.
        with(1, &[1, b'x', 0, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 3, 1, 2, 3]),
        // A label that is too long.
        with(0, &[0xbf; 300]),
    ]
}
