//! What a rule is judged by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ha_core::time::WallTime;

use super::cut;

/// Values by name: the attributes of a node, the parameters or the meta-attributes of a resource.
pub trait Lookup: fmt::Debug {
    /// The value of that name, if there is one.
    fn value(&self, name: &str) -> Option<&str>;
}

impl Lookup for BTreeMap<String, String> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }
}

impl Lookup for BTreeMap<&str, &str> {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).copied()
    }
}

/// What a rule is judged by: the time, and what the place that holds the rule knows.
///
/// What is not given is unknown: without a node no attribute expression holds (not even
/// `not_defined`), without an operation no operation expression, without an agent no resource
/// expression. Without parameters or meta-attributes the values taken from them are missing.
///
/// The node's lookup must also know the built-in attributes: `#uname`, `#id`, `#kind`, `#is_dc`,
/// `#cluster-name`, `#site-name`, and `#role` where it makes sense.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Facts<'a> {
    pub(super) now: WallTime,
    pub(super) node: Option<&'a dyn Lookup>,
    pub(super) parameters: Option<&'a dyn Lookup>,
    pub(super) meta: Option<&'a dyn Lookup>,
    pub(super) operation: Option<(&'a str, Duration)>,
    pub(super) agent: Option<Agent<'a>>,
    pub(super) matches: &'a [&'a str],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Agent<'a> {
    pub(super) class: &'a str,
    pub(super) provider: Option<&'a str>,
    pub(super) kind: &'a str,
}

impl fmt::Display for Agent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = cut(self.provider.unwrap_or_default());
        write!(f, "{}:{provider}:{}", cut(self.class), cut(self.kind))
    }
}

impl<'a> Facts<'a> {
    /// Nothing is known but the time.
    pub const fn at(now: WallTime) -> Self {
        Self {
            now,
            node: None,
            parameters: None,
            meta: None,
            operation: None,
            agent: None,
            matches: &[],
        }
    }

    /// The attributes of the node in question, the built-in ones among them.
    pub const fn node(mut self, attributes: &'a dyn Lookup) -> Self {
        self.node = Some(attributes);
        self
    }

    /// The parameters of the resource in question.
    pub const fn parameters(mut self, parameters: &'a dyn Lookup) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// The meta-attributes of the resource in question.
    pub const fn meta(mut self, meta: &'a dyn Lookup) -> Self {
        self.meta = Some(meta);
        self
    }

    /// The operation in question; the interval is 0 if it is not repeated.
    pub const fn operation(mut self, name: &'a str, interval: Duration) -> Self {
        self.operation = Some((name, interval));
        self
    }

    /// The agent of the resource in question, such as `ocf`, `heartbeat`, `IPaddr2`.
    pub const fn agent(mut self, class: &'a str, provider: Option<&'a str>, kind: &'a str) -> Self {
        self.agent = Some(Agent { class, provider, kind });
        self
    }

    /// What the `rsc-pattern` of the constraint matched: the whole first, then its groups; they
    /// stand for `%0` to `%9` in the names of attributes.
    pub const fn matches(mut self, matches: &'a [&'a str]) -> Self {
        self.matches = matches;
        self
    }

    /// `name` with `%0` to `%9` replaced, if a pattern matched; a group that did not is empty.
    pub(super) fn expand<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.matches.is_empty() || !name.contains('%') {
            return Cow::Borrowed(name);
        }
        let mut expanded = String::with_capacity(name.len());
        let mut rest = name.chars().peekable();
        while let Some(c) = rest.next() {
            match rest.peek().and_then(|next| next.to_digit(10)) {
                Some(digit) if c == '%' => {
                    rest.next();
                    let group = usize::try_from(digit).ok().and_then(|at| self.matches.get(at));
                    expanded.push_str(group.copied().unwrap_or_default());
                }
                Some(_) | None => expanded.push(c),
            }
        }
        Cow::Owned(expanded)
    }
}
