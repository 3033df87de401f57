//! The settings of an IPMI board.

use std::time::Duration;

use ha_core::config::{ConfigError, Problems};
use ha_core::id::NodeName;

use super::agent::Ipmi;
use super::crypto::CipherSuite;
use super::session::Login;
use crate::secret::Secret;

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Privilege {
    /// All that fencing needs: to see the power and to switch it.
    Operator,
    /// Everything, for boards that let nobody else switch the power.
    Administrator,
}

/// How an [`Ipmi`] board reboots its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebootMethod {
    /// Off, seen to be off, on (`fence_ipmilan`'s `method=onoff`).
    OffOn,
    /// One power cycle, whose off must be seen (`method=cycle`): for nodes that cannot be switched
    /// on while they are off. The board reports its power late or never? Take the other one.
    Cycle,
}

/// Collects the settings of an [`Ipmi`] board.
#[derive(Debug)]
#[must_use = "a builder does nothing until build() is called"]
pub struct IpmiBuilder {
    board: Ipmi,
}

impl IpmiBuilder {
    pub(super) fn new(device: String, node: NodeName, host: String) -> Self {
        let login = Login {
            user: String::new(),
            password: Secret::default(),
            board_key: None,
            privilege: 3,
            suites: vec![CipherSuite::Sha256, CipherSuite::Sha1],
            retransmit: Duration::from_secs(1),
            attempts: 4,
        };
        Self {
            board: Ipmi {
                device,
                node,
                host,
                port: 623,
                login,
                timeout: Duration::from_mins(1),
                poll: Duration::from_millis(200),
                reboot: RebootMethod::OffOn,
            },
        }
    }

    /// Sets the UDP port. Default: 623.
    pub const fn port(mut self, port: u16) -> Self {
        self.board.port = port;
        self
    }

    /// Sets the user, up to 16 bytes, and the password, up to 20. Default: both empty, the
    /// anonymous user.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<Vec<u8>>) -> Self {
        self.board.login.user = user.into();
        self.board.login.password = Secret::new(password);
        self
    }

    /// Sets the board's own key, `K_g`, up to 20 bytes (`ipmitool -k`). Default: none.
    pub fn board_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.board.login.board_key = Some(Secret::new(key));
        self
    }

    /// Sets the privilege that is asked for. Default: [`Privilege::Operator`], which is enough.
    pub const fn privilege(mut self, privilege: Privilege) -> Self {
        self.board.login.privilege = match privilege {
            Privilege::Operator => 3,
            Privilege::Administrator => 4,
        };
        self
    }

    /// Sets the cipher suites that are tried, in this order. Default: 17, then 3.
    ///
    /// The board's refusal of a suite is not signed: who can change packets on the way can make us
    /// take the next one. Both are sound; name one to have only that.
    pub fn cipher_suites(mut self, suites: impl IntoIterator<Item = CipherSuite>) -> Self {
        self.board.login.suites = suites.into_iter().collect();
        self
    }

    /// Sets how long an answer is waited for before the question is sent again, and how often it
    /// is sent. Defaults: 1 s and 4 times; up to 1 minute and 100 times.
    pub const fn retransmit(mut self, after: Duration, attempts: u32) -> Self {
        self.board.login.retransmit = after;
        self.board.login.attempts = attempts;
        self
    }

    /// Sets how long an action may take, with the login and until the power is seen to be as it
    /// should be. Default: 60 s, as of [`FenceCommand`](crate::fence::FenceCommand).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.board.timeout = timeout;
        self
    }

    /// Sets the time between two looks at the power while it is to change. Default: 200 ms.
    pub const fn poll(mut self, poll: Duration) -> Self {
        self.board.poll = poll;
        self
    }

    /// Sets how the node is rebooted. Default: [`RebootMethod::OffOn`].
    pub const fn reboot_method(mut self, method: RebootMethod) -> Self {
        self.board.reboot = method;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// All that is wrong, at once: no host, a user or secret that is too long, no cipher suite,
    /// times that are zero or too long.
    pub fn build(self) -> Result<Ipmi, ConfigError> {
        let mut problems = Problems::new();
        let board = self.board;
        let mut check = |is_right: bool, name: &str, value: &str, allowed: &str| {
            if !is_right {
                problems.add(format!("fence.{}.{name}", board.device), value, allowed);
            }
        };
        let login = &board.login;
        check(!board.host.is_empty(), "host", "nothing", "a name or an address of the board");
        check(board.port != 0, "port", "0", "1 to 65535; 623 is usual");
        check(login.user.len() <= 16, "user", &login.user, "up to 16 bytes");
        let is_secret = |secret: &Secret<Vec<u8>>| secret.reveal().len() <= 20;
        check(is_secret(&login.password), "password", "…", "up to 20 bytes");
        let key = login.board_key.as_ref();
        check(key.is_none_or(is_secret), "board_key", "…", "up to 20 bytes");
        check(
            key.is_none_or(|key| !key.reveal().is_empty()),
            "board_key",
            "nothing",
            "1 to 20 bytes; leave it out where the board has none",
        );
        check(!login.suites.is_empty(), "cipher_suites", "none", "one or more of 3 and 17");
        let retransmit = format!("{:?}", login.retransmit);
        let is_time = !login.retransmit.is_zero() && login.retransmit <= Duration::from_mins(1);
        check(is_time, "retransmit", &retransmit, "more than 0, up to 1 min; 1 s is usual");
        let attempts = login.attempts.to_string();
        check((1..=100).contains(&login.attempts), "attempts", &attempts, "1 to 100; 4 is usual");
        check(!board.timeout.is_zero(), "timeout", "0", "more than 0; 60 s is usual");
        check(!board.poll.is_zero(), "poll", "0", "more than 0; 200 ms is usual");
        problems.into_result(board)
    }
}
