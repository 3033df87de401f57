//! Options and meta-attributes: their names and values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::{FindingKind, Findings, Severity, quote};
use super::known::{
    self, CLUSTER_OPTIONS, Known, OPERATION_ATTRIBUTES, RESOURCE_META, Scope, Values,
};
use super::nearest::nearest;
use super::remark::{give, unread};
use super::scene::{ItemKind, Scene};
use crate::cib::{AttributeSet, CibResource, Cloned, Operations, Pair, Primitive};

/// What sets belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Cluster,
    Clone,
    Defaults,
    Operation,
    Other,
    Primitive,
}

impl Owner {
    const fn table(self) -> &'static [Known] {
        match self {
            Self::Cluster => CLUSTER_OPTIONS,
            Self::Operation => OPERATION_ATTRIBUTES,
            Self::Clone | Self::Defaults | Self::Other | Self::Primitive => RESOURCE_META,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Cluster => "cluster option",
            Self::Operation => "attribute of operations",
            Self::Clone | Self::Defaults | Self::Other | Self::Primitive => "meta-attribute",
        }
    }
}

/// The set of options that tools write to.
const TOOLS_SET: &str = "cib-bootstrap-options";

struct Walk<'f> {
    findings: &'f mut Findings,
    /// Sets that several refer to are looked at once.
    seen: BTreeSet<(usize, Owner)>,
    seen_operations: BTreeSet<usize>,
}

pub(super) fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let cib = scene.cib;
    let mut walk = Walk { findings, seen: BTreeSet::new(), seen_operations: BTreeSet::new() };
    walk.sets(&cib.options, Owner::Cluster);
    walk.sets(&cib.resource_defaults, Owner::Defaults);
    walk.sets(&cib.operation_defaults, Owner::Operation);
    for template in &cib.templates {
        walk.primitive(template, Owner::Other);
    }
    for resource in &cib.resources {
        match resource {
            CibResource::Bundle(bundle) => walk.sets(&bundle.meta, Owner::Other),
            CibResource::Clone(set) => {
                walk.sets(&set.meta, Owner::Clone);
                if let Some(Cloned::Group(group)) = &set.inner {
                    walk.sets(&group.meta, Owner::Other);
                }
            }
            CibResource::Group(group) => walk.sets(&group.meta, Owner::Other),
            CibResource::Primitive(_) => {}
        }
    }
    for item in &scene.items {
        let in_clone = item.parent.and_then(|parent| scene.item(parent));
        let in_clone = in_clone.is_some_and(|parent| parent.kind != ItemKind::Group);
        // What is on the inside of a clone was often written for the clone, and is taken as such.
        let owner = if in_clone { Owner::Other } else { Owner::Primitive };
        if let Some(primitive) = item.primitive {
            walk.primitive(primitive, owner);
        }
    }
}

impl Walk<'_> {
    fn primitive(&mut self, primitive: &Primitive, owner: Owner) {
        self.sets(&primitive.meta, owner);
        for operations in &primitive.operations {
            self.operations(operations);
        }
    }

    fn operations(&mut self, operations: &Arc<Operations>) {
        if self.seen_operations.insert(Arc::as_ptr(operations).addr()) {
            for operation in &operations.operations {
                self.sets(&operation.meta, Owner::Operation);
            }
        }
    }

    fn sets(&mut self, sets: &[Arc<AttributeSet>], owner: Owner) {
        for set in sets {
            if self.seen.insert((Arc::as_ptr(set).addr(), owner)) {
                self.set(set, owner);
            }
        }
    }

    fn set(&mut self, set: &AttributeSet, owner: Owner) {
        let mut before: BTreeMap<&str, &Pair> = BTreeMap::new();
        for pair in &set.pairs {
            if let Some(first) = before.get(&*pair.name) {
                let what = format!("{} is given twice in this set", quote(&pair.name));
                let remedy = format!("keep one of them; the first is at {}", first.spot);
                let is_same = first.value == pair.value;
                let severity = if is_same { Severity::Hint } else { Severity::Warning };
                let (kind, place) = (FindingKind::SettingsContradict, set.place_of(pair));
                self.findings.add(severity, kind, place, what, remedy);
            } else {
                before.insert(&pair.name, pair);
            }
            match known::find(owner.table(), &pair.name) {
                Some(known) => self.known(set, pair, known, owner),
                None => self.unknown(set, pair, owner),
            }
        }
    }

    fn unknown(&mut self, set: &AttributeSet, pair: &Pair, owner: Owner) {
        let name = &*pair.name;
        let names = owner.table().iter().filter(|known| !known.is_gone);
        let names = names.flat_map(|known| known.former.iter().copied().chain([known.name]));
        let value = quote(pair.value.as_deref().unwrap_or_default());
        let what = format!(
            "no {} {} is known, so its value {value} has no effect",
            owner.what(),
            quote(name)
        );
        match nearest(name, names) {
            Some(near) => {
                let remedy = format!("did you mean {near}?");
                self.findings.warn(FindingKind::UnknownName, set.place_of(pair), what, remedy);
            }
            // Agents keep what they must remember in sets of their own.
            None if owner == Owner::Cluster && set.id.as_deref() != Some(TOOLS_SET) => {}
            None => {
                let remedy = "leave it if an agent or a tool keeps it here".to_owned();
                self.findings.hint(FindingKind::UnknownName, set.place_of(pair), what, remedy);
            }
        }
    }

    fn known(&mut self, set: &AttributeSet, pair: &Pair, known: &Known, owner: Owner) {
        let place = || set.place_of(pair);
        if known.is_gone {
            let what = format!("{} has no effect any more", quote(&pair.name));
            let remedy = format!("use {}", known.purpose);
            self.findings.hint(FindingKind::Obsolete, place(), what, remedy);
            return;
        }
        if known.scope == Scope::Clones && owner == Owner::Primitive {
            let what = format!("{} has no effect on what is no clone", quote(known.name));
            let remedy = "give it to the clone, or take it out".to_owned();
            self.findings.hint(FindingKind::NoEffect, place(), what, remedy);
        }
        let Some(value) = pair.value.as_deref() else { return };
        let Err(allowed) = known.values.check(value) else { return };
        let words = known.values.words().iter().copied();
        let remedy = give(nearest(value, words), &allowed);
        if is_whole(known.values, value) {
            let what = format!("the value {} is a whole number with a fraction", quote(value));
            self.findings.hint(FindingKind::Value, place(), what, "leave out the fraction".into());
            return;
        }
        let default = known.default.map(|default| format!(", and {default} is used"));
        let default = default.unwrap_or_default();
        let what = format!("{}: {}{default}", known.name, unread(value));
        self.findings.error(FindingKind::Value, place(), what, remedy);
    }
}

/// Whether it is a whole number that is written with a fraction, such as `1.0`.
fn is_whole(values: Values, text: &str) -> bool {
    let Some((whole, fraction)) = text.split_once('.') else { return false };
    let is_zero = !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0');
    is_zero && values.check(whole).is_ok()
}
