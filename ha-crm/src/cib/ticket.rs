//! What needs a ticket.

use std::sync::Arc;

use ha_core::role::Role;
use serde::{Deserialize, Serialize};

use super::constraint::read_sets;
use super::form;
use super::note::Place;
use super::reader::{Reader, Xml};
use super::resource_set::ResourceSet;
use super::rule::RuleElement;
use super::value::words;

/// What needs a ticket (`rsc_ticket`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Ticket {
    /// Its id.
    pub id: Arc<str>,
    /// Who needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rsc: Option<Arc<str>>,
    /// In which role.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub rsc_role: Option<Role>,
    /// The ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Arc<str>>,
    /// What is done without it.
    #[serde(default, with = "form::option", skip_serializing_if = "Option::is_none")]
    pub loss_policy: Option<LossPolicy>,
    /// Sets in place of a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<Arc<ResourceSet>>,
    /// When it holds at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifetime: Vec<Arc<RuleElement>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

words! {
    /// What is done when a ticket is lost.
    LossPolicy {
        /// The resources are stopped.
        Stop = "stop",
        /// They are demoted.
        Demote = "demote",
        /// Their nodes are fenced.
        Fence = "fence",
        /// Nothing is done to them.
        Freeze = "freeze",
    }
}

impl Ticket {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "rsc" => read.rsc = cx.text(&attribute),
                "rsc-role" => read.rsc_role = cx.value(node, &attribute),
                "ticket" => read.ticket = cx.text(&attribute),
                "loss-policy" => read.loss_policy = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        read_sets(cx, node, &mut read.sets, &mut read.lifetime);
        if read.ticket.is_none() {
            cx.missing(node, "ticket");
        }
        if read.sets.is_empty() && read.rsc.is_none() {
            cx.missing(node, "rsc");
        }
        Some(read)
    }
}
