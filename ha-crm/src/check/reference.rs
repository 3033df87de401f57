//! Names in constraints, tags and templates that stand for nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use ha_core::role::Role;

use super::finding::{FindingKind, Findings, list, quote};
use super::nearest::nearest;
use super::scene::Scene;
use crate::cib::{CibConstraint, OrderAction, Place, ResourceSet};

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let cib = scene.cib;
    let configured = cib.nodes.iter().flat_map(|node| &node.attributes);
    let passing = cib.node_states.iter().flat_map(|state| &state.attributes);
    let mut sets = BTreeSet::new();
    let sets = configured.chain(passing).filter(|set| sets.insert(Arc::as_ptr(set).addr()));
    let named = cib.constraints.iter().filter_map(|constraint| match constraint {
        CibConstraint::Ticket(one) => one.ticket.as_deref(),
        CibConstraint::Colocation(_) | CibConstraint::Location(_) | CibConstraint::Order(_) => None,
    });
    let mut walk = Names {
        scene,
        attributes: sets.flat_map(|set| &set.pairs).map(|pair| &*pair.name).collect(),
        seen_tickets: cib.ticket_states.iter().map(|state| &*state.id).collect(),
        named_tickets: named.collect(),
        findings,
    };
    for constraint in &scene.cib.constraints {
        walk.constraint(constraint);
    }
    walk.templates();
    walk.tags();
}

struct Names<'s, 'a, 'f> {
    scene: &'s Scene<'a>,
    /// Attributes that any node has.
    attributes: BTreeSet<&'a str>,
    /// Tickets that were seen, and those that constraints name.
    seen_tickets: BTreeSet<&'a str>,
    named_tickets: BTreeSet<&'a str>,
    findings: &'f mut Findings,
}

impl Names<'_, '_, '_> {
    fn constraint(&mut self, constraint: &CibConstraint) {
        match constraint {
            CibConstraint::Colocation(one) => {
                self.resource(&one.place, "rsc", one.rsc.as_ref());
                self.resource(&one.place, "with-rsc", one.with_rsc.as_ref());
                self.role(&one.place, "rsc-role", one.rsc.as_ref(), one.rsc_role);
                self.role(&one.place, "with-rsc-role", one.with_rsc.as_ref(), one.with_rsc_role);
                self.sets(&one.place, &one.sets);
                self.attribute(&one.place, one.node_attribute.as_ref());
                let both = one.rsc.is_some() && one.rsc == one.with_rsc;
                if both && one.rsc_role == one.with_rsc_role {
                    let what = format!("{} is to be with itself", quote_or(one.rsc.as_ref()));
                    let kind = FindingKind::ColocationLoop;
                    self.findings.warn(kind, one.place.clone(), what, mend());
                }
            }
            CibConstraint::Location(one) => {
                self.resource(&one.place, "rsc", one.rsc.as_ref());
                self.role(&one.place, "role", one.rsc.as_ref(), one.role);
                for rule in &one.rules {
                    self.role(&rule.rule.place, "role", one.rsc.as_ref(), rule.role);
                }
                self.members(&one.sets);
                self.node(&one.place, one.node.as_ref());
            }
            CibConstraint::Order(one) => {
                self.resource(&one.place, "first", one.first.as_ref());
                self.resource(&one.place, "then", one.then.as_ref());
                self.action(&one.place, "first-action", one.first.as_ref(), one.first_action);
                self.action(&one.place, "then-action", one.then.as_ref(), one.then_action);
                self.sets(&one.place, &one.sets);
            }
            CibConstraint::Ticket(one) => {
                self.resource(&one.place, "rsc", one.rsc.as_ref());
                self.role(&one.place, "rsc-role", one.rsc.as_ref(), one.rsc_role);
                self.members(&one.sets);
                self.ticket(&one.place, one.ticket.as_ref());
            }
        }
    }

    fn resource(&mut self, place: &Place, attribute: &str, name: Option<&Arc<str>>) {
        let Some(name) = name.filter(|name| !self.scene.is_resource(name)) else { return };
        let near = self.near(name);
        let what = format!(
            "no resource, template or tag has the id {}, so the constraint has no \
             effect",
            quote(name)
        );
        let kind = FindingKind::UnknownResource;
        self.findings.error(kind, place.attribute(attribute), what, near);
    }

    /// What was probably meant; names are compared as long as that is not too much work.
    fn near(&self, name: &str) -> String {
        let names = self.scene.resource_names();
        let near = self.scene.spend(self.scene.items.len()).then(|| nearest(name, names)).flatten();
        match near {
            Some(near) => format!("did you mean {near}?"),
            None => mend(),
        }
    }

    fn sets(&mut self, place: &Place, sets: &[Arc<ResourceSet>]) {
        self.members(sets);
        if let [only] = sets
            && only.members.len() == 1
        {
            let what = format!(
                "the only set has one member, {}, so it joins nothing",
                list(only.members.iter().map(|name| &**name))
            );
            let remedy = "add members or another set, or take it out".to_owned();
            self.findings.hint(FindingKind::SetSize, place.clone(), what, remedy);
        }
    }

    fn members(&mut self, sets: &[Arc<ResourceSet>]) {
        for set in sets.iter().filter(|set| self.scene.spend(set.members.len())) {
            if set.members.is_empty() {
                let what = "the set has no members, so it has no effect".to_owned();
                let remedy = "add members, or take it out".to_owned();
                self.findings.warn(FindingKind::SetSize, set.place.clone(), what, remedy);
            }
            for name in &set.members {
                if !self.scene.is_resource(name) {
                    let what = format!("no resource, template or tag has the id {}", quote(name));
                    let (kind, near) = (FindingKind::UnknownResource, self.near(name));
                    self.findings.error(kind, member(set, name), what, near);
                }
                self.role(&set.place, "role", Some(name), set.role);
                self.action(&set.place, "action", Some(name), set.action);
            }
        }
    }

    fn role(
        &mut self,
        place: &Place,
        attribute: &str,
        name: Option<&Arc<str>>,
        role: Option<Role>,
    ) {
        let Some(role @ (Role::Promoted | Role::Unpromoted)) = role else { return };
        let Some(name) = name.filter(|name| self.is_plain(name)) else { return };
        let what = format!(
            "{} is not promotable, so it never has the role {}",
            quote(name),
            super::role_name(role)
        );
        let remedy = "take the role out, or make it a clone with promotable=true".to_owned();
        self.findings.warn(FindingKind::Role, place.attribute(attribute), what, remedy);
    }

    fn action(
        &mut self,
        place: &Place,
        attribute: &str,
        name: Option<&Arc<str>>,
        action: Option<OrderAction>,
    ) {
        let Some(action @ (OrderAction::Promote | OrderAction::Demote)) = action else { return };
        let Some(name) = name.filter(|name| self.is_plain(name)) else { return };
        let what = format!("{} is not promotable, so there is no {action} of it", quote(name));
        let remedy = "order its start or stop, or make it a clone with promotable=true".to_owned();
        self.findings.warn(FindingKind::Role, place.attribute(attribute), what, remedy);
    }

    /// Whether none of what the name stands for has roles.
    fn is_plain(&self, name: &str) -> bool {
        let items = self.scene.resolve(name);
        let mut items = items.iter().filter_map(|index| self.scene.item(*index)).peekable();
        items.peek().is_some() && items.all(|item| !item.is_promotable)
    }

    fn node(&mut self, place: &Place, name: Option<&Arc<str>>) {
        let Some(name) = name.filter(|name| !self.scene.is_node(name)) else { return };
        let can = self.scene.spend(self.scene.nodes.len());
        let near = can.then(|| nearest(name, self.scene.nodes.iter().copied())).flatten();
        let near = near.map(|near| format!("did you mean {near}? ")).unwrap_or_default();
        let what = format!("no node is called {}, so the location has no effect", quote(name));
        let remedy = format!("{near}nodes are {}", self.scene.shown_nodes);
        self.findings.warn(FindingKind::UnknownNode, place.attribute("node"), what, remedy);
    }

    fn attribute(&mut self, place: &Place, name: Option<&Arc<str>>) {
        let Some(name) = name.filter(|name| !name.starts_with('#')) else { return };
        if !self.attributes.contains(&**name) {
            let what =
                format!("no node has an attribute {}, so all nodes count as alike", quote(name));
            let remedy = "give it to the nodes, or mend its name".to_owned();
            let (kind, place) = (FindingKind::UnknownName, place.attribute("node-attribute"));
            self.findings.warn(kind, place, what, remedy);
        }
    }

    fn ticket(&mut self, place: &Place, name: Option<&Arc<str>>) {
        // A ticket that was never granted has no state: only one that is nearly called as one that
        // no constraint names is suspicious.
        let Some(name) = name.filter(|name| !self.seen_tickets.contains(&***name)) else { return };
        if !self.scene.spend(self.seen_tickets.len()) {
            return;
        }
        if let Some(near) =
            nearest(name, self.seen_tickets.difference(&self.named_tickets).copied())
        {
            let what = format!("no ticket {} was ever seen here", quote(name));
            let (kind, place) = (FindingKind::UnknownTicket, place.attribute("ticket"));
            self.findings.hint(kind, place, what, format!("did you mean {near}?"));
        }
    }

    fn templates(&mut self) {
        let primitives = self.scene.items.iter().filter_map(|item| item.primitive);
        for primitive in primitives {
            let Some(name) = &primitive.template else { continue };
            if self.scene.templates.contains_key(&**name) {
                continue;
            }
            let names = self.scene.templates.keys().copied();
            let can = self.scene.spend(self.scene.templates.len());
            let near = can.then(|| nearest(name, names)).flatten();
            let what = format!("there is no template {}, so its agent is not known", quote(name));
            let remedy = near.map_or_else(mend, |near| format!("did you mean {near}?"));
            let place = primitive.place.attribute("template");
            self.findings.error(FindingKind::UnknownResource, place, what, remedy);
        }
    }

    fn tags(&mut self) {
        let cib = self.scene.cib;
        let constraints = cib.constraints.iter().map(|constraint| &**constraint.id());
        let levels = cib.fencing_levels.iter().filter_map(|level| level.id.as_deref());
        let sets = cib.options.iter().chain(&cib.resource_defaults).chain(&cib.operation_defaults);
        let others: BTreeSet<&str> =
            constraints.chain(levels).chain(sets.filter_map(|set| set.id.as_deref())).collect();
        for tag in &cib.tags {
            for name in &tag.references {
                if self.scene.is_node(name) || others.contains(&**name) {
                    continue;
                }
                let what = format!("the tag refers to {}, which there is not", quote(name));
                let mut place = tag.place.clone();
                place.path = format!("{}/obj_ref[@id='{name}']", place.path).into();
                let near = self.near(name);
                self.findings.warn(FindingKind::UnknownResource, place, what, near);
            }
        }
    }
}

fn member(set: &ResourceSet, name: &str) -> Place {
    let mut place = set.place.clone();
    place.path = format!("{}/resource_ref[@id='{name}']", place.path).into();
    place
}

fn mend() -> String {
    "mend the name, or take it out".to_owned()
}

fn quote_or(name: Option<&Arc<str>>) -> String {
    quote(name.map_or("", |name| name))
}
