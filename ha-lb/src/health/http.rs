//! A check that an HTTP request is answered as expected.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select};
use ha_core::config::ConfigError;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Failed, HealthCheck, Passed, Target};

/// The most that is read of a body when one is expected to contain something, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Passes if a request is answered with an expected status (HAProxy's `option httpchk`).
///
/// Defaults: `GET`, status 200 to 399 as in HAProxy, the endpoint's address as `Host`. A connection
/// of its own for each check, closed after it; what the endpoint sends is bounded.
///
/// ```
/// use ha_lb::health::http::HttpCheck;
///
/// let check = HttpCheck::new("/health")?.expect_status(200..=200).with_host("shop.example")?;
/// assert!(HttpCheck::new("no slash").is_err());
/// # let _ = check;
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpCheck {
    method: Method,
    target: Uri,
    host: Option<HeaderValue>,
    status: RangeInclusive<u16>,
    contains: Option<String>,
}

impl HttpCheck {
    /// A `GET` of `path`, which may have a query.
    ///
    /// # Errors
    ///
    /// When it does not start with `/` or has characters that a path cannot have.
    pub fn new(path: &str) -> Result<Self, ConfigError> {
        let target = Uri::from_str(path).ok().filter(|_| path.starts_with('/'));
        let target = target.ok_or_else(|| {
            let allowed = "a path that starts with '/', such as /health, without spaces";
            ConfigError::new("check.path", path, allowed)
        })?;
        Ok(Self { method: Method::GET, target, host: None, status: 200..=399, contains: None })
    }

    /// Sets the method.
    ///
    /// # Errors
    ///
    /// When it is not a word of letters, or `CONNECT`.
    pub fn with_method(mut self, method: &str) -> Result<Self, ConfigError> {
        let parsed = Method::from_str(method).ok().filter(|method| *method != Method::CONNECT);
        self.method = parsed.ok_or_else(|| {
            ConfigError::new("check.method", method, "an HTTP method, such as GET, HEAD or OPTIONS")
        })?;
        Ok(self)
    }

    /// Sets the `Host` header.
    ///
    /// # Errors
    ///
    /// When a header cannot contain it.
    pub fn with_host(mut self, host: &str) -> Result<Self, ConfigError> {
        let value = HeaderValue::from_str(host);
        let value = value.map_err(|_| ConfigError::new("check.host", host, "a host name"))?;
        self.host = Some(value);
        Ok(self)
    }

    /// Sets which status codes pass. Default: 200 to 399.
    #[must_use]
    pub const fn expect_status(mut self, status: RangeInclusive<u16>) -> Self {
        self.status = status;
        self
    }

    /// Sets a text that the first 64 KiB of the body must contain. Default: the body is not read.
    #[must_use]
    pub fn expect_body(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }

    fn request(&self, target: SocketAddr) -> Result<Request<Empty<Bytes>>, Failed> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => HeaderValue::from_str(&target.to_string()).map_err(Failed::because)?,
        };
        Request::builder()
            .method(self.method.clone())
            .uri(self.target.clone())
            .header(HOST, host)
            .header(USER_AGENT, "ha-lb")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(Failed::because)
    }

    async fn judge(&self, response: Response<hyper::body::Incoming>) -> Result<Passed, Failed> {
        let status = response.status();
        if !self.status.contains(&status.as_u16()) {
            let (low, high) = self.status.clone().into_inner();
            return Err(Failed::because(format_args!("status {status}, not {low} to {high}")));
        }
        if let Some(text) = &self.contains {
            let start = body_start(response).await?;
            let found = start.windows(text.len().max(1)).any(|part| part == text.as_bytes());
            if !found && !text.is_empty() {
                return Err(Failed::because(format_args!("status {status}, no {text:?} in body")));
            }
        }
        Ok(Passed::because(format_args!("status {status}")))
    }
}

async fn body_start(response: Response<hyper::body::Incoming>) -> Result<Vec<u8>, Failed> {
    let mut body = response.into_body();
    let mut start = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failed::because(format_args!("in the body: {error}")))?;
        if let Some(data) = frame.data_ref() {
            let room = MAX_BODY - start.len();
            start.extend(data.iter().take(room));
        }
        if start.len() == MAX_BODY {
            break;
        }
    }
    Ok(start)
}

#[async_trait]
impl HealthCheck for HttpCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let stream = TcpStream::connect(target.address())
            .await
            .map_err(|error| Failed::because(format_args!("cannot connect: {error}")))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BODY)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Failed::because)?;
        let request = self.request(target.address())?;
        let exchange = async {
            let response = sender.send_request(request).await;
            let response =
                response.map_err(|error| Failed::because(format_args!("no answer: {error}")))?;
            self.judge(response).await
        };
        match select(pin!(exchange), pin!(connection)).await {
            Either::Left((result, _)) => result,
            // The connection has ended: what it brought is there to be judged.
            Either::Right((_, exchange)) => exchange.await,
        }
    }
}
