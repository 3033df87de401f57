//! A network: one switch that hosts join.

use std::sync::Arc;

use crate::LabError;
use crate::lab::Shared;
use crate::nft::WHOLE;

/// A network of a [`Lab`](crate::Lab): an Ethernet segment that hosts [join](crate::Host::join).
///
/// A handle, cheap to clone. It is a bridge without spanning tree, forwarding delay and multicast
/// snooping: it forwards from the first frame on.
#[derive(Debug, Clone)]
pub struct Network {
    pub(crate) inner: Arc<Inner>,
    pub(crate) lab: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) name: String,
    /// Its name in the switch.
    pub(crate) bridge: String,
    /// Its index in the switch.
    pub(crate) index: u32,
}

impl Network {
    /// Its name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// From now on loses so many percent of all frames between its hosts, 0 to 100, at random; 0
    /// ends it.
    ///
    /// # Errors
    ///
    /// [`LabError::Range`]; [`LabError::NoProgram`] without `nft`.
    pub fn loss(&self, percent: f64) -> Result<(), LabError> {
        let loss = parts(percent)?;
        self.lab.fault(&self.inner.name, format!("loses {percent} % of all frames"));
        self.lab.change_plan(|plan| {
            if loss == 0 {
                plan.bridge_loss.remove(&self.inner.bridge);
            } else {
                plan.bridge_loss.insert(self.inner.bridge.clone(), loss);
            }
        })
    }
}

/// Percent as parts of [`WHOLE`].
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: 0 to 100000")]
pub(crate) fn parts(percent: f64) -> Result<u32, LabError> {
    if !(0.0..=100.0).contains(&percent) {
        let allowed = "0 to 100 percent";
        return Err(LabError::Range { what: "packet loss", value: percent.to_string(), allowed });
    }
    Ok((percent / 100.0 * f64::from(WHOLE)).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_a_percentage() {
        assert_eq!(parts(0.0).expect("none"), 0);
        assert_eq!(parts(12.5).expect("an eighth"), WHOLE / 8);
        assert_eq!(parts(100.0).expect("all"), WHOLE);
        for wrong in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert!(parts(wrong).expect_err("out of range").to_string().contains("0 to 100"));
        }
    }
}
