//! A check that a TCP connection can be made.

use async_trait::async_trait;
use tokio::net::TcpStream;

use super::{Failed, HealthCheck, Passed, Target};

/// Passes if the endpoint accepts a TCP connection (HAProxy's plain `check`).
///
/// The connection is closed at once. It shows that something listens, not that it works: prefer a
/// check that asks for something where the protocol has one.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TcpCheck;

impl TcpCheck {
    /// The check; it has no settings.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl HealthCheck for TcpCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        match TcpStream::connect(target.address()).await {
            Ok(_) => Ok(Passed::because("connected")),
            Err(error) => Err(Failed::because(format_args!("cannot connect: {error}"))),
        }
    }
}
