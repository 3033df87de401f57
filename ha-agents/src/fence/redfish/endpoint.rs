//! Where a board is, and how it is known to be that board.

use std::fmt;
use std::io;
use std::sync::Arc;

use ha_core::config::ConfigError;
use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// A connection, secured or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Whose certificates are taken.
#[derive(Debug, Clone)]
pub(super) enum Trust {
    /// Those of the system's authorities.
    System,
    /// Those that one of these has issued, in PEM form.
    Authorities(Vec<u8>),
    /// Any, and connections without TLS.
    Anybody,
}

/// A board's address, taken apart from its URL.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// As the header Host has it.
    pub(super) authority: String,
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("authority", &self.authority)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// The endpoint of a URL such as `https://192.0.2.101`; paths are the standard's.
    pub(super) fn new(url: &str, trust: &Trust) -> Result<Self, ConfigError> {
        let allowed = "https://HOST or https://HOST:PORT; http:// only together with insecure";
        let wrong = || ConfigError::new("url", hidden(url), allowed);
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !is_bare || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let (is_secure, usual) = match scheme {
            "https" => (true, 443),
            "http" if matches!(trust, Trust::Anybody) => (false, 80),
            _ => return Err(wrong()),
        };
        let tls = if is_secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| wrong())?;
            Some((TlsConnector::from(Arc::new(tls(trust)?)), name))
        } else {
            None
        };
        let port = authority.port_u16().unwrap_or(usual);
        Ok(Self { authority: authority.to_string(), host, port, tls })
    }

    /// Connects, and secures the connection.
    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some((connector, name)) => Ok(Box::new(connector.connect(name.clone(), stream).await?)),
            None => Ok(Box::new(stream)),
        }
    }
}

/// A URL without what stands before its host, which may be a password.
fn hidden(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}

fn tls(trust: &Trust) -> Result<ClientConfig, ConfigError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    #[expect(clippy::expect_used, reason = "ring has cipher suites for TLS 1.2 and 1.3")]
    let builder = builder.with_safe_default_protocol_versions().expect("the default versions");
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            // Those that cannot be read are missed when a board shows one of theirs.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::Authorities(pem) => {
            let allowed = "one or more certificates in PEM form";
            let refused =
                |error: &dyn fmt::Display| ConfigError::new("authorities", error, allowed);
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| refused(&error))?;
                roots.add(certificate).map_err(|error| refused(&error))?;
            }
            if roots.is_empty() {
                return Err(refused(&"no certificate"));
            }
        }
        Trust::Anybody => {
            let anybody = Arc::new(AnyCertificate(provider));
            let builder = builder.dangerous().with_custom_certificate_verifier(anybody);
            return Ok(builder.with_no_client_auth());
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Takes any certificate, but makes sure that the board has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
