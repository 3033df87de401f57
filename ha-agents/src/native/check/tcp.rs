//! Whether a TCP port answers.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Failed, LIMIT, MAX_ANSWER, ServiceCheck, answer, contains, quoted};
use crate::agent::Report;

/// Connects to a TCP port; says something, if told to, and looks at the answer (HAProxy's
/// `tcp-check`).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_agents::Outcome;
/// use ha_agents::native::{ServiceCheck, TcpCheck};
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let check = TcpCheck::new(listener.local_addr()?.to_string());
/// assert_eq!(check.check().await.outcome, Outcome::Success);
/// drop(listener);
/// assert_eq!(check.check().await.outcome, Outcome::NotRunning);
/// # Ok::<(), std::io::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct TcpCheck {
    address: String,
    send: Vec<u8>,
    expect: Vec<u8>,
    limit: Duration,
}

impl TcpCheck {
    /// Connects to `address`, such as `127.0.0.1:6379`, `[::1]:80` or `db.example:5432`.
    pub fn new(address: impl Into<String>) -> Self {
        let (send, expect) = (Vec::new(), Vec::new());
        Self { address: address.into(), send, expect, limit: LIMIT }
    }

    /// Sets what is sent, such as `PING\r\n`. Default: nothing.
    #[must_use]
    pub fn send(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.send = bytes.into();
        self
    }

    /// Sets what must be in the first 64 KiB of the answer, such as `+PONG`. Default: nothing.
    #[must_use]
    pub fn expect(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.expect = bytes.into();
        self
    }

    /// Sets how long one check may take. Default: 3 s.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    async fn ask(&self) -> Result<(), Failed> {
        let stream = TcpStream::connect(&self.address).await;
        let mut stream = stream.map_err(|error| Failed::Io("connect to", error))?;
        if !self.send.is_empty() {
            stream.write_all(&self.send).await.map_err(|error| Failed::Io("write to", error))?;
        }
        let mut answer = Vec::new();
        while !contains(&answer, &self.expect) {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await;
            let read = read.map_err(|error| Failed::Io("read from", error))?;
            answer.extend_from_slice(part.get(..read).unwrap_or_default());
            if read == 0 || answer.len() > MAX_ANSWER {
                let (expected, given) = (quoted(&self.expect), quoted(&answer));
                return Err(Failed::Wrong(format!("it answers {given}, without {expected}")));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl ServiceCheck for TcpCheck {
    fn name(&self) -> String {
        format!("tcp {}", self.address)
    }

    async fn check(&self) -> Report {
        answer(&self.name(), self.limit, self.ask()).await
    }
}

impl fmt::Debug for TcpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what is sent: it may have a password in it.
        f.debug_struct("TcpCheck").field("address", &self.address).finish_non_exhaustive()
    }
}
