//! An address that a cloud moves: the floating IPs of the Hetzner Cloud API, as an example of a
//! backend of one's own.
//!
//! The address stands on the interface of every server for good; what moves is where the cloud
//! sends its packets. The API is asked who has it, and told only if that is another server; a call
//! that fails is repeated by the router, and every ten seconds it is asked again, so that a call of
//! a loser that comes late does not stay.

use std::fmt;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::driver::pause;
use ha_vip::VirtualAddress;
use ha_vip::backend::{AddressBackend, BackendError};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The API is asked every third of it.
const LEASE: Duration = Duration::from_secs(30);
/// Answers are small.
const MAX_ANSWER: usize = 1 << 20;

/// A floating IP, and the server that it is to point to.
pub struct FloatingIp {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    api: String,
    token: String,
    id: u64,
    server: u64,
    address: VirtualAddress,
}

/// The floating IP in an answer.
#[derive(Deserialize)]
struct Answer {
    floating_ip: Placed,
}

#[derive(Deserialize)]
struct Placed {
    server: Option<u64>,
}

impl FloatingIp {
    /// The floating IP number `id` with this address, to point to `server`. `api` is the URL that
    /// the API's paths begin with, such as `https://api.hetzner.cloud/v1`.
    ///
    /// # Errors
    ///
    /// The system has no certificates to know the API by.
    pub fn new(
        api: &str,
        token: String,
        id: u64,
        server: u64,
        address: VirtualAddress,
    ) -> io::Result<Self> {
        // Plain HTTP is for a proxy on this host, and for tests.
        let connector = HttpsConnectorBuilder::new().with_native_roots()?.https_or_http();
        let client = Client::builder(TokioExecutor::new()).build(connector.enable_http1().build());
        let api = api.trim_end_matches('/').to_owned();
        Ok(Self { client, api, token, id, server, address })
    }

    /// Whether the cloud sends the address's packets to this server.
    async fn is_here(&self) -> Result<bool, BackendError> {
        let body = self.call(Method::GET, "", Bytes::new()).await?;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|error| self.refused(error.into()))?;
        Ok(answer.floating_ip.server == Some(self.server))
    }

    async fn call(&self, method: Method, end: &str, body: Bytes) -> Result<Bytes, BackendError> {
        let uri: Uri = format!("{}/floating_ips/{}{end}", self.api, self.id)
            .parse()
            .map_err(|error| self.refused(io::Error::other(error)))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.refused(io::Error::other(error)))?;
        let answered = async {
            let answer = self.client.request(request).await.map_err(io::Error::other)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect();
            let body = body.await.map_err(io::Error::other)?.to_bytes();
            if status.is_success() {
                return Ok(body);
            }
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            Err(io::Error::other(format!("{status}: {text}")))
        };
        let answered = tokio::select! { biased;
            answered = answered => answered,
            _timer = pause(PATIENCE) => Err(io::ErrorKind::TimedOut.into()),
        };
        answered.map_err(|source| self.refused(source))
    }

    fn refused(&self, source: io::Error) -> BackendError {
        let interface = format!("floating IP {}", self.id);
        BackendError::Refused { address: self.address, interface, source }
    }
}

impl fmt::Debug for FloatingIp {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FloatingIp")
            .field("api", &self.api)
            .field("id", &self.id)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl AddressBackend for FloatingIp {
    async fn add(&self, _address: VirtualAddress) -> Result<(), BackendError> {
        if self.is_here().await? {
            return Ok(());
        }
        let body = serde_json::json!({ "server": self.server }).to_string();
        self.call(Method::POST, "/actions/assign", body.into()).await.map(drop)
    }

    /// Leaves it where it is: its successor takes it, and until then somebody serves.
    async fn remove(&self, _address: VirtualAddress) -> Result<(), BackendError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<VirtualAddress>, BackendError> {
        Ok(if self.is_here().await? { vec![self.address] } else { Vec::new() })
    }

    fn lease(&self) -> Option<Duration> {
        Some(LEASE)
    }
}
