//! TLS in checks, and a check that a TLS handshake succeeds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::config::ConfigError;
use ha_core::time::{BootClock, Clock, WallTime};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, WantsClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore,
    SignatureScheme,
};

use super::certificate::not_after;
use super::dialog::{Stream, connect};
use super::{Failed, HealthCheck, Passed, Target};

const DAY: Duration = Duration::from_hours(24);

/// How checks speak TLS: whom they trust, whom they ask for, what they offer.
///
/// TLS 1.2 and 1.3 by rustls. Every check makes a full handshake: nothing is resumed.
///
/// ```
/// use ha_lb::health::tls::Tls;
///
/// let trusting_all = Tls::without_verification().with_server_name("shop.example")?;
/// let error = Tls::trusting("no certificate in it").unwrap_err();
/// assert!(error.to_string().starts_with("tls.roots: "));
/// # let _ = trusting_all;
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    name: Option<ServerName<'static>>,
    verifies: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map(ServerName::to_str);
        f.debug_struct("Tls")
            .field("server_name", &name)
            .field("verifies", &self.verifies)
            .finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn refused(path: &str, value: impl fmt::Display, allowed: &str) -> ConfigError {
    ConfigError::new(path, value, allowed)
}

impl Tls {
    /// Trusts servers whose certificate was issued by one of the roots in `pem` (HAProxy's
    /// `ca-file` with `verify required`).
    ///
    /// The certificate must name the server: see [`with_server_name`](Self::with_server_name).
    ///
    /// # Errors
    ///
    /// When there is no certificate in `pem`, or one that cannot be read.
    pub fn trusting(pem: impl AsRef<[u8]>) -> Result<Self, ConfigError> {
        let allowed = "one or more certificates in PEM form";
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_ref()) {
            let added = certificate.map_err(|error| refused("tls.roots", error, allowed))?;
            roots.add(added).map_err(|error| refused("tls.roots", error, allowed))?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build().map_err(|error| refused("tls.roots", error, allowed))?;
        Ok(Self::new(verifier, true))
    }

    /// Takes any certificate (HAProxy's `verify none`): it shows that the server can do TLS, not
    /// who it is.
    #[must_use]
    pub fn without_verification() -> Self {
        Self::new(Arc::new(AnyCertificate(provider())), false)
    }

    fn new(judge: Arc<dyn ServerCertVerifier>, verifies: bool) -> Self {
        let config = with_verifier(Arc::clone(&judge)).with_no_client_auth();
        Self { config: settled(config), verifier: judge, name: None, verifies }
    }

    /// Sets the name that is asked for (SNI) and must be in the certificate (HAProxy's
    /// `check-sni`).
    ///
    /// Default: none is asked for, and the certificate must have the endpoint's IP address.
    ///
    /// # Errors
    ///
    /// When it is neither a DNS name nor an IP address.
    pub fn with_server_name(mut self, name: &str) -> Result<Self, ConfigError> {
        let parsed = ServerName::try_from(name.to_owned());
        let allowed = "a DNS name or an IP address";
        self.name = Some(parsed.map_err(|_| refused("tls.server_name", name, allowed))?);
        Ok(self)
    }

    /// Sets the certificate, with its chain, and the key that are shown to servers that ask for
    /// one (HAProxy's `crt`), both in PEM form.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, or they do not belong together.
    pub fn with_client_certificate(
        mut self,
        chain: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, ConfigError> {
        let allowed = "a certificate and its chain in PEM form";
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(chain.as_ref()).collect();
        let certificates =
            certificates.map_err(|error| refused("tls.client_certificate", error, allowed))?;
        let allowed = "the private key of the client certificate in PEM form";
        let key = PrivateKeyDer::from_pem_slice(key.as_ref())
            .map_err(|error| refused("tls.client_key", error, allowed))?;
        let mut config = with_verifier(Arc::clone(&self.verifier))
            .with_client_auth_cert(certificates, key)
            .map_err(|error| refused("tls.client_key", error, allowed))?;
        config.alpn_protocols.clone_from(&self.config.alpn_protocols);
        self.config = settled(config);
        Ok(self)
    }

    /// Sets the protocols that are offered (HAProxy's `check-alpn`), such as `h2`.
    ///
    /// Default: none; HTTP and gRPC checks set what they speak.
    #[must_use]
    pub fn with_alpn<P: AsRef<[u8]>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        let protocols = protocols.into_iter().map(|name| name.as_ref().to_vec()).collect();
        Arc::make_mut(&mut self.config).alpn_protocols = protocols;
        self
    }

    /// Whether certificates are verified.
    #[must_use]
    pub const fn verifies(&self) -> bool {
        self.verifies
    }

    /// Secures a connection to the target.
    pub(super) async fn secure<S: Stream>(
        &self,
        stream: S,
        target: &Target,
    ) -> Result<TlsStream<S>, Failed> {
        let address = || ServerName::from(target.address().ip());
        let name = self.name.clone().unwrap_or_else(address);
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| Failed::because(format_args!("no TLS: {error}")))
    }
}

#[expect(clippy::expect_used, reason = "ring has cipher suites for TLS 1.2 and 1.3")]
fn with_verifier(
    verifier: Arc<dyn ServerCertVerifier>,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
}

/// Nothing is kept from one check for the next.
fn settled(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Takes any certificate, but makes sure that the server has its key.
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

/// Passes if a TLS handshake succeeds (HAProxy's `option ssl-hello-chk`, which only looks whether
/// an SSL 3.0 hello is answered).
///
/// ```
/// use std::time::Duration;
/// use ha_lb::health::tls::{Tls, TlsCheck};
///
/// # let roots = include_str!("../../testdata/health/root.pem");
/// let tls = Tls::trusting(roots)?.with_server_name("shop.example")?.with_alpn(["h2"]);
/// let check = TlsCheck::new(tls)
///     .expect_alpn("h2")
///     .warn_before_expiry(Duration::from_hours(21 * 24))
///     .expect_validity(Duration::from_hours(24));
/// # let _ = check;
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct TlsCheck {
    tls: Tls,
    alpn: Option<Vec<u8>>,
    warn_before: Duration,
    fail_before: Option<Duration>,
}

impl TlsCheck {
    /// Passes if a handshake as `tls` says succeeds.
    #[must_use]
    pub const fn new(tls: Tls) -> Self {
        Self { tls, alpn: None, warn_before: Duration::ZERO, fail_before: None }
    }

    /// Sets the protocol that must be agreed on; offer it by [`Tls::with_alpn`]. Default: any.
    #[must_use]
    pub fn expect_alpn(mut self, protocol: impl AsRef<[u8]>) -> Self {
        self.alpn = Some(protocol.as_ref().to_vec());
        self
    }

    /// Sets how long the certificate must still be valid. Default: the check does not ask, but
    /// [`Tls::trusting`] refuses certificates that have ended.
    ///
    /// All servers that share a certificate then fail at the same time: prefer
    /// [`warn_before_expiry`](Self::warn_before_expiry) for weeks, and this for hours.
    #[must_use]
    pub const fn expect_validity(mut self, validity: Duration) -> Self {
        self.fail_before = Some(validity);
        self
    }

    /// Sets how long before the certificate's end the reason of a passed check starts with
    /// `warning`. Default: never.
    #[must_use]
    pub const fn warn_before_expiry(mut self, left: Duration) -> Self {
        self.warn_before = left;
        self
    }

    fn judge(&self, seen: &Seen<'_>, now: WallTime) -> Result<Passed, Failed> {
        let agreed = seen.alpn.map(String::from_utf8_lossy);
        if let Some(expected) = self.alpn.as_deref().filter(|alpn| seen.alpn != Some(alpn)) {
            let expected = String::from_utf8_lossy(expected);
            let agreed = agreed.as_deref().unwrap_or("none");
            return Err(Failed::because(format_args!("ALPN is {agreed}, not {expected}")));
        }
        let agreed = agreed.map_or_else(String::new, |agreed| format!(", ALPN {agreed}"));
        let unverified = if self.tls.verifies { "" } else { ", certificate not verified" };
        let words = format!("TLS {}{agreed}{unverified}", seen.version);
        let Some(end) = seen.certificate.and_then(not_after) else {
            let unreadable = "cannot read when the certificate ends";
            return match self.fail_before {
                Some(_) => Err(Failed::because(unreadable)),
                None => Ok(Passed::because(format_args!("{words}, {unreadable}"))),
            };
        };
        let micros = end.as_micros().saturating_sub(now.as_micros());
        let left = u64::try_from(micros).map_or(Duration::ZERO, Duration::from_micros);
        let expiry = if left.is_zero() {
            format!("the certificate ended at {end}")
        } else {
            format!("the certificate ends in {}", in_words(left))
        };
        if let Some(least) = self.fail_before.filter(|least| left <= *least) {
            let least = in_words(least);
            return Err(Failed::because(format_args!("{expiry}; {least} are asked for")));
        }
        let warning = if left <= self.warn_before { "warning: " } else { "" };
        Ok(Passed::because(format_args!("{warning}{words}, {expiry}")))
    }
}

/// Days, or hours if it is less than two days.
fn in_words(duration: Duration) -> String {
    if duration >= 2 * DAY {
        format!("{} days", duration.as_secs() / DAY.as_secs())
    } else {
        format!("{} hours", duration.as_secs() / 3_600)
    }
}

/// What a handshake showed.
struct Seen<'a> {
    version: &'a str,
    alpn: Option<&'a [u8]>,
    certificate: Option<&'a [u8]>,
}

#[async_trait]
impl HealthCheck for TlsCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let mut stream = self.tls.secure(connect(target).await?, target).await?;
        let (_, session) = stream.get_ref();
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "of an unknown version",
        };
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let certificate = certificate.map(AsRef::as_ref);
        let seen = Seen { version, alpn: session.alpn_protocol(), certificate };
        let result = self.judge(&seen, BootClock::new().wall());
        let _ended = stream.shutdown().await;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::super::ber::element;
    use super::*;

    /// A certificate as far as its dates.
    fn ending(end: &[u8]) -> Vec<u8> {
        let dates = element(0x30, &[element(0x17, b"200101000000Z"), element(0x17, end)].concat());
        let rest = [element(2, &[1]), element(0x30, &[]), element(0x30, &[]), dates].concat();
        element(0x30, &element(0x30, &rest))
    }

    #[test]
    fn a_certificate_that_ends_soon_is_told_of_and_then_refused() {
        let noon = WallTime::from_micros(1_709_208_000_000_000); // 2024-02-29T12:00:00
        let check = TlsCheck::new(Tls::without_verification())
            .warn_before_expiry(20 * DAY)
            .expect_validity(DAY);
        let judged = |end: &[u8]| {
            let certificate = ending(end);
            let seen = Seen { version: "1.3", alpn: None, certificate: Some(&certificate) };
            match check.judge(&seen, noon) {
                Ok(passed) => passed.reason().to_owned(),
                Err(failed) => format!("failed: {failed}"),
            }
        };
        let unverified = "TLS 1.3, certificate not verified, the certificate ends in";
        assert_eq!(judged(b"240430120000Z"), format!("{unverified} 61 days"));
        assert_eq!(judged(b"240305120000Z"), format!("warning: {unverified} 5 days"));
        let soon = "failed: the certificate ends in 3 hours; 24 hours are asked for";
        assert_eq!(judged(b"240229150000Z"), soon);
        let gone = "failed: the certificate ended at 2024-02-29T11:00:00.000000Z";
        assert!(judged(b"240229110000Z").starts_with(gone));
        assert_eq!(judged(b"nonsense"), "failed: cannot read when the certificate ends");
    }

    #[test]
    fn keys_and_certificates_do_not_show() {
        let tls = Tls::without_verification().with_server_name("a.example").expect("a name");
        let shown = format!("{tls:?}");
        assert_eq!(shown, r#"Tls { server_name: Some("a.example"), verifies: false, .. }"#);
        assert!(Tls::without_verification().with_server_name("no name").is_err());
    }
}
