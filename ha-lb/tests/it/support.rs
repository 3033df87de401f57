//! Backends and clients that do exactly what a test says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ha_core::driver::Task;
use ha_lb::algorithm::Algorithm;
use ha_lb::endpoint::Endpoint;
use ha_lb::pool::Pool;
use ha_lb::proxy::{Config, ConfigBuilder, Ended, Handle};
use ha_lb::{l4, l7};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server of a test; ends when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) accepted: Arc<AtomicUsize>,
    _task: Task<()>,
}

impl Server {
    /// Runs `serve` for every connection.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::start_on("127.0.0.1:0".parse().expect("an address"), serve).await
    }

    pub(crate) async fn start_on<F>(
        address: SocketAddr,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        let task = Task::spawn(|mut stop| async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    () = stop.wait() => return,
                    stream = listener.accept() => {
                        counter.fetch_add(1, Ordering::SeqCst);
                        connections.spawn(serve(stream.expect("accepted").0));
                    }
                }
            }
        });
        Self { address, accepted, _task: task }
    }

    /// Answers every HTTP request with its name and the request's head.
    pub(crate) async fn http(name: &'static str) -> Self {
        Self::start(move |mut stream| async move {
            while let Some((head, body)) = read_message(&mut stream).await {
                let text = format!("{name}\n{head}body: {}\n", body.len());
                let len = text.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{text}");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// An address where nothing listens: the port was free a moment ago.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound")
}

/// Reads a head and a body framed by its length or chunked; `None` at the end of the stream.
pub(crate) async fn read_message(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).expect("text");
    let lower = head.to_lowercase();
    let mut body = Vec::new();
    if lower.contains("transfer-encoding: chunked") {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(stream.read_u8().await.ok()?);
            }
            let size = std::str::from_utf8(&line).expect("text").trim();
            let size = usize::from_str_radix(size, 16).expect("a chunk's size");
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(at) = lower.find("content-length: ") {
        let rest = &lower[at + 16..];
        let len = rest.lines().next().and_then(|line| line.parse().ok()).expect("a length");
        body.resize(len, 0);
        stream.read_exact(&mut body).await.ok()?;
    }
    Some((head, body))
}

pub(crate) fn pool(addresses: &[SocketAddr]) -> Pool {
    pool_with(&Algorithm::RoundRobin, addresses)
}

pub(crate) fn pool_with(algorithm: &Algorithm, addresses: &[SocketAddr]) -> Pool {
    let named = addresses.iter().enumerate().map(|(index, address)| {
        Endpoint::new(format!("s{}", index + 1).parse().expect("a name"), *address)
    });
    Pool::new(algorithm, named.collect()).expect("unique names")
}

pub(crate) fn config() -> ConfigBuilder {
    Config::builder("127.0.0.1:0".parse().expect("an address"))
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) task: Task<Ended>,
}

impl Running {
    pub(crate) fn l4(config: ConfigBuilder, pool: &Pool) -> Self {
        let config = config.build().expect("in range");
        let proxy = l4::Proxy::bind(config, pool.clone()).expect("a free port");
        Self { handle: proxy.handle(), task: proxy.spawn() }
    }

    pub(crate) fn l7(pool: &Pool) -> Self {
        Self::l7_with(l7::Config::builder(config().build().expect("in range")), pool)
    }

    pub(crate) fn l7_with(config: l7::ConfigBuilder, pool: &Pool) -> Self {
        let config = config.build().expect("in range");
        let proxy = l7::Proxy::bind(config, pool.clone()).expect("a free port");
        Self { handle: proxy.handle(), task: proxy.spawn() }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.handle.local_addr()).await.expect("the proxy listens")
    }

    /// Sends raw bytes, ends its side and reads all that comes back.
    pub(crate) async fn talk(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A `GET` on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
        self.talk(request.as_bytes()).await
    }
}
