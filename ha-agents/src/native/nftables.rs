//! A blocked port as a resource, in nftables.

use std::net::IpAddr;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::described;
use super::tool::{Failed, call};
use crate::agent::{AgentError, Check, Metadata, OpContext, OpResult, Report, ResourceAgent};
use crate::outcome::Outcome;
use crate::run::Guard;

/// What `nft` says of a table that is not there.
const ABSENT: &str = "No such file or directory";

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Blocks a port for packets that come in, while it is started: `ocf:heartbeat:portblock` with the
/// action `block`, on nftables.
///
/// Clients of a service that is moving then find silence, not a refusal, and try again: start it
/// before the address is taken off, and stop it when the service is up on the other node.
///
/// Each resource has a table of its own in nftables, `inet ha-block-RESOURCE`, made and removed as
/// a whole; rules of others are neither read nor changed. The program `nft` does the work, for a
/// monitor, too: it asks the kernel for that one table.
///
/// ```no_run
/// use ha_agents::native::{BlockPort, Protocol};
///
/// let agent = BlockPort::new(Protocol::Tcp, 5432..=5432).address("192.0.2.10".parse()?);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockPort {
    protocol: Protocol,
    ports: std::ops::RangeInclusive<u16>,
    address: Option<IpAddr>,
    reset: bool,
}

impl BlockPort {
    /// Blocks the ports, on all addresses of this node.
    #[must_use]
    pub const fn new(protocol: Protocol, ports: std::ops::RangeInclusive<u16>) -> Self {
        Self { protocol, ports, address: None, reset: false }
    }

    /// Sets the only address of this node whose ports are blocked.
    #[must_use]
    pub const fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Sets whether TCP clients are told with a reset instead of silence, so that old connections
    /// end at once (`reset_local_on_unblock_stop`, tcp-reset). Default: no.
    #[must_use]
    pub const fn reset(mut self, reset: bool) -> Self {
        self.reset = reset;
        self
    }

    /// The whole table, in the JSON of libnftables: replaced in one transaction.
    fn rules(&self, table: &str) -> Value {
        let ours = json!({"family": "inet", "name": table});
        let equals = |protocol: &str, field: &str, right: Value| {
            let left = json!({"payload": {"protocol": protocol, "field": field}});
            json!({"match": {"op": "==", "left": left, "right": right}})
        };
        let mut words = Vec::new();
        if let Some(address) = self.address {
            let family = if address.is_ipv4() { "ip" } else { "ip6" };
            words.push(equals(family, "daddr", json!(address.to_string())));
        }
        let (first, last) = (*self.ports.start(), *self.ports.end());
        let ports = if first == last { json!(first) } else { json!({"range": [first, last]}) };
        words.push(equals(self.protocol.name(), "dport", ports));
        words.push(match (self.reset, self.protocol) {
            (true, Protocol::Tcp) => json!({"reject": {"type": "tcp reset"}}),
            (true, Protocol::Udp) | (false, _) => json!({"drop": null}),
        });
        let chain = json!({"family": "inet", "table": table, "name": "input", "type": "filter",
            "hook": "input", "prio": -300, "policy": "accept"});
        let rule = json!({"family": "inet", "table": table, "chain": "input", "expr": words});
        json!({"nftables": [
            {"add": {"table": ours}},
            {"flush": {"table": ours}},
            {"add": {"chain": chain}},
            {"add": {"rule": rule}},
        ]})
    }

    /// Whether the table is there with its rule.
    async fn is_there(&self, context: &OpContext) -> Result<Result<bool, Report>, AgentError> {
        let table = table(context);
        let text = match nft(context, &["-j", "list", "table", "inet", &table]).await? {
            Ok(text) => text,
            Err(Failed::Said(said)) if said.contains(ABSENT) => return Ok(Ok(false)),
            // Without the program nothing of it can be there.
            Err(Failed::Missing) => return Ok(Ok(false)),
            Err(failed) => return Ok(Err(answer(Err(failed)))),
        };
        let listed: Option<Value> = serde_json::from_str(&text).ok();
        let items = listed.as_ref().and_then(|listed| listed.get("nftables")?.as_array());
        let has =
            |what: &str| items.is_some_and(|items| items.iter().any(|i| i.get(what).is_some()));
        Ok(Ok(has("chain") && has("rule")))
    }
}

/// The table of the resource; its name has nothing in it that `nft` would read as a command.
fn table(context: &OpContext) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let name: String = context.resource.as_str().chars().map(safe).collect();
    // Names that differ only in what is not safe must not meet.
    let sum = context
        .resource
        .as_str()
        .bytes()
        .fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("ha-block-{}-{sum:08x}", name.chars().take(80).collect::<String>())
}

/// Runs `nft`.
async fn nft(context: &OpContext, args: &[&str]) -> Result<Result<String, Failed>, AgentError> {
    call(context, "nft", args, Guard::Nobody).await
}

/// How `nft` ended as an answer.
fn answer(done: Result<String, Failed>) -> Report {
    match done {
        Ok(_) => Report::success(),
        Err(Failed::Missing) => {
            Report::new(Outcome::NotInstalled, "this node has no program nft; install nftables")
        }
        Err(Failed::Said(said)) if said.contains("Operation not permitted") => {
            Report::new(Outcome::NoPermission, format!("{said}; it needs CAP_NET_ADMIN"))
        }
        Err(Failed::Said(said)) => Report::new(Outcome::GenericError, said),
    }
}

#[async_trait]
impl ResourceAgent for BlockPort {
    async fn start(&self, context: &OpContext) -> OpResult {
        let work = async {
            let rules = self.rules(&table(context)).to_string();
            Ok(answer(nft(context, &["-j", &rules]).await?))
        };
        context.limit("start", work).await
    }

    async fn stop(&self, context: &OpContext) -> OpResult {
        let work = async {
            Ok(match nft(context, &["delete", "table", "inet", &table(context)]).await? {
                Err(Failed::Said(said)) if said.contains(ABSENT) => Report::success(),
                // Without the program nothing of it can be there.
                Err(Failed::Missing) => Report::success(),
                done => answer(done),
            })
        };
        context.limit("stop", work).await
    }

    async fn monitor(&self, context: &OpContext, _check: Check) -> OpResult {
        let work = async {
            Ok(match self.is_there(context).await? {
                Ok(true) => Report::success(),
                Ok(false) => Report::new(Outcome::NotRunning, ""),
                Err(report) => report,
            })
        };
        context.limit("monitor", work).await
    }

    fn metadata(&self) -> Metadata {
        let parameters = [
            ("protocol", "tcp or udp", Some("tcp")),
            ("ports", "a port, or a range of them, such as 8000-8010", None),
            ("address", "the address of this node whose ports are blocked", Some("all")),
            ("reset", "whether clients are told by a TCP reset", Some("false")),
        ];
        described("block-port", "Blocks a port for packets that come in", &parameters)
    }
}
