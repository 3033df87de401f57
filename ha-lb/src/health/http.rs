//! A check that an HTTP request is answered as expected.

use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use ha_core::config::ConfigError;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, Uri};

use super::dialog::{Stream, connect};
use super::exchange::{Wire, body_start, exchange};
use super::secret::Secret;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, HealthCheck, Passed, Target};

pub use super::statuses::Statuses;

/// Which HTTP a check speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: over TLS agreed on by ALPN, otherwise with prior knowledge.
    #[cfg(feature = "http2")]
    Http2,
    /// What the server prefers, agreed on by ALPN; without TLS HTTP/1.1.
    #[cfg(all(feature = "http2", feature = "tls"))]
    Negotiated,
}

/// Passes if a request is answered with an expected status (HAProxy's `option httpchk`).
///
/// Defaults: `GET`, HTTP/1.1 in the clear, status 200 to 399 as in HAProxy, the endpoint's address
/// as `Host`. A connection of its own for each check, closed after it; what the endpoint sends is
/// bounded, and redirects are not followed.
///
/// ```
/// use ha_lb::health::http::{HttpCheck, Statuses};
///
/// let check = HttpCheck::new("/health")?
///     .with_host("shop.example")?
///     .with_header("Authorization", "Bearer secret")?
///     .expect_status("200-299,304".parse::<Statuses>()?)
///     .expect_header_value("content-type", "text/plain")?
///     .expect_body("ready")
///     .reject_body("degraded");
/// assert!(HttpCheck::new("no slash").is_err());
/// assert!(!format!("{check:?}").contains("secret"));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HttpCheck {
    method: Method,
    target: Uri,
    version: HttpVersion,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    port: Option<u16>,
    host: Option<Authority>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Secret<Bytes>,
    statuses: Statuses,
    expected_headers: Vec<(HeaderName, Option<HeaderValue>)>,
    contained: Vec<String>,
    rejected: Vec<String>,
}

fn header_name(name: &str) -> Result<HeaderName, ConfigError> {
    let parsed = HeaderName::from_str(name);
    parsed.map_err(|_| ConfigError::new("check.header", name, "the name of an HTTP header"))
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
        Ok(Self {
            method: Method::GET,
            target,
            version: HttpVersion::Http1,
            #[cfg(feature = "tls")]
            tls: None,
            port: None,
            host: None,
            headers: Vec::new(),
            body: Secret::new(Bytes::new()),
            statuses: (200..=399).into(),
            expected_headers: Vec::new(),
            contained: Vec::new(),
            rejected: Vec::new(),
        })
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

    /// Sets the version of HTTP. Default: HTTP/1.1.
    #[must_use]
    pub const fn with_version(mut self, version: HttpVersion) -> Self {
        self.version = version;
        self
    }

    /// Speaks HTTP over TLS (HAProxy's `check-ssl`); the check sets the ALPN itself.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the port to ask at (HAProxy's `port`). Default: the endpoint's.
    #[must_use]
    pub const fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sets the `Host` header, or `:authority` in HTTP/2. Default: the endpoint's address.
    ///
    /// # Errors
    ///
    /// When it is not a host name, which a port may follow.
    pub fn with_host(mut self, host: &str) -> Result<Self, ConfigError> {
        let parsed = Authority::from_str(host).ok().filter(|_| !host.contains('@'));
        let allowed = "a host name, or one with a port";
        self.host = Some(parsed.ok_or_else(|| ConfigError::new("check.host", host, allowed))?);
        Ok(self)
    }

    /// Adds a header to the request (HAProxy's `http-check send hdr`); its value is not logged.
    ///
    /// # Errors
    ///
    /// When it is not a header, or one that the check sets itself.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let parsed = header_name(name)?;
        if [CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, UPGRADE].contains(&parsed) {
            let allowed = "a header that the check does not set itself; with_host sets the host";
            return Err(ConfigError::new("check.header", name, allowed));
        }
        let allowed = "a value of visible characters";
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| ConfigError::new(format!("check.header.{name}"), "***", allowed))?;
        value.set_sensitive(true);
        self.headers.push((parsed, value));
        Ok(self)
    }

    /// Sets the body of the request (HAProxy's `http-check send body`). Default: none.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Secret::new(body.into());
        self
    }

    /// Sets which status codes pass: a code, a range, or [`Statuses`]. Default: 200 to 399.
    #[must_use]
    pub fn expect_status(mut self, statuses: impl Into<Statuses>) -> Self {
        self.statuses = statuses.into();
        self
    }

    /// Adds a header that the response must have.
    ///
    /// # Errors
    ///
    /// When it is not the name of a header.
    pub fn expect_header(mut self, name: &str) -> Result<Self, ConfigError> {
        self.expected_headers.push((header_name(name)?, None));
        Ok(self)
    }

    /// Adds a header that the response must have with exactly this value.
    ///
    /// # Errors
    ///
    /// When it is not a header.
    pub fn expect_header_value(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let parsed = HeaderValue::from_str(value).map_err(|_| {
            ConfigError::new(format!("check.header.{name}"), value, "a value of visible characters")
        })?;
        self.expected_headers.push((header_name(name)?, Some(parsed)));
        Ok(self)
    }

    /// Adds a text that the first 64 KiB of the body must contain (HAProxy's `http-check expect
    /// string`). Default: the body is not read.
    #[must_use]
    pub fn expect_body(mut self, text: impl Into<String>) -> Self {
        self.contained.push(text.into());
        self
    }

    /// Adds a text that the first 64 KiB of the body must not contain (HAProxy's `http-check
    /// expect ! string`). Default: the body is not read.
    #[must_use]
    pub fn reject_body(mut self, text: impl Into<String>) -> Self {
        self.rejected.push(text.into());
        self
    }

    fn request(&self, target: &Target, wire: Wire) -> Result<Request<Full<Bytes>>, Failed> {
        let address = target.address().to_string();
        let host = match &self.host {
            Some(host) => host.clone(),
            None => Authority::from_str(&address).map_err(Failed::because)?,
        };
        let mut request = Request::builder().method(self.method.clone());
        request = match wire {
            Wire::Http1 => {
                let host = HeaderValue::from_str(host.as_str()).map_err(Failed::because)?;
                request.uri(self.target.clone()).header(HOST, host).header(CONNECTION, "close")
            }
            #[cfg(feature = "http2")]
            Wire::Http2 => request.uri(super::exchange::absolute(
                if self.is_tls() { "https" } else { "http" },
                host,
                self.target.clone(),
            )?),
        };
        if !self.headers.iter().any(|(name, _)| *name == USER_AGENT) {
            request = request.header(USER_AGENT, "ha-lb");
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(self.body.reveal().clone())).map_err(Failed::because)
    }

    #[cfg(feature = "http2")]
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "as with TLS"))]
    const fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<Passed, Failed> {
        let status = response.status();
        if !self.statuses.contains(status.as_u16()) {
            return Err(Failed::because(format_args!("status {status}, not {}", self.statuses)));
        }
        for (name, expected) in &self.expected_headers {
            let mut values = response.headers().get_all(name).iter();
            let found = match expected {
                None => values.next().is_some(),
                Some(expected) => values.any(|value| value == expected),
            };
            if !found {
                let sent = response.headers().get(name);
                let sent = sent.map_or_else(|| "missing".to_owned(), |value| format!("{value:?}"));
                let not = expected.as_ref().map(|value| format!(", not {value:?}"));
                let not = not.unwrap_or_default();
                let reason = format_args!("status {status}, header {name} is {sent}{not}");
                return Err(Failed::because(reason));
            }
        }
        if !self.contained.is_empty() || !self.rejected.is_empty() {
            let (start, _) = body_start(response.into_body()).await?;
            let has = |text: &String| {
                text.is_empty() || start.windows(text.len()).any(|part| part == text.as_bytes())
            };
            if let Some(text) = self.contained.iter().find(|text| !has(text)) {
                return Err(Failed::because(format_args!("status {status}, no {text:?} in body")));
            }
            if let Some(text) = self.rejected.iter().find(|text| has(text)) {
                return Err(Failed::because(format_args!("status {status}, {text:?} in body")));
            }
        }
        Ok(Passed::because(format_args!("status {status}")))
    }

    async fn ask(
        &self,
        stream: impl Stream + 'static,
        wire: Wire,
        target: &Target,
    ) -> Result<Passed, Failed> {
        let request = self.request(target, wire)?;
        exchange(stream, wire, request, |response| self.judge(response)).await
    }
}

#[async_trait]
impl HealthCheck for HttpCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let port = self.port.unwrap_or(target.address().port());
        let target = &target.clone().with_port(port);
        let stream = connect(target).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let (offered, wire) = secured::offer(self.version);
            let stream = tls.clone().with_alpn(offered).secure(stream, target).await?;
            let wire = secured::agreed(&stream, wire)?;
            return self.ask(stream, wire, target).await;
        }
        let wire = match self.version {
            HttpVersion::Http1 => Wire::Http1,
            #[cfg(feature = "http2")]
            HttpVersion::Http2 => Wire::Http2,
            #[cfg(all(feature = "http2", feature = "tls"))]
            HttpVersion::Negotiated => Wire::Http1,
        };
        self.ask(stream, wire, target).await
    }
}

/// Which HTTP is spoken over TLS.
#[cfg(feature = "tls")]
mod secured {
    use tokio::net::TcpStream;
    use tokio_rustls::client::TlsStream;

    use super::super::Failed;
    use super::{HttpVersion, Wire};

    /// What is offered, and what is spoken if it must be one thing.
    pub(super) const fn offer(version: HttpVersion) -> (&'static [&'static [u8]], Option<Wire>) {
        match version {
            HttpVersion::Http1 => (&[b"http/1.1"], Some(Wire::Http1)),
            #[cfg(feature = "http2")]
            HttpVersion::Http2 => (&[b"h2"], Some(Wire::Http2)),
            #[cfg(feature = "http2")]
            HttpVersion::Negotiated => (&[b"h2", b"http/1.1"], None),
        }
    }

    #[cfg_attr(not(feature = "http2"), expect(clippy::unnecessary_wraps, reason = "as with it"))]
    pub(super) fn agreed(
        stream: &TlsStream<TcpStream>,
        wanted: Option<Wire>,
    ) -> Result<Wire, Failed> {
        let protocol = stream.get_ref().1.alpn_protocol();
        match (wanted, protocol) {
            // Servers without ALPN speak HTTP/1.1.
            (Some(Wire::Http1), _) => Ok(Wire::Http1),
            #[cfg(feature = "http2")]
            (_, Some(b"h2")) => Ok(Wire::Http2),
            #[cfg(feature = "http2")]
            (Some(Wire::Http2), _) => Err(Failed::because("does not agree to HTTP/2 by ALPN")),
            (None, _) => Ok(Wire::Http1),
        }
    }
}
