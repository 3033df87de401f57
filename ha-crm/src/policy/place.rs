//! Where each resource shall be.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use ha_membership::quorum::Quorum;

use super::view::{Together, View};
use crate::explain::Sheet;
use crate::model::{NoQuorumPolicy, NodeStatus, Score};

/// Where each resource shall be, by numbers.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) targets: Vec<BTreeSet<usize>>,
    pub(super) reasons: Vec<String>,
    pub(super) sheets: Vec<Vec<Sheet>>,
}

struct Placing<'a> {
    view: &'a View<'a>,
    places: Places,
    placed: Vec<bool>,
    load: Vec<usize>,
    /// What each unit wishes by itself and for what goes with it.
    wishes: Vec<Vec<Score>>,
    /// Colocations by dependent unit, and by primary unit.
    needs: Vec<Vec<Together>>,
    needed: Vec<Vec<Together>>,
}

pub(super) fn place(view: &View<'_>) -> Places {
    let units = view.units.len();
    let (mut needs, mut needed) = (vec![Vec::new(); units], vec![Vec::new(); units]);
    for together in &view.together {
        let (dependent, primary) =
            (view.unit_of[together.dependent], view.unit_of[together.primary]);
        if dependent != primary {
            needs[dependent].push(*together);
            needed[primary].push(*together);
        }
    }
    let sheets: Vec<Vec<Sheet>> = (0..view.resources.len())
        .map(|r| (0..view.nodes.len()).map(|node| sheet(view, r, node)).collect())
        .collect();
    let targets = vec![BTreeSet::new(); view.resources.len()];
    let reasons = vec![String::new(); view.resources.len()];
    let mut placing = Placing {
        view,
        places: Places { targets, reasons, sheets },
        placed: vec![false; units],
        load: vec![0; view.nodes.len()],
        wishes: Vec::new(),
        needs,
        needed,
    };
    let sequence = placing.sequence();
    placing.find_wishes(&sequence);
    for unit in sequence {
        placing.place(unit);
    }
    placing.places
}

/// The score of a resource on a node, by itself.
fn sheet(view: &View<'_>, resource: usize, node: usize) -> Sheet {
    let mut sheet = Sheet::default();
    let cell = &view.cells[resource][node];
    let unit = &view.units[view.unit_of[resource]];
    let named = |r: &usize| view.locations[*r].contains_key(&node);
    for (why, score) in view.locations[resource].get(&node).into_iter().flatten() {
        sheet.add(why.clone(), *score);
    }
    if !view.state.config.options().symmetric && !unit.members.iter().any(named) {
        sheet.add("no location names it, and the cluster is not symmetric", Score::NEVER);
    }
    if cell.active && view.is_single(resource) {
        let cluster = view.state.config.options().stickiness;
        let own = view.resources[resource].1.stickiness;
        sheet.add("it is there: stickiness", own.unwrap_or(cluster));
    }
    if let Some(why) = &cell.ban {
        sheet.add(why.clone(), Score::NEVER);
    }
    let barrier = match view.status[node] {
        NodeStatus::Online => return sheet,
        NodeStatus::Maintenance => "the node is in maintenance",
        NodeStatus::Offline => "the node is offline",
        NodeStatus::Pending => "the node is just joining",
        NodeStatus::Standby => "the node is in standby",
        NodeStatus::Unclean => "the node is unclean",
    };
    sheet.add(barrier, Score::NEVER);
    sheet
}

/// What a dependent's score means to what it goes with.
fn scaled(wish: Score, by: Score) -> Score {
    match by {
        Score::INFINITY => wish,
        Score::NEVER if wish > Score::ZERO => Score::new(-wish.get()),
        Score::NEVER => Score::ZERO,
        by => {
            let product = i64::from(wish.get()) * i64::from(by.get());
            i32::try_from(product / i64::from(Score::INFINITY.get()))
                .map_or(Score::ZERO, Score::new)
        }
    }
}

impl Placing<'_> {
    /// The order in which units are placed: the important ones first, each after what it goes with.
    fn sequence(&self) -> Vec<usize> {
        let view = self.view;
        let rank = |unit: &usize| {
            let runs = view.units[*unit].members.iter().filter_map(|member| {
                let on = |node: &usize| view.status[*node] == NodeStatus::Online;
                let node = view.holders(*member).find(on)?;
                Some(self.places.sheets[*member][node].total())
            });
            // What runs is placed first, so that what has to move sees where there is room.
            let score = runs.max();
            (Reverse(view.units[*unit].priority), Reverse(score), view.units[*unit].name)
        };
        let mut ranked: Vec<usize> = (0..view.units.len()).collect();
        ranked.sort_by_cached_key(rank);
        let (mut sequence, mut state) = (Vec::new(), vec![0_u8; view.units.len()]);
        for unit in ranked {
            let mut stack = vec![(unit, false)];
            while let Some((unit, done)) = stack.pop() {
                if done {
                    if state[unit] != 2 {
                        state[unit] = 2;
                        sequence.push(unit);
                    }
                    continue;
                }
                if state[unit] != 0 {
                    continue;
                }
                state[unit] = 1;
                stack.push((unit, true));
                for together in &self.needs[unit] {
                    let primary = view.unit_of[together.primary];
                    // Mandatory ones never form a circle; wishes are passed over if they would.
                    let free = together.score == Score::INFINITY || self.is_free(primary, &state);
                    if state[primary] == 0 && free {
                        stack.push((primary, false));
                    }
                }
            }
        }
        sequence
    }

    /// Whether nothing that `unit` cannot be without is waiting for something else.
    fn is_free(&self, unit: usize, state: &[u8]) -> bool {
        let (mut seen, mut todo) = (BTreeSet::from([unit]), vec![unit]);
        while let Some(unit) = todo.pop() {
            if state[unit] == 1 {
                return false;
            }
            for together in self.needs[unit].iter().filter(|t| t.score == Score::INFINITY) {
                let primary = self.view.unit_of[together.primary];
                if state[primary] != 2 && seen.insert(primary) {
                    todo.push(primary);
                }
            }
        }
        true
    }

    fn find_wishes(&mut self, sequence: &[usize]) {
        let count = self.view.nodes.len();
        self.wishes = vec![Vec::new(); self.view.units.len()];
        for unit in sequence.iter().rev() {
            let members = &self.view.units[*unit].members;
            let mut wish: Vec<Score> = (0..count)
                .map(|node| {
                    let totals = members.iter().map(|m| self.places.sheets[*m][node].total());
                    totals.fold(Score::ZERO, |sum, score| sum + score)
                })
                .collect();
            for together in &self.needed[*unit] {
                let other = &self.wishes[self.view.unit_of[together.dependent]];
                for (mine, theirs) in wish.iter_mut().zip(other) {
                    *mine = *mine + scaled(*theirs, together.score);
                }
            }
            self.wishes[*unit] = wish;
        }
    }

    fn place(&mut self, unit: usize) {
        self.follow(unit);
        self.anchor(unit);
        if self.view.units[unit].everywhere {
            self.everywhere(unit);
        } else {
            self.somewhere(unit);
        }
        // What nothing may be done to stays where it is.
        for member in self.view.units[unit].members.clone() {
            let cells = self.view.cells[member].iter().enumerate();
            let frozen: Vec<_> = cells.filter_map(|(n, c)| Some((n, c.frozen.clone()?))).collect();
            if let Some((_, why)) = frozen.first() {
                if self.view.is_single(member) {
                    self.places.targets[member].clear();
                }
                self.places.reasons[member].clone_from(why);
                self.places.targets[member].extend(frozen.iter().map(|(node, _)| *node));
            }
            for node in &self.places.targets[member] {
                self.load[*node] += 1;
            }
        }
        self.placed[unit] = true;
    }

    /// Adds what follows from where others have been placed.
    fn follow(&mut self, unit: usize) {
        for Together { dependent, primary, score } in self.needs[unit].clone() {
            if !self.placed[self.view.unit_of[primary]] {
                continue;
            }
            let other = self.view.resources[primary].0;
            for node in 0..self.view.nodes.len() {
                let there = self.places.targets[primary].contains(&node);
                let sheet = &mut self.places.sheets[dependent][node];
                if there && score != Score::INFINITY {
                    sheet.add(format!("{other} is there"), score);
                } else if !there && score == Score::INFINITY {
                    sheet.add(format!("{other} is not there"), Score::NEVER);
                }
            }
        }
        for Together { dependent, primary, score } in self.needed[unit].clone() {
            if score == Score::NEVER && self.placed[self.view.unit_of[dependent]] {
                let other = self.view.resources[dependent].0;
                for node in self.places.targets[dependent].clone() {
                    let sheet = &mut self.places.sheets[primary][node];
                    sheet.add(format!("{other} is there"), Score::NEVER);
                }
            }
        }
    }

    /// A group is where a member is that nothing may be done to.
    fn anchor(&mut self, unit: usize) {
        let view = self.view;
        let [first, .., _] = view.units[unit].members[..] else { return };
        for member in view.units[unit].members.iter().filter(|m| view.is_single(**m)) {
            let frozen = |node: &usize| view.cells[*member][*node].frozen.is_some();
            if (0..view.nodes.len()).any(|node| frozen(&node)) {
                for node in (0..view.nodes.len()).filter(|node| !frozen(node)) {
                    let why = format!("{} cannot be moved there", view.resources[*member].0);
                    self.places.sheets[first][node].add(why, Score::NEVER);
                }
            }
        }
    }

    /// Why a member can be nowhere.
    fn out(&self, member: usize) -> Option<String> {
        let view = self.view;
        let idle = view.unmanaged[member].clone();
        view.disabled[member].clone().or_else(|| idle.filter(|_| view.holders(member).count() == 0))
    }

    fn everywhere(&mut self, unit: usize) {
        let view = self.view;
        let mut allowed: BTreeSet<usize> =
            (0..view.nodes.len()).filter(|n| view.configured[*n]).collect();
        for member in view.units[unit].members.clone() {
            let out = self.out(member);
            let sheets = &self.places.sheets[member];
            allowed.retain(|node| out.is_none() && sheets[*node].total().allows());
            self.places.targets[member].clone_from(&allowed);
            let reason = if allowed.is_empty() {
                "no online node allows it"
            } else {
                "it is at-least-one: every online node that allows it"
            };
            self.places.reasons[member] = out.unwrap_or_else(|| reason.to_owned());
        }
    }

    fn somewhere(&mut self, unit: usize) {
        let view = self.view;
        let members = view.units[unit].members.clone();
        let [first, ..] = members[..] else { return };
        let mut scores = vec![Score::ZERO; view.nodes.len()];
        let mut best: Option<Vec<Score>> = None;
        let (mut able, mut refusal) = (0, "no online node allows it".to_owned());
        // As many members as can be together, from the first on.
        for (index, member) in members.iter().enumerate() {
            if let Some(why) = self.out(*member) {
                refusal = why;
                break;
            }
            for (node, score) in scores.iter_mut().enumerate() {
                *score = *score + self.places.sheets[*member][node].total();
            }
            let open = |node: usize| view.configured[node] && scores[node].allows();
            if (0..view.nodes.len()).any(open) {
                (able, best) = (index + 1, Some(scores.clone()));
            }
        }
        if self.stops_without_quorum() {
            (able, refusal) = (0, "there is no quorum".to_owned());
        }
        let chosen = best.filter(|_| able > 0).and_then(|mut scores| {
            for member in &members[1..able] {
                let name = view.resources[*member].0;
                for node in 0..view.nodes.len() {
                    let score = self.places.sheets[*member][node].total();
                    self.note(first, node, || format!("{name} goes with it"), score);
                }
            }
            self.hear(unit, first, &mut scores);
            self.choose(&members[..able], &scores).map(|node| (node, scores[node]))
        });
        if chosen.is_none() && able > 0 {
            refusal = view.hold.clone().unwrap_or(refusal);
        }
        for (index, member) in members.iter().enumerate() {
            match chosen {
                Some((node, score)) if index < able => {
                    self.places.targets[*member].insert(node);
                    let name = view.nodes[node];
                    self.places.reasons[*member] = match &view.hold {
                        Some(why) => why.clone(),
                        None if index == 0 => format!("{name} has the highest score, {score}"),
                        None => format!("it goes with {}", view.resources[first].0),
                    };
                }
                Some((node, _)) if index == able => {
                    let why = self.out(*member);
                    let name = view.nodes[node];
                    self.places.reasons[*member] = why.unwrap_or_else(|| {
                        format!("no node allows it with the others; they are on {name}")
                    });
                }
                _ if index == 0 || chosen.is_none() => {
                    self.places.reasons[*member].clone_from(&refusal);
                }
                _ => {
                    "a member before it does not run".clone_into(&mut self.places.reasons[*member]);
                }
            }
        }
    }

    fn note(&mut self, at: usize, node: usize, why: impl Fn() -> String, score: Score) {
        if score != Score::ZERO {
            self.places.sheets[at][node].add(why(), score);
        }
    }

    fn stops_without_quorum(&self) -> bool {
        let policy = self.view.state.config.options().no_quorum_policy;
        self.view.state.quorum == Quorum::Lost
            && matches!(policy, NoQuorumPolicy::Stop | NoQuorumPolicy::Suicide)
    }

    /// Adds what those wish that go with it, each unless it would leave no node at all.
    fn hear(&mut self, unit: usize, first: usize, scores: &mut Vec<Score>) {
        let view = self.view;
        for together in self.needed[unit].clone() {
            let other = view.unit_of[together.dependent];
            if self.placed[other] || view.units[other].everywhere {
                continue;
            }
            let mut wish = self.wishes[other].clone();
            if together.score == Score::INFINITY {
                for need in
                    self.needs[other].iter().filter(|n| self.placed[view.unit_of[n.primary]])
                {
                    for (node, wish) in wish.iter_mut().enumerate() {
                        let there = self.places.targets[need.primary].contains(&node);
                        let must = need.score == Score::INFINITY && !there;
                        if must || (need.score == Score::NEVER && there) {
                            *wish = Score::NEVER;
                        }
                    }
                }
            }
            let wish: Vec<Score> = wish.iter().map(|wish| scaled(*wish, together.score)).collect();
            let sum: Vec<Score> = scores.iter().zip(&wish).map(|(a, b)| *a + *b).collect();
            let open = |(node, score): (usize, &Score)| view.configured[node] && score.allows();
            if !sum.iter().enumerate().any(open) {
                continue;
            }
            *scores = sum;
            let name = view.resources[together.dependent].0;
            for (node, score) in wish.into_iter().enumerate() {
                self.note(first, node, || format!("wish of {name}"), score);
            }
        }
    }

    fn choose(&self, members: &[usize], scores: &[Score]) -> Option<usize> {
        let view = self.view;
        let here = |node: usize| members.iter().filter(|m| view.cells[**m][node].active).count();
        let can = |node: &usize| {
            let free = view.hold.is_none() || here(*node) > 0;
            view.configured[*node] && scores[*node].allows() && free
        };
        let rank = |node: &usize| (scores[*node], here(*node), Reverse(self.load[*node]));
        // The last of equal ones wins in `max_by_key`: so from the last name to the first.
        (0..view.nodes.len()).rev().filter(can).max_by_key(rank)
    }
}
