//! Constraints.

use std::sync::Arc;

use super::{Out, Seen, Tag};
use crate::cib::colocation::Colocation;
use crate::cib::constraint::CibConstraint;
use crate::cib::location::Location;
use crate::cib::order::Order;
use crate::cib::resource_set::ResourceSet;
use crate::cib::rule::RuleElement;
use crate::cib::ticket::Ticket;

impl<'c> Out<'c> {
    pub(super) fn constraint(&mut self, constraint: &'c CibConstraint) {
        match constraint {
            CibConstraint::Colocation(one) => self.colocation(one),
            CibConstraint::Location(one) => self.location(one),
            CibConstraint::Order(one) => self.order(one),
            CibConstraint::Ticket(one) => self.ticket(one),
        }
    }

    fn location(&mut self, one: &'c Location) {
        let tag = Tag::new("rsc_location")
            .text("id", Some(&one.id))
            .text("rsc", one.rsc.as_deref())
            .value("rsc-pattern", one.pattern.as_ref())
            .text("role", self.role(one.role).as_deref())
            .text("node", one.node.as_deref())
            .value("score", one.score.as_ref())
            .value("resource-discovery", one.discovery.as_ref());
        if one.rules.is_empty() && one.sets.is_empty() && one.lifetime.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        self.resource_sets(&one.sets, &one.id);
        for rule in &one.rules {
            self.location_rule(rule, &one.id);
        }
        self.lifetime(&one.lifetime, &one.id);
        self.close("rsc_location");
    }

    fn colocation(&mut self, one: &'c Colocation) {
        let tag = Tag::new("rsc_colocation")
            .text("id", Some(&one.id))
            .text("rsc", one.rsc.as_deref())
            .text("rsc-role", self.role(one.rsc_role).as_deref())
            .text("with-rsc", one.with_rsc.as_deref())
            .text("with-rsc-role", self.role(one.with_rsc_role).as_deref())
            .value("score", one.score.as_ref())
            .text("node-attribute", one.node_attribute.as_deref())
            .value("influence", one.influence.as_ref());
        self.with_sets("rsc_colocation", tag, (&one.sets, &one.lifetime), &one.id);
    }

    fn order(&mut self, one: &'c Order) {
        let tag = Tag::new("rsc_order")
            .text("id", Some(&one.id))
            .text("first", one.first.as_deref())
            .value("first-action", one.first_action.as_ref())
            .text("then", one.then.as_deref())
            .value("then-action", one.then_action.as_ref())
            .value("kind", one.kind.as_ref())
            .value("score", one.score.as_ref())
            .value("symmetrical", one.symmetrical.as_ref())
            .value("require-all", one.require_all.as_ref());
        self.with_sets("rsc_order", tag, (&one.sets, &one.lifetime), &one.id);
    }

    fn ticket(&mut self, one: &'c Ticket) {
        let tag = Tag::new("rsc_ticket")
            .text("id", Some(&one.id))
            .text("rsc", one.rsc.as_deref())
            .text("rsc-role", self.role(one.rsc_role).as_deref())
            .text("ticket", one.ticket.as_deref())
            .value("loss-policy", one.loss_policy.as_ref());
        self.with_sets("rsc_ticket", tag, (&one.sets, &one.lifetime), &one.id);
    }

    /// A constraint with its sets and lifetime.
    fn with_sets(
        &mut self,
        element: &str,
        tag: Tag,
        (sets, lifetime): (&'c [Arc<ResourceSet>], &'c [Arc<RuleElement>]),
        id: &str,
    ) {
        if sets.is_empty() && lifetime.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        self.resource_sets(sets, id);
        self.lifetime(lifetime, id);
        self.close(element);
    }

    fn lifetime(&mut self, rules: &'c [Arc<RuleElement>], of: &str) {
        if rules.is_empty() {
            return;
        }
        self.open(Tag::new("lifetime"));
        for rule in rules {
            self.rule(rule, of);
        }
        self.close("lifetime");
    }

    fn resource_sets(&mut self, sets: &'c [Arc<ResourceSet>], of: &str) {
        for set in sets {
            if self.is_known("resource_set", set.id.as_ref(), Seen::ResourceSet(set)) {
                self.empty(Tag::new("resource_set").text("id-ref", set.id.as_deref()));
                continue;
            }
            let id = self.id(set.id.as_ref(), &format!("{of}-set"));
            let tag = Tag::new("resource_set")
                .text("id", Some(&id))
                .value("sequential", set.sequential.as_ref())
                .value("require-all", set.require_all.as_ref())
                .value("ordering", set.ordering.as_ref())
                .value("action", set.action.as_ref())
                .text("role", self.role(set.role).as_deref())
                .value("score", set.score.as_ref());
            if set.members.is_empty() {
                self.empty(tag);
                continue;
            }
            self.open(tag);
            for member in &set.members {
                self.empty(Tag::new("resource_ref").text("id", Some(member)));
            }
            self.close("resource_set");
        }
    }
}
