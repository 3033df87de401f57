//! What holds between resources and nodes.

use std::sync::Arc;

use super::colocation::Colocation;
use super::location::Location;
use super::note::Place;
use super::order::Order;
use super::reader::{Reader, Xml, elements};
use super::resource_set::ResourceSet;
use super::rule::RuleElement;
use super::ticket::Ticket;

/// A constraint. Names of resources may be those of templates and tags, too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CibConstraint {
    /// With whom.
    Colocation(Box<Colocation>),
    /// Where.
    Location(Box<Location>),
    /// After whom.
    Order(Box<Order>),
    /// Only with a ticket.
    Ticket(Box<Ticket>),
}

impl CibConstraint {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        match node.tag_name().name() {
            "rsc_colocation" => Colocation::read(cx, node).map(Box::new).map(Self::Colocation),
            "rsc_location" => Location::read(cx, node).map(Box::new).map(Self::Location),
            "rsc_order" => Order::read(cx, node).map(Box::new).map(Self::Order),
            "rsc_ticket" => Ticket::read(cx, node).map(Box::new).map(Self::Ticket),
            _ => {
                cx.unknown_element(node);
                None
            }
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        match self {
            Self::Colocation(colocation) => &colocation.id,
            Self::Location(location) => &location.id,
            Self::Order(order) => &order.id,
            Self::Ticket(ticket) => &ticket.id,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn place(&self) -> &Place {
        match self {
            Self::Colocation(colocation) => &colocation.place,
            Self::Location(location) => &location.place,
            Self::Order(order) => &order.place,
            Self::Ticket(ticket) => &ticket.place,
        }
    }
}

/// Reads sets and lifetimes, which all constraints may have.
pub(super) fn read_sets<'a>(
    cx: &mut Reader<'a>,
    node: Xml<'a>,
    sets: &mut Vec<Arc<ResourceSet>>,
    lifetime: &mut Vec<Arc<RuleElement>>,
) {
    for child in elements(node) {
        match child.tag_name().name() {
            "resource_set" => sets.extend(ResourceSet::read(cx, child)),
            "lifetime" => read_lifetime(cx, child, lifetime),
            _ => cx.unknown_element(child),
        }
    }
}

/// Reads when a constraint holds.
pub(super) fn read_lifetime<'a>(
    cx: &mut Reader<'a>,
    node: Xml<'a>,
    into: &mut Vec<Arc<RuleElement>>,
) {
    for child in elements(node) {
        match child.tag_name().name() {
            "rule" => into.extend(RuleElement::read(cx, child)),
            _ => cx.unknown_element(child),
        }
    }
}
