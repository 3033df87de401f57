//! Whether a dialog is held in the clear or over TLS.

use super::dialog::{Dialog, Stream, connect};
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, Target};

/// A dialog over TCP or TLS.
pub(super) type AnyDialog = Dialog<Box<dyn Stream>>;

/// In the clear, unless TLS is set.
#[derive(Debug, Clone, Default)]
pub(super) struct Security {
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Security {
    pub(super) const fn clear() -> Self {
        Self {
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    #[cfg(feature = "tls")]
    pub(super) const fn tls(tls: Tls) -> Self {
        Self { tls: Some(tls) }
    }

    /// Whether the dialog is secured.
    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "it has no fields"))]
    pub(super) const fn is_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Connects, and secures the connection before anything is said.
    pub(super) async fn open(&self, target: &Target) -> Result<AnyDialog, Failed> {
        let stream: Box<dyn Stream> = Box::new(connect(target).await?);
        Ok(Dialog::new(self.secure(stream, target).await?))
    }

    /// Secures a dialog that has begun in the clear.
    pub(super) async fn upgrade(
        &self,
        dialog: AnyDialog,
        target: &Target,
    ) -> Result<AnyDialog, Failed> {
        if !self.is_tls() {
            return Ok(dialog);
        }
        Ok(Dialog::new(self.secure(dialog.into_stream()?, target).await?))
    }

    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_async, reason = "with TLS it waits"))]
    async fn secure(
        &self,
        stream: Box<dyn Stream>,
        target: &Target,
    ) -> Result<Box<dyn Stream>, Failed> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Ok(Box::new(tls.secure(stream, target).await?));
        }
        #[cfg(not(feature = "tls"))]
        let _ = target;
        Ok(stream)
    }
}
