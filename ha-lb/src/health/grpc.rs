//! A check by the health service of gRPC.

use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use ha_core::config::ConfigError;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::dialog::{Stream, connect};
use super::exchange::{Wire, absolute, body_start, exchange};
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, HealthCheck, Passed, Target};

/// The longest name of a service, in bytes.
const MAX_SERVICE: usize = 1024;

/// Passes if `grpc.health.v1.Health/Check` answers `SERVING` (Envoy's `grpc_health_check`,
/// Kubernetes' `grpc` probe).
///
/// ```
/// use ha_lb::health::grpc::GrpcCheck;
///
/// let server = GrpcCheck::new(); // the server as a whole
/// let one = GrpcCheck::new().with_service("shop.Orders")?;
/// # let _ = (server, one);
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct GrpcCheck {
    service: String,
    host: Option<Authority>,
    port: Option<u16>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl GrpcCheck {
    /// Asks for the server as a whole, over HTTP/2 in the clear.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            service: String::new(),
            host: None,
            port: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets the service that is asked for; up to 1024 bytes. Default: the server as a whole.
    ///
    /// # Errors
    ///
    /// When the name is too long.
    pub fn with_service(mut self, service: &str) -> Result<Self, ConfigError> {
        if service.len() > MAX_SERVICE {
            return Err(ConfigError::new("check.service", service, "up to 1024 bytes"));
        }
        service.clone_into(&mut self.service);
        Ok(self)
    }

    /// Sets the `:authority`. Default: the endpoint's address.
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

    /// Sets the port to ask at. Default: the endpoint's.
    #[must_use]
    pub const fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Speaks over TLS; the check sets the ALPN `h2` itself, and needs the server to agree to it.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    fn request(&self, scheme: &str, target: &Target) -> Result<Request<Full<Bytes>>, Failed> {
        let host = match &self.host {
            Some(host) => host.clone(),
            None => Authority::from_str(&target.address().to_string()).map_err(Failed::because)?,
        };
        let path = Uri::from_static("/grpc.health.v1.Health/Check");
        Request::builder()
            .method(Method::POST)
            .uri(absolute(scheme, host, path)?)
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header(USER_AGENT, "ha-lb")
            .body(Full::new(framed(&health_request(&self.service)).into()))
            .map_err(Failed::because)
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<Passed, Failed> {
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(Failed::because(format_args!("status {}, not gRPC", head.status)));
        }
        let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            return Err(Failed::because("its answer is not gRPC"));
        }
        // An answer without a body has its trailers in the head.
        let (start, trailers) = body_start(body).await?;
        let trailers = trailers.unwrap_or(head.headers);
        let status = trailers.get("grpc-status").and_then(|status| status.to_str().ok());
        match status {
            Some("0") => {}
            Some(status) => return Err(complaint(status, &trailers)),
            None => return Err(Failed::because("its answer has no grpc-status")),
        }
        let Some(status) = unframed(&start).and_then(serving_status) else {
            return Err(Failed::because("its answer is malformed"));
        };
        let of = if self.service.is_empty() { "" } else { " is the status of " };
        let words = format!("{}{of}{}", status_name(status), self.service);
        if status == 1 { Ok(Passed::because(words)) } else { Err(Failed::because(words)) }
    }

    async fn ask(
        &self,
        stream: impl Stream + 'static,
        scheme: &str,
        target: &Target,
    ) -> Result<Passed, Failed> {
        let request = self.request(scheme, target)?;
        exchange(stream, Wire::Http2, request, |response| self.judge(response)).await
    }
}

/// A status that is not OK, in words (grpc/grpc, "Status codes and their use in gRPC").
fn complaint(status: &str, trailers: &HeaderMap) -> Failed {
    let name = match status {
        "1" => "CANCELLED",
        "2" => "UNKNOWN",
        "3" => "INVALID_ARGUMENT",
        "4" => "DEADLINE_EXCEEDED",
        "5" => "NOT_FOUND: it does not know this service",
        "7" => "PERMISSION_DENIED",
        "8" => "RESOURCE_EXHAUSTED",
        "12" => "UNIMPLEMENTED: it has no health service",
        "13" => "INTERNAL",
        "14" => "UNAVAILABLE",
        "16" => "UNAUTHENTICATED",
        _ => "an unusual status",
    };
    let said = trailers.get("grpc-message").and_then(|said| said.to_str().ok());
    let said = said.map(|said| format!(": {said:?}")).unwrap_or_default();
    Failed::because(format_args!("grpc-status {status} ({name}){said}"))
}

const fn status_name(status: u64) -> &'static str {
    match status {
        0 => "UNKNOWN",
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "a status without a name",
    }
}

/// A message of gRPC: not compressed, and its length.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], message].concat()
}

/// The content of exactly one message that is not compressed.
fn unframed(bytes: &[u8]) -> Option<&[u8]> {
    let (flag, rest) = bytes.split_first()?;
    let (length, message) = rest.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (*flag == 0 && usize::try_from(length).ok()? == message.len()).then_some(message)
}

/// `HealthCheckRequest { string service = 1 }` in protocol buffers.
fn health_request(service: &str) -> Vec<u8> {
    if service.is_empty() {
        return Vec::new();
    }
    let mut bytes = vec![0x0a];
    let mut length = service.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap_or_default());
    bytes.extend_from_slice(service.as_bytes());
    bytes
}

/// The field 1 of `HealthCheckResponse { ServingStatus status = 1 }`; 0 if it is left out.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = number(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = number(&mut message)?,
            (0 | 1, _) => return None,
            // Fields that a later version may add.
            (_, 0) => drop(number(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(number(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// A number of up to ten bytes, the lowest seven bits first.
fn number(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[async_trait]
impl HealthCheck for GrpcCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let port = self.port.unwrap_or(target.address().port());
        let target = &target.clone().with_port(port);
        let stream = connect(target).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let stream = tls.clone().with_alpn(["h2"]).secure(stream, target).await?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err(Failed::because("does not agree to HTTP/2 by ALPN"));
            }
            return self.ask(stream, "https", target).await;
        }
        self.ask(stream, "http", target).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_those_of_protocol_buffers() {
        assert_eq!(framed(&health_request("")), [0, 0, 0, 0, 0]);
        assert_eq!(framed(&health_request("a.B")), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = health_request(&"s".repeat(300));
        assert_eq!(long[..3], [0x0a, 0xac, 0x02]);
        for (message, expected) in [
            (&[][..], Some(0)),
            (&[8, 1], Some(1)),
            (&[8, 1, 8, 2], Some(2)), // the last one counts
            (&[0x12, 2, 9, 9, 8, 1], Some(1)),
            (&[0x11, 0, 0, 0, 0, 0, 0, 0, 0, 8, 3], Some(3)),
            (&[0x15, 0, 0, 0, 0, 0x18, 0xff, 0x7f, 8, 1], Some(1)),
            (&[8], None),
            (&[8, 0x80], None),
            (&[0x0a, 1, 1], None),
            (&[0x12, 200, 1], None),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], None),
            (&[0xff; 12], None),
        ] {
            assert_eq!(serving_status(message), expected, "{message:?}");
        }
        for wrong in [&[][..], &[0], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 1], &[1, 0, 0, 0, 0]] {
            assert_eq!(unframed(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_messages_are_judged(bytes: Vec<u8>) {
            let _any = serving_status(&bytes);
            let framed = framed(&bytes);
            prop_assert_eq!(unframed(&framed), Some(bytes.as_slice()));
        }

        #[test]
        fn a_request_reads_as_a_message(service in "[a-z.]{0,400}") {
            let request = health_request(&service);
            let mut rest = request.as_slice();
            if !service.is_empty() {
                prop_assert_eq!(number(&mut rest), Some(0x0a));
                prop_assert_eq!(number(&mut rest), u64::try_from(service.len()).ok());
            }
            prop_assert_eq!(rest, service.as_bytes());
        }
    }
}
