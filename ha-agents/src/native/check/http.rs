//! Whether a web server answers as it should.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::config::{ConfigError, Problems};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore};

use super::{Failed, LIMIT, MAX_ANSWER, ServiceCheck, answer, contains, quoted};
use crate::agent::Report;

/// What a URL must be.
const URL: &str = "a URL, such as http://127.0.0.1/ or https://www.example/health, without a user";

/// Asks a web server by HTTP/1.1, with or without TLS, each time on a connection of its own
/// (`ocf:heartbeat:apache`'s `statusurl`, HAProxy's `option httpchk`).
///
/// It is passed with a status from 200 to 399, and with the words of
/// [`contains`](Self::contains) in the answer. Redirects are not followed. With `https` the
/// server's certificate must be of an authority that this computer trusts, or of
/// [`authority`](Self::authority).
///
/// ```
/// use ha_agents::native::{Checked, HttpCheck, Process};
///
/// let check = HttpCheck::new("http://127.0.0.1:8080/health")?.contains("ok").status(200..=200);
/// let web = Checked::new(Process::new("/usr/sbin/nginx").arg("-g").arg("daemon off;"), check);
/// assert!(HttpCheck::new("ftp://example/").is_err());
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct HttpCheck {
    uri: Uri,
    host: String,
    port: u16,
    secure: bool,
    method: Method,
    headers: Vec<(HeaderName, HeaderValue)>,
    status: RangeInclusive<u16>,
    contains: Vec<u8>,
    authority: Option<PathBuf>,
    limit: Duration,
    tls: Arc<OnceCell<Arc<ClientConfig>>>,
}

impl HttpCheck {
    /// Asks for `url`.
    ///
    /// # Errors
    ///
    /// It is no URL of HTTP or HTTPS, or has a user in it, whose password everybody would see.
    pub fn new(url: &str) -> Result<Self, ConfigError> {
        let parsed: Option<Uri> = url.parse().ok();
        let parts = parsed.and_then(|uri| {
            let secure = match uri.scheme()? {
                scheme if *scheme == Scheme::HTTP => false,
                scheme if *scheme == Scheme::HTTPS => true,
                _ => return None,
            };
            let authority = uri.authority()?;
            let host = authority.host().trim_matches(['[', ']']).to_owned();
            let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
            (!authority.as_str().contains('@') && !host.is_empty())
                .then_some((uri, host, port, secure))
        });
        let Some((uri, host, port, secure)) = parts else {
            // A password in it is not to be seen.
            let shown = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
            return Err(ConfigError::new("url", format!("{shown:?}"), URL));
        };
        Ok(Self {
            uri,
            host,
            port,
            secure,
            method: Method::GET,
            headers: Vec::new(),
            status: 200..=399,
            contains: Vec::new(),
            authority: None,
            limit: LIMIT,
            tls: Arc::default(),
        })
    }

    /// Sets the method, such as `HEAD`. Default: `GET`.
    ///
    /// # Errors
    ///
    /// It is no word that can be a method.
    pub fn method(mut self, method: &str) -> Result<Self, ConfigError> {
        self.method = method.parse().map_err(|_| {
            ConfigError::new("method", format!("{method:?}"), "a method, such as GET or HEAD")
        })?;
        Ok(self)
    }

    /// Adds a header, such as `Host` or `Authorization`.
    ///
    /// # Errors
    ///
    /// The name or the value cannot be those of a header.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, ConfigError> {
        let mut problems = Problems::new();
        let header = (name.parse::<HeaderName>(), value.parse::<HeaderValue>());
        if header.0.is_err() {
            problems.add("header", format!("{name:?}"), "the name of a header, such as Host");
        }
        if header.1.is_err() {
            problems.add(format!("header {name}"), "(its value)", "text without line ends");
        }
        if let (Ok(name), Ok(value)) = header {
            self.headers.push((name, value));
        }
        problems.into_result(self)
    }

    /// Sets with which status it is passed. Default: 200 to 399.
    #[must_use]
    pub const fn status(mut self, status: RangeInclusive<u16>) -> Self {
        self.status = status;
        self
    }

    /// Sets what must be in the first 64 KiB of the answer's body. Default: nothing.
    #[must_use]
    pub fn contains(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.contains = text.into();
        self
    }

    /// Sets a file with the certificates, in PEM, of the authorities that are trusted instead of
    /// this computer's. It is read once.
    #[must_use]
    pub fn authority(mut self, file: impl Into<PathBuf>) -> Self {
        self.authority = Some(file.into());
        self.tls = Arc::default();
        self
    }

    /// Sets how long one check may take. Default: 3 s.
    #[must_use]
    pub const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    async fn ask(&self) -> Result<(), Failed> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| Failed::Io("connect to", error))?;
        if !self.secure {
            return self.talk(stream).await;
        }
        let tls = self.tls.get_or_try_init(|| self.load()).await?;
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|error| Failed::Wrong(format!("its name: {error}")))?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        self.talk(stream.map_err(|error| Failed::Io("talk TLS with", error))?).await
    }

    /// Asks over `stream`, and drives the connection itself: nothing is left when it is dropped.
    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Failed> {
        let failed = |error: hyper::Error| Failed::Wrong(format!("it does not talk HTTP: {error}"));
        let opened = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = opened.map_err(failed)?;
        let exchange = async {
            let response = sender.send_request(self.request()?).await.map_err(failed)?;
            self.judge(response).await
        };
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! { biased;
            judged = &mut exchange => judged,
            ended = &mut connection => {
                ended.map_err(failed)?;
                // What was received before the end is still to be judged.
                exchange.await
            }
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Failed> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(self.method.clone()).uri(path);
        if let Some(headers) = request.headers_mut() {
            let host = self.uri.authority().and_then(|host| host.as_str().parse().ok());
            headers.extend(host.map(|host: HeaderValue| (HOST, host)));
            headers.insert(USER_AGENT, HeaderValue::from_static("ha-agents"));
            for (name, value) in &self.headers {
                headers.insert(name, value.clone());
            }
        }
        let request = request.body(Empty::new());
        request.map_err(|error| Failed::Wrong(format!("it cannot be asked: {error}")))
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<(), Failed> {
        let status = response.status();
        if !self.status.contains(&status.as_u16()) {
            return Err(Failed::Wrong(format!("it answers {status}")));
        }
        let (mut body, mut text) = (response.into_body(), Vec::new());
        while !contains(&text, &self.contains) {
            let frame = match body.frame().await {
                Some(Ok(frame)) if text.len() <= MAX_ANSWER => frame,
                Some(Err(error)) => {
                    return Err(Failed::Wrong(format!("its answer broke off: {error}")));
                }
                Some(Ok(_)) | None => {
                    let (expected, given) = (quoted(&self.contains), quoted(&text));
                    return Err(Failed::Wrong(format!("it answers {given}, without {expected}")));
                }
            };
            text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        Ok(())
    }

    async fn load(&self) -> Result<Arc<ClientConfig>, Failed> {
        let file = self.authority.clone();
        let load = tokio::task::spawn_blocking(move || roots(file)).await;
        let roots = load.map_err(io::Error::from).flatten();
        let roots =
            roots.map_err(|error| Failed::Io("find the authorities to trust for", error))?;
        let config = config(roots);
        Ok(Arc::new(config.map_err(|error| Failed::Wrong(format!("it has no TLS: {error}")))?))
    }
}

/// TLS by ring, whatever the program has besides: with two providers rustls does not choose.
fn config(roots: RootCertStore) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates in `file`, or those that this computer trusts.
fn roots(file: Option<PathBuf>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let found: Vec<CertificateDer<'static>> = match file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => {
            let read: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(&std::fs::read(&file)?).collect();
            read.map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?
        }
    };
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no certificate of an authority"));
    }
    Ok(roots)
}

#[async_trait]
impl ServiceCheck for HttpCheck {
    fn name(&self) -> String {
        format!("{} {}", self.method, self.uri)
    }

    async fn check(&self) -> Report {
        answer(&self.name(), self.limit, self.ask()).await
    }
}

impl fmt::Debug for HttpCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the headers: they may have secrets.
        let shown = (&self.method, &self.uri, &self.status);
        f.debug_tuple("HttpCheck").field(&shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_own_provider_of_tls_does_not_matter() {
        let mut useless = ring::default_provider();
        useless.cipher_suites.clear();
        useless.install_default().expect("nothing here asks for a default");
        let config = config(RootCertStore::empty()).expect("it has its own");
        assert!(!config.crypto_provider().cipher_suites.is_empty());
    }
}
