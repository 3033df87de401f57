//! A check that a Galera node may be used.

use std::collections::BTreeMap;

use async_trait::async_trait;
use ha_core::config::ConfigError;

use super::mysql::valid_user;
use super::mysql_session::{Account, Session};
use super::secret::Secret;
use super::security::Security;
#[cfg(feature = "tls")]
use super::tls::Tls;
use super::{Failed, HealthCheck, Passed, Target};

const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_size', \
                      'wsrep_cluster_status', 'wsrep_connected', 'wsrep_local_index', \
                      'wsrep_local_recv_queue', 'wsrep_local_state', 'wsrep_ready')";
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('pxc_maint_mode', \
                         'read_only', 'wsrep_desync', 'wsrep_on', 'wsrep_reject_queries', \
                         'wsrep_sst_donor_rejects_queries')";

/// When a Galera node may be used; a function of its variables, without I/O.
///
/// A node must be synced (`wsrep_local_state` 4) and part of the primary component, ready, and
/// not taken out by its operator. The settings are those of the script `clustercheck` that
/// HAProxy is commonly used with.
///
/// ```
/// use std::collections::BTreeMap;
/// use ha_lb::health::galera::GaleraRules;
///
/// let mut node: BTreeMap<String, String> = [
///     ("wsrep_cluster_status", "Primary"),
///     ("wsrep_ready", "ON"),
///     ("wsrep_local_state", "2"),
/// ]
/// .map(|(name, value)| (name.to_owned(), value.to_owned()))
/// .into();
/// let refusals = GaleraRules::new().judge(&node).unwrap_err();
/// assert_eq!(refusals, ["it is a donor or desynced (wsrep_local_state is 2)"]);
/// assert!(GaleraRules::new().available_when_donor().judge(&node).is_ok());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GaleraRules {
    when_donor: bool,
    writer: bool,
    max_queue: Option<u64>,
}

impl GaleraRules {
    /// For nodes that are read from, or written to if they are not read-only.
    #[must_use]
    pub const fn new() -> Self {
        Self { when_donor: false, writer: false, max_queue: None }
    }

    /// For nodes that are written to: those that are `read_only` are refused (`clustercheck`'s
    /// `available_when_readonly=0`).
    #[must_use]
    pub const fn writer() -> Self {
        Self { when_donor: false, writer: true, max_queue: None }
    }

    /// Takes nodes that are donors (`wsrep_local_state` 2), too, unless they say that they reject
    /// queries meanwhile (`wsrep_sst_donor_rejects_queries`) or were desynced by hand
    /// (`wsrep_desync`). Default: they are refused.
    ///
    /// A donor may lag behind the others without holding them up.
    #[must_use]
    pub const fn available_when_donor(mut self) -> Self {
        self.when_donor = true;
        self
    }

    /// Refuses nodes with more than this many write sets to apply (`wsrep_local_recv_queue`;
    /// `ProxySQL`'s `max_transactions_behind`). Default: any number.
    #[must_use]
    pub const fn with_max_queue(mut self, write_sets: u64) -> Self {
        self.max_queue = Some(write_sets);
        self
    }

    /// Whether a node with these status and system variables (names in lower case) may be used;
    /// says which node it is.
    ///
    /// # Errors
    ///
    /// Each reason against it, in words.
    pub fn judge(&self, node: &BTreeMap<String, String>) -> Result<String, Vec<String>> {
        let value = |name: &str| node.get(name).map(|value| value.trim());
        let is_on = |name| value(name).is_some_and(on);
        let state = value("wsrep_local_state");
        if state.is_none() || value("wsrep_on").is_some_and(|value| !on(value)) {
            return Err(vec!["it does not replicate by Galera (wsrep_on is off)".to_owned()]);
        }
        let state = state.unwrap_or_default();
        let mut against = Vec::new();
        let mut refuse = |words: &str, name: &str| {
            against.push(format!("{words} ({name} is {})", value(name).unwrap_or("unknown")));
        };
        match state {
            "4" => {}
            "2" if is_on("wsrep_sst_donor_rejects_queries") => refuse(
                "it is a donor that rejects queries meanwhile",
                "wsrep_sst_donor_rejects_queries",
            ),
            "2" if self.when_donor => {}
            "2" => refuse("it is a donor or desynced", "wsrep_local_state"),
            "1" => refuse("it joins and waits for the data", "wsrep_local_state"),
            "3" => refuse("it has joined and catches up", "wsrep_local_state"),
            _ => refuse("it is not synced", "wsrep_local_state"),
        }
        if value("wsrep_cluster_status") != Some("Primary") {
            refuse("it is not in the primary component", "wsrep_cluster_status");
        }
        if value("wsrep_connected").is_some_and(|value| !on(value)) {
            refuse("it is not connected to the cluster", "wsrep_connected");
        }
        if !is_on("wsrep_ready") {
            refuse("it is not ready for queries", "wsrep_ready");
        }
        if value("wsrep_reject_queries").is_some_and(|value| !value.eq_ignore_ascii_case("none")) {
            refuse("its operator lets it reject queries", "wsrep_reject_queries");
        }
        if is_on("wsrep_desync") {
            refuse("its operator has desynced it", "wsrep_desync");
        }
        if value("pxc_maint_mode").is_some_and(|value| !value.eq_ignore_ascii_case("disabled")) {
            refuse("it is in maintenance", "pxc_maint_mode");
        }
        if self.writer && value("read_only").is_some_and(|value| !off(value)) {
            refuse("it is read-only", "read_only");
        }
        let queue = value("wsrep_local_recv_queue").and_then(|value| value.parse::<u64>().ok());
        if self.max_queue.is_some_and(|most| queue.is_none_or(|queue| queue > most)) {
            refuse("it has too much left to apply", "wsrep_local_recv_queue");
        }
        if !against.is_empty() {
            return Err(against);
        }
        let synced = if state == "4" { "synced" } else { "donor" };
        let number = |name| value(name).unwrap_or("?");
        let (index, size) = (number("wsrep_local_index"), number("wsrep_cluster_size"));
        Ok(format!("{synced}, index {index} of {size} nodes"))
    }
}

/// Servers say `ON`, `1`, or `YES`; `read_only` can be more than two things.
fn on(value: &str) -> bool {
    ["on", "1", "yes", "true"].iter().any(|on| value.eq_ignore_ascii_case(on))
}

fn off(value: &str) -> bool {
    ["off", "0", "no", "false"].iter().any(|off| value.eq_ignore_ascii_case(off))
}

/// Passes if a Galera node (MariaDB, Percona `XtraDB` Cluster, MySQL with wsrep) may be used.
///
/// It logs in and asks the node itself: no `clustercheck` behind port 9200 is needed. The user
/// needs no privilege: `CREATE USER 'checker'@'192.0.2.1' IDENTIFIED BY '…'`. It can log in by
/// `mysql_native_password` and `caching_sha2_password`.
///
/// One writer at a time is chosen by the algorithm `single-writer`, on top of this check.
///
/// ```
/// use ha_lb::health::galera::{GaleraCheck, GaleraRules};
///
/// let check = GaleraCheck::new("checker", "secret")?.with_rules(GaleraRules::writer());
/// assert!(!format!("{check:?}").contains("secret"));
/// # Ok::<(), ha_core::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct GaleraCheck {
    account: Account,
    security: Security,
    rules: GaleraRules,
}

impl GaleraCheck {
    /// Logs in as this user and judges by [`GaleraRules::new`].
    ///
    /// # Errors
    ///
    /// When the name is not 1 to 512 bytes without a zero.
    pub fn new(user: &str, password: impl Into<String>) -> Result<Self, ConfigError> {
        let account = Account { user: valid_user(user)?, password: Secret::new(password.into()) };
        Ok(Self { account, security: Security::clear(), rules: GaleraRules::new() })
    }

    /// Sets when a node may be used.
    #[must_use]
    pub const fn with_rules(mut self, rules: GaleraRules) -> Self {
        self.rules = rules;
        self
    }

    /// Secures the connection before it logs in; a server without TLS fails.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.security = Security::tls(tls);
        self
    }
}

#[async_trait]
impl HealthCheck for GaleraCheck {
    async fn check(&self, target: &Target) -> Result<Passed, Failed> {
        let mut session = Session::open(&self.account, &self.security, target).await?;
        let mut node = BTreeMap::new();
        session.ask(STATUS, &mut node).await?;
        session.ask(VARIABLES, &mut node).await?;
        let version = session.version.clone();
        session.close().await;
        match self.rules.judge(&node) {
            Ok(words) => Ok(Passed::because(format_args!("{words}, {version}"))),
            Err(against) => Err(Failed::because(against.join("; "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: [(&str, &str); 11] = [
        ("pxc_maint_mode", "DISABLED"),
        ("read_only", "OFF"),
        ("wsrep_cluster_size", "3"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_desync", "OFF"),
        ("wsrep_local_index", "0"),
        ("wsrep_local_recv_queue", "5"),
        ("wsrep_local_state", "4"),
        ("wsrep_on", "ON"),
        ("wsrep_ready", "ON"),
        ("wsrep_reject_queries", "NONE"),
    ];

    fn node(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let all = GOOD.iter().chain(changes);
        all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn judged(rules: &GaleraRules, changes: &[(&str, &str)]) -> String {
        match rules.judge(&node(changes)) {
            Ok(words) => format!("+{words}"),
            Err(against) => against.join("; "),
        }
    }

    #[test]
    fn each_refusal_is_named() {
        let reader = GaleraRules::new();
        let donor = GaleraRules::new().available_when_donor();
        let writer = GaleraRules::writer();
        let quick = GaleraRules::new().with_max_queue(4);
        let good = "+synced, index 0 of 3 nodes";
        let rejects = ("wsrep_sst_donor_rejects_queries", "ON");
        for (rules, changes, expected) in [
            (&reader, &[][..], good),
            (&writer, &[], good),
            (&quick, &[("wsrep_local_recv_queue", "4")], good),
            (&quick, &[], "it has too much left to apply (wsrep_local_recv_queue is 5)"),
            (&reader, &[("read_only", "ON")], good),
            (&writer, &[("read_only", "ON")], "it is read-only (read_only is ON)"),
            (&writer, &[("read_only", "NO_LOCK")], "it is read-only (read_only is NO_LOCK)"),
            (
                &reader,
                &[("wsrep_local_state", "1")],
                "it joins and waits for the data (wsrep_local_state is 1)",
            ),
            (
                &reader,
                &[("wsrep_local_state", "2")],
                "it is a donor or desynced (wsrep_local_state is 2)",
            ),
            (&donor, &[("wsrep_local_state", "2")], "+donor, index 0 of 3 nodes"),
            (
                &donor,
                &[("wsrep_local_state", "2"), rejects],
                "it is a donor that rejects queries meanwhile \
                 (wsrep_sst_donor_rejects_queries is ON)",
            ),
            (&donor, &[rejects], good),
            (
                &donor,
                &[("wsrep_local_state", "2"), ("wsrep_desync", "ON")],
                "its operator has desynced it (wsrep_desync is ON)",
            ),
            (
                &donor,
                &[("wsrep_local_state", "3")],
                "it has joined and catches up (wsrep_local_state is 3)",
            ),
            (&reader, &[("wsrep_local_state", "0")], "it is not synced (wsrep_local_state is 0)"),
            (
                &reader,
                &[("wsrep_cluster_status", "non-Primary"), ("wsrep_ready", "OFF")],
                "it is not in the primary component (wsrep_cluster_status is non-Primary); it is \
                 not ready for queries (wsrep_ready is OFF)",
            ),
            (
                &reader,
                &[("wsrep_connected", "OFF")],
                "it is not connected to the cluster (wsrep_connected is OFF)",
            ),
            (
                &reader,
                &[("wsrep_reject_queries", "ALL_KILL")],
                "its operator lets it reject queries (wsrep_reject_queries is ALL_KILL)",
            ),
            (
                &reader,
                &[("pxc_maint_mode", "SHUTDOWN")],
                "it is in maintenance (pxc_maint_mode is SHUTDOWN)",
            ),
            (&reader, &[("wsrep_on", "OFF")], "it does not replicate by Galera (wsrep_on is off)"),
        ] {
            assert_eq!(judged(rules, changes), expected, "{changes:?}");
        }
    }

    #[test]
    fn what_a_server_does_not_say_counts_against_it_only_where_it_must_say_it() {
        let without = |name: &str| {
            let mut node = node(&[]);
            node.remove(name);
            GaleraRules::writer().judge(&node).err().map(|against| against.join("; "))
        };
        for optional in ["pxc_maint_mode", "read_only", "wsrep_desync", "wsrep_reject_queries"] {
            assert_eq!(without(optional), None, "{optional}");
        }
        for (needed, words) in [
            ("wsrep_cluster_status", "it is not in the primary component"),
            ("wsrep_ready", "it is not ready for queries"),
            ("wsrep_local_state", "it does not replicate by Galera"),
        ] {
            assert!(without(needed).is_some_and(|against| against.starts_with(words)), "{needed}");
        }
    }

    proptest! {
        /// A node that one rule refuses stays refused whatever else is wrong; the writer's rules
        /// never take a node that the reader's refuse.
        #[test]
        fn more_that_is_wrong_never_helps(
            state in 0..6_u8, primary: bool, ready: bool, desync: bool, rejects: bool,
            read_only: bool, donor_rejects: bool, maintenance: bool, when_donor: bool,
        ) {
            let flag = |on| if on { "ON" } else { "OFF" };
            let state_text = state.to_string();
            let node = node(&[
                ("wsrep_local_state", state_text.as_str()),
                ("wsrep_cluster_status", if primary { "Primary" } else { "Disconnected" }),
                ("wsrep_ready", flag(ready)),
                ("wsrep_desync", flag(desync)),
                ("wsrep_reject_queries", if rejects { "ALL" } else { "NONE" }),
                ("read_only", flag(read_only)),
                ("wsrep_sst_donor_rejects_queries", flag(donor_rejects)),
                ("pxc_maint_mode", if maintenance { "MAINTENANCE" } else { "DISABLED" }),
            ]);
            let may = |rules: GaleraRules| {
                let rules = if when_donor { rules.available_when_donor() } else { rules };
                rules.judge(&node).is_ok()
            };
            let usable = state == 4 || (state == 2 && when_donor && !donor_rejects);
            let expected = usable && primary && ready && !desync && !rejects && !maintenance;
            prop_assert_eq!(may(GaleraRules::new()), expected);
            prop_assert_eq!(may(GaleraRules::writer()), expected && !read_only);
        }
    }
}
