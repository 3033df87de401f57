//! What the HMAC of a virtual router is told by its operator.

use std::fmt;
use std::time::Duration;

use ha_core::config::{ConfigError, Problems};

/// A secret that all routers of a virtual router share, under a number.
///
/// `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: u8,
    secret: Box<[u8]>,
}

impl Key {
    /// The shortest secret, in bytes: keepalived's limit.
    pub const MIN_LEN: usize = 32;
    /// The longest secret, in bytes: keepalived's limit, and the block of SHA-256, beyond which
    /// HMAC would not use the secret itself but its hash.
    pub const MAX_LEN: usize = 64;

    /// The key's number, 1 to 255: adverts name it.
    #[must_use]
    pub const fn id(&self) -> u8 {
        self.id
    }

    pub(super) const fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How far a group of routers has come on the way to adverts that all have an HMAC.
///
/// Older keepaliveds and other routers drop an advert with a trailer, so bring in the HMAC in
/// this order, one step on all routers before the next: *receive only*, *permissive*, *enforce*.
/// The step before is the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(clippy::exhaustive_enums, reason = "who sends, and who must: there is no fourth step")]
pub enum Rollout {
    /// Sends without, accepts adverts without; checks what has a trailer.
    ReceiveOnly,
    /// Sends with, accepts adverts without; checks what has a trailer. Whoever forges an advert
    /// leaves the trailer out, so this protects against nobody yet.
    Permissive,
    /// Sends with, accepts adverts with a right one only. The default, as keepalived's.
    #[default]
    Enforce,
}

/// The configuration of an [`Authenticator`](super::Authenticator), complete and checked.
///
/// ```
/// use std::time::Duration;
/// use ha_vip::vrrp::auth::{HmacConfig, Rollout};
///
/// // The keys are being changed: both are known, the new one signs.
/// let config = HmacConfig::builder().key(1, [1; 32]).key(2, [2; 32]).active(2).build()?;
/// assert_eq!((config.active(), config.rollout()), (2, Rollout::Enforce));
/// assert_eq!(config.window(), Some(Duration::from_secs(5)));
///
/// let error = HmacConfig::builder().key(0, "too short").active(3).build().unwrap_err();
/// assert_eq!(error.problems().len(), 3); // the number, the secret, and no key 3
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacConfig {
    keys: Vec<Key>,
    active: u8,
    window: Option<Duration>,
    rollout: Rollout,
}

impl HmacConfig {
    /// The shortest window.
    pub const MIN_WINDOW: Duration = Duration::from_secs(1);
    /// The longest window: what is older is no news, and a replay must not be.
    pub const MAX_WINDOW: Duration = Duration::from_mins(5);
    /// The window by default.
    pub const DEFAULT_WINDOW: Duration = Duration::from_secs(5);

    /// Starts a configuration.
    pub const fn builder() -> HmacBuilder {
        HmacBuilder {
            keys: Vec::new(),
            active: None,
            window: Some(Self::DEFAULT_WINDOW),
            rollout: Rollout::Enforce,
        }
    }

    /// The keys that adverts are checked with, in the order in which they were added.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The number of the key that signs.
    #[must_use]
    pub const fn active(&self) -> u8 {
        self.active
    }

    /// How far the clocks may differ; `None` if the time is not looked at.
    #[must_use]
    pub const fn window(&self) -> Option<Duration> {
        self.window
    }

    /// Who sends an HMAC, and who must.
    #[must_use]
    pub const fn rollout(&self) -> Rollout {
        self.rollout
    }
}

/// Makes an [`HmacConfig`].
#[derive(Debug, Clone)]
#[must_use]
pub struct HmacBuilder {
    keys: Vec<Key>,
    active: Option<u8>,
    window: Option<Duration>,
    rollout: Rollout,
}

impl HmacBuilder {
    /// Adds a key: a number, 1 to 255, and a secret of 32 to 64 bytes (keepalived's `key`).
    ///
    /// 32 random bytes are right, such as from `openssl rand 32`. Adverts are checked with the
    /// key that they name. To change keys: add the new one everywhere, then make it the active
    /// one everywhere, then remove the old one.
    pub fn key(mut self, id: u8, secret: impl AsRef<[u8]>) -> Self {
        self.keys.push(Key { id, secret: secret.as_ref().into() });
        self
    }

    /// Sets the key that signs. Needed only if there are several (keepalived's `active_key`).
    pub const fn active(mut self, id: u8) -> Self {
        self.active = Some(id);
        self
    }

    /// Sets how far the sender's clock may differ from ours: 1 s to 300 s. Default 5 s
    /// (keepalived's `time_window`, which is at least three advert intervals by default).
    ///
    /// An advert can be replayed to a router that has just started for as long as this; routers
    /// whose clocks differ by more do not hear one another.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// Takes whatever is newer than the last advert of its sender, without looking at the clock
    /// (keepalived's `anti_replay monotonic`). For hosts without a common time; see
    /// [what it costs](super#replay-and-clocks).
    pub const fn monotonic(mut self) -> Self {
        self.window = None;
        self
    }

    /// Sets who sends an HMAC, and who must. Default [`Rollout::Enforce`] (keepalived's `mode`).
    pub const fn rollout(mut self, rollout: Rollout) -> Self {
        self.rollout = rollout;
        self
    }

    /// Checks the configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem: setter, value, what is allowed. Secrets are not shown.
    pub fn build(self) -> Result<HmacConfig, ConfigError> {
        let mut problems = Problems::new();
        if self.keys.is_empty() {
            problems.add("key", "no key", "at least one");
        }
        for (index, key) in self.keys.iter().enumerate() {
            if key.id == 0 {
                problems.add("key", "number 0", "a number from 1 to 255");
            }
            if self.keys.iter().take(index).any(|earlier| earlier.id == key.id) {
                problems.add("key", format!("number {}", key.id), "each number once");
            }
            if !(Key::MIN_LEN..=Key::MAX_LEN).contains(&key.secret.len()) {
                let value = format!("a secret of {} bytes", key.secret.len());
                problems.add("key", value, "32 to 64 bytes");
            }
        }
        let only = if let [only] = &*self.keys { Some(only.id) } else { None };
        let active = self.active.or(only);
        if !self.keys.is_empty() && !self.keys.iter().any(|key| Some(key.id) == active) {
            let value = active.map_or("none".to_owned(), |id| id.to_string());
            problems.add("active", value, "the number of one of the keys");
        }
        let allowed = HmacConfig::MIN_WINDOW..=HmacConfig::MAX_WINDOW;
        if let Some(window) = self.window.filter(|window| !allowed.contains(window)) {
            problems.add("window", format!("{window:?}"), "1 s to 300 s");
        }
        problems.into_result(HmacConfig {
            keys: self.keys,
            active: active.unwrap_or_default(),
            window: self.window,
            rollout: self.rollout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once_and_no_secret() {
        let error = HmacConfig::builder()
            .key(0, "very secret")
            .key(3, [1; 65])
            .key(3, [1; 64])
            .active(4)
            .window(Duration::from_secs(301))
            .build()
            .expect_err("all wrong");
        let text = error.to_string();
        for told in ["number 0", "11 bytes", "65 bytes", "number 3", "active: 4", "window: 301s"] {
            assert!(text.contains(told), "{told} in {text}");
        }
        assert_eq!(error.problems().len(), 6);
        assert!(!text.contains("very secret"));
        assert!(HmacConfig::builder().build().is_err(), "no key");
    }

    #[test]
    fn a_key_that_signs_must_be_named_among_several() {
        let two = HmacConfig::builder().key(1, [1; 32]).key(2, [2; 32]);
        let error = two.clone().build().expect_err("which one?");
        assert!(error.to_string().contains("active: none"), "{error}");
        assert_eq!(two.active(1).build().expect("named").active(), 1);
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = HmacConfig::builder().key(77, [0xaa; 32]).build().expect("a configuration");
        let text = format!("{config:?} {:?}", super::super::Authenticator::new(config.clone()));
        assert!(text.contains("77"));
        assert!(!text.contains("170") && !text.to_lowercase().contains("aa, "), "{text}");
    }
}
