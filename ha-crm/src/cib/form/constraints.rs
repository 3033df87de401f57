//! Constraints, by their kind.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cib::colocation::Colocation;
use crate::cib::constraint::CibConstraint;
use crate::cib::location::Location;
use crate::cib::order::Order;
use crate::cib::ticket::Ticket;

#[derive(Serialize)]
struct Written<'c> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    location: Vec<&'c Location>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    colocation: Vec<&'c Colocation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    order: Vec<&'c Order>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ticket: Vec<&'c Ticket>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(default)]
    location: Vec<Location>,
    #[serde(default)]
    colocation: Vec<Colocation>,
    #[serde(default)]
    order: Vec<Order>,
    #[serde(default)]
    ticket: Vec<Ticket>,
}

pub(in crate::cib) fn serialize<S: Serializer>(
    constraints: &[CibConstraint],
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut written =
        Written { location: vec![], colocation: vec![], order: vec![], ticket: vec![] };
    for constraint in constraints {
        match constraint {
            CibConstraint::Colocation(one) => written.colocation.push(one),
            CibConstraint::Location(one) => written.location.push(one),
            CibConstraint::Order(one) => written.order.push(one),
            CibConstraint::Ticket(one) => written.ticket.push(one),
        }
    }
    written.serialize(to)
}

pub(in crate::cib) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<CibConstraint>, D::Error> {
    let Read { location, colocation, order, ticket } = Read::deserialize(from)?;
    let location = location.into_iter().map(Box::new).map(CibConstraint::Location);
    let colocation = colocation.into_iter().map(Box::new).map(CibConstraint::Colocation);
    let order = order.into_iter().map(Box::new).map(CibConstraint::Order);
    let ticket = ticket.into_iter().map(Box::new).map(CibConstraint::Ticket);
    Ok(location.chain(colocation).chain(order).chain(ticket).collect())
}
