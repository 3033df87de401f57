//! Locations that contradict each other, and resources that may run nowhere.
//!
//! What is certain counts alone: locations without a role and without a lifetime; of rules those
//! that can be judged from names of nodes and lasting attributes that at least one node has. A
//! resource that it cannot be said of is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ha_core::role::Role;
use ha_core::time::WallTime;

use super::finding::{FindingKind, Findings, list, quote};
use super::scene::{Item, ItemKind, Scene};
use crate::cib::{
    CibConstraint, CibValue, Discovery, Location, LocationRule, NodeKind, RuleElement,
};
use crate::model::Score;
use crate::model::rule::Facts;

/// What is known of a resource's places.
#[derive(Debug, Default)]
struct Sites<'a> {
    /// Nodes it must not be on, and by which location.
    banned: BTreeMap<&'a str, usize>,
    /// Nodes it may be on where nothing is allowed by itself.
    allowed: BTreeSet<&'a str>,
    /// Something could not be judged that may allow a node.
    is_open: bool,
}

type Attributes<'a> = BTreeMap<&'a str, &'a str>;

struct Walk<'s, 'a> {
    scene: &'s Scene<'a>,
    nodes: BTreeMap<&'a str, Attributes<'a>>,
    lasting: BTreeSet<&'a str>,
    sites: BTreeMap<usize, Sites<'a>>,
    /// By resource, role and node: the first location with infinity, and with minus infinity.
    extremes: BTreeMap<(usize, u8, &'a str), [Option<usize>; 2]>,
    is_symmetric: bool,
}

/// Nodes from which a resource is banned for certain.
pub(super) type Bans<'a> = BTreeMap<usize, BTreeSet<&'a str>>;

/// Checks locations; returns which resources must not be where.
pub(super) fn check<'a>(scene: &Scene<'a>, findings: &mut Findings) -> Bans<'a> {
    let mut walk = Walk {
        scene,
        nodes: scene.nodes.iter().map(|node| (*node, Attributes::new())).collect(),
        lasting: BTreeSet::new(),
        sites: BTreeMap::new(),
        extremes: BTreeMap::new(),
        is_symmetric: scene.flag("symmetric-cluster"),
    };
    walk.read_attributes();
    for (number, constraint) in scene.cib.constraints.iter().enumerate() {
        match constraint {
            CibConstraint::Location(location) => {
                scores(location, findings);
                walk.location(number, location);
            }
            CibConstraint::Colocation(_) | CibConstraint::Order(_) | CibConstraint::Ticket(_) => {}
        }
    }
    walk.contradictions(findings);
    walk.nowhere(findings);
    let bans = walk.sites.into_iter().filter(|(_, sites)| !sites.banned.is_empty());
    bans.map(|(item, sites)| (item, sites.banned.into_keys().collect())).collect()
}

/// Scores in two places.
fn scores(location: &Location, findings: &mut Findings) {
    if location.rules.is_empty() || (location.score.is_none() && location.node.is_none()) {
        return;
    }
    let what = "it has rules, so the node and the score beside them have no effect".to_owned();
    let remedy = "say where and how much in the rules alone".to_owned();
    findings.warn(FindingKind::LocationScore, location.place.clone(), what, remedy);
}

impl<'a> Walk<'_, 'a> {
    fn read_attributes(&mut self) {
        for node in &self.scene.cib.nodes {
            let name = node.uname.as_deref().unwrap_or(&node.id);
            let Some(known) = self.nodes.get_mut(name) else { continue };
            let kind = if node.kind == Some(NodeKind::Remote) { "remote" } else { "cluster" };
            known.extend([("#uname", name), ("#id", &*node.id), ("#kind", kind)]);
            for set in node.attributes.iter().filter(|set| set.rules.is_empty()) {
                if !self.scene.spend(set.pairs.len()) {
                    break;
                }
                for pair in &set.pairs {
                    if let Some(value) = pair.value.as_deref() {
                        known.entry(&pair.name).or_insert(value);
                        self.lasting.insert(&pair.name);
                    }
                }
            }
        }
        // What may change while the cluster runs is not judged by.
        for state in &self.scene.cib.node_states {
            for set in state.attributes.iter().filter(|set| self.scene.spend(set.pairs.len())) {
                for pair in &set.pairs {
                    self.lasting.remove(&*pair.name);
                }
            }
        }
        for (name, known) in &mut self.nodes {
            // Those that are not listed are remote nodes by their resource, or guests.
            let kind = if self.scene.find(name).is_some() { "remote" } else { "container" };
            known.entry("#uname").or_insert(name);
            known.entry("#kind").or_insert(kind);
        }
    }

    fn location(&mut self, number: usize, location: &'a Location) {
        if !location.lifetime.is_empty() {
            return self.open(location);
        }
        if location.pattern.is_some() {
            return self.open_all();
        }
        let mut marks: Vec<(&'a str, Score, Option<Role>)> = Vec::new();
        let mut is_open = false;
        if location.rules.is_empty() {
            let node = location.node.as_deref();
            let node = node.and_then(|node| self.scene.nodes.get(node).copied());
            marks.extend(node.zip(location.score).map(|(n, score)| (n, score, location.role)));
            is_open = node.is_none() || location.score.is_none();
            if location.discovery == Some(Discovery::Exclusive) {
                is_open = true;
            }
        }
        for rule in &location.rules {
            match self.judge(rule) {
                Some((nodes, score)) => {
                    let role = rule.role.or(location.role);
                    marks.extend(nodes.into_iter().map(|node| (node, score, role)));
                }
                None => is_open = true,
            }
        }
        let names = self.names(location);
        for name in names {
            for index in self.scene.resolve(name) {
                if !self.scene.spend(marks.len()) {
                    return self.open_all();
                }
                self.mark(index, number, &marks, is_open);
            }
        }
    }

    /// What a location is for.
    fn names(&self, location: &'a Location) -> Vec<&'a Arc<str>> {
        let sets = location.sets.iter().filter(|set| self.scene.spend(set.members.len()));
        location.rsc.iter().chain(sets.flat_map(|set| &set.members)).collect()
    }

    fn mark(
        &mut self,
        index: usize,
        number: usize,
        marks: &[(&'a str, Score, Option<Role>)],
        is_open: bool,
    ) {
        let sites = self.sites.entry(index).or_default();
        sites.is_open |= is_open;
        for (node, score, role) in marks {
            let slot = match (*score == Score::INFINITY, *score == Score::NEVER) {
                (true, _) => Some(0),
                (_, true) => Some(1),
                (false, false) => None,
            };
            let role_slot = match role {
                None | Some(Role::Started) => 0,
                Some(Role::Promoted) => 1,
                Some(Role::Stopped | Role::Unpromoted) => 2,
            };
            if let Some(slot) = slot {
                let seen = self.extremes.entry((index, role_slot, *node)).or_default();
                if let Some(place) = seen.get_mut(slot) {
                    place.get_or_insert(number);
                }
            }
            if role_slot != 0 {
                continue;
            }
            if *score == Score::NEVER {
                sites.banned.entry(*node).or_insert(number);
            } else if score.get() >= 0 {
                sites.allowed.insert(*node);
            }
        }
    }

    /// Something of these cannot be judged.
    fn open(&mut self, location: &'a Location) {
        let names = self.names(location);
        for index in names.into_iter().flat_map(|name| self.scene.resolve(name)) {
            self.sites.entry(index).or_default().is_open = true;
        }
    }

    fn open_all(&mut self) {
        // Where all may run anywhere, what cannot be judged only bans more.
        if !self.is_symmetric {
            for index in 0..self.scene.items.len() {
                self.sites.entry(index).or_default().is_open = true;
            }
        }
    }

    /// The nodes on which a rule holds; `None` if that cannot be said.
    fn judge(&self, rule: &LocationRule) -> Option<(Vec<&'a str>, Score)> {
        let score = rule.score?;
        self.scene.can_read(&rule.rule).then_some(())?;
        let size = self.judgeable(&rule.rule)?;
        if !self.scene.spend(size.saturating_mul(self.nodes.len())) {
            return None;
        }
        let (asked, _) = rule.rule.rule();
        let now = WallTime::from_micros(0);
        let holds = |attributes: &Attributes<'a>| asked.holds(&Facts::at(now).node(attributes));
        let nodes = self.nodes.iter().filter(|(_, attributes)| holds(attributes));
        Some((nodes.map(|(name, _)| *name).collect(), score))
    }

    /// How many elements a rule has, if it depends on nothing that passes.
    fn judgeable(&self, rule: &Arc<RuleElement>) -> Option<usize> {
        let mut open: Vec<&RuleElement> = vec![rule];
        let mut count = 0;
        while let Some(element) = open.pop() {
            count += 1;
            match &*element.name {
                "rule" => open.extend(element.children.iter().map(|child| &**child)),
                "expression" => {
                    let name = element.attribute("attribute")?;
                    let source = element.attribute("value-source").unwrap_or("literal");
                    let is_known = matches!(name, "#uname" | "#id" | "#kind")
                        || (!name.starts_with('#') && self.lasting.contains(name));
                    (is_known && source == "literal").then_some(())?;
                }
                _ => return None,
            }
        }
        Some(count)
    }

    fn contradictions(&self, findings: &mut Findings) {
        for ((index, _, node), seen) in &self.extremes {
            let [Some(with), Some(without)] = seen else { continue };
            let constraint = |number: usize| self.scene.cib.constraints.get(number);
            let (Some(with), Some(without)) = (constraint(*with), constraint(*without)) else {
                continue;
            };
            let Some(item) = self.scene.item(*index) else { continue };
            let last = if with.place().spot < without.place().spot { without } else { with };
            let what = format!(
                "{} is to be on {} with INFINITY ({}) and with -INFINITY ({}), of \
                 which the latter wins",
                quote(item.id),
                quote(node),
                quote(with.id()),
                quote(without.id())
            );
            let remedy = "take one of them out".to_owned();
            let kind = FindingKind::LocationContradiction;
            findings.error(kind, last.place().clone(), what, remedy);
        }
    }

    /// The outermost resource is judged with all that must be with it on one node.
    fn nowhere(&self, findings: &mut Findings) {
        if self.nodes.is_empty() {
            return;
        }
        for (index, item) in self.scene.items.iter().enumerate() {
            if item.parent.is_some() {
                continue;
            }
            // Usually it is one alone; members of a group are banned together.
            let mut parts = vec![index];
            let mut open = item.children.clone();
            while let Some(child) = open.pop() {
                if item.kind != ItemKind::Bundle {
                    parts.push(child);
                    open.extend(self.scene.item(child).into_iter().flat_map(|one| &one.children));
                }
            }
            self.nowhere_one(item, &parts, findings);
        }
    }

    fn nowhere_one(&self, item: &Item<'a>, parts: &[usize], findings: &mut Findings) {
        let sites = || parts.iter().filter_map(|part| self.sites.get(part));
        let is_stopped =
            self.scene.meta(item, "target-role").and_then(Role::read) == Some(Role::Stopped);
        let is_apart = item.own_meta("collocated").and_then(bool::read) == Some(false);
        if is_stopped || is_apart {
            return;
        }
        let has_nothing =
            !self.is_symmetric && sites().all(|site| site.allowed.is_empty() && !site.is_open);
        if has_nothing {
            if self.scene.is_fence_device(item) {
                return;
            }
            let what = format!(
                "symmetric-cluster is false, and no location allows {} a node",
                quote(item.id)
            );
            let remedy = "add a location for each node that it may run on".to_owned();
            findings.warn(FindingKind::BannedEverywhere, item.place.clone(), what, remedy);
            return;
        }
        let banned = |node: &&'a str| sites().any(|site| site.banned.contains_key(node));
        let work = parts.len().saturating_mul(self.nodes.len());
        if sites().all(|site| site.banned.is_empty())
            || !self.scene.spend(work)
            || !self.nodes.keys().all(banned)
        {
            return;
        }
        let numbers: BTreeSet<usize> =
            sites().flat_map(|site| site.banned.values().copied()).collect();
        let by = numbers.iter().filter_map(|number| self.scene.cib.constraints.get(*number));
        let by = list(by.map(|constraint| &**constraint.id()));
        let what = format!("{} is banned from every node, by {by}", quote(item.id));
        let remedy = "take one of these locations out, or say target-role=Stopped".to_owned();
        findings.warn(FindingKind::BannedEverywhere, item.place.clone(), what, remedy);
    }
}
