//! Made-up clusters of any size, as CIBs.
//!
//! The same description always makes the same text. Only the standard library is used, so that
//! tests of other crates can include this file.

use std::fmt::{self, Write as _};

/// What the resources of a cluster are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Shape {
    /// Primitives with three preferred nodes each.
    Locations,
    /// Primitives alone.
    Plain,
    /// Each primitive must be with the one before it.
    Chain,
    /// The same, and it starts after it.
    ChainOrder,
    /// Each primitive would rather not be with the one before it.
    Apart,
    /// Groups of five.
    Groups,
    /// Clones on all nodes, a tenth as many as primitives are asked for.
    Clones,
    /// The same, of which one copy is promoted.
    Promotable,
    /// Primitives that need processors and memory of nodes, which have enough.
    Utilization,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Locations,
        Self::Plain,
        Self::Chain,
        Self::ChainOrder,
        Self::Apart,
        Self::Groups,
        Self::Clones,
        Self::Promotable,
        Self::Utilization,
    ];

    const fn is_cloned(self) -> bool {
        matches!(self, Self::Clones | Self::Promotable)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Locations => "locations",
            Self::Plain => "plain",
            Self::Chain => "chain",
            Self::ChainOrder => "chain-order",
            Self::Apart => "apart",
            Self::Groups => "groups",
            Self::Clones => "clones",
            Self::Promotable => "promotable",
            Self::Utilization => "utilization",
        })
    }
}

/// What is known of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// Nothing: all must be probed and started.
    Fresh,
    /// Nothing runs: all must be started.
    Clean,
    /// All runs: nothing is to be done.
    Running,
    /// All ran, and the first node is lost.
    Lost,
    /// All runs, and of each resource only those nodes know that run it; nothing is probed.
    Sparse,
}

/// A cluster to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Clusters {
    /// How many nodes.
    pub nodes: usize,
    /// How many primitives.
    pub primitives: usize,
    /// What they are like.
    pub shape: Shape,
    /// What is known of them.
    pub activity: Activity,
    /// Another seed makes other preferences and needs.
    pub seed: u64,
}

const KEY: &str = "11111111-1111-1111-1111-111111111111";
/// The digests of no parameters, without and with a timeout.
const DIGESTS: [&str; 2] = ["f2317cad3d54cec5d7d7aa7d0bf35cf8", "4811cef7f7f94e3a35a70be7916cb2fd"];

impl Clusters {
    /// A cluster of plain preferences in which everything is to be started.
    #[must_use]
    pub const fn new(nodes: usize, primitives: usize) -> Self {
        let (shape, activity) = (Shape::Locations, Activity::Clean);
        Self { nodes, primitives, shape, activity, seed: 1 }
    }

    /// Sets what the resources are like.
    #[must_use]
    pub const fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets what is known.
    #[must_use]
    pub const fn activity(mut self, activity: Activity) -> Self {
        self.activity = activity;
        self
    }

    /// Sets the seed.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The CIB.
    #[must_use]
    pub fn xml(&self) -> String {
        let mut made = Made { plan: *self, random: Random(self.seed), text: String::new() };
        // Writing to a string cannot fail.
        made.write().map_or_else(|_| String::new(), |()| made.text)
    }

    fn resources(&self) -> usize {
        if self.shape.is_cloned() { (self.primitives / 10).max(1) } else { self.primitives }
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap_or(0)
    }
}

struct Made {
    plan: Clusters,
    random: Random,
    text: String,
}

impl Made {
    fn write(&mut self) -> fmt::Result {
        let homes = self.homes();
        let preferences = self.preferences();
        let is_balanced = self.plan.shape == Shape::Utilization;
        let strategy = if is_balanced { "balanced" } else { "default" };
        let probes = self.plan.activity != Activity::Sparse;
        write!(
            self.text,
            "<cib admin_epoch=\"1\" epoch=\"1\" num_updates=\"1\" validate-with=\"pacemaker-3.7\" \
             crm_feature_set=\"3.15.0\" have-quorum=\"1\" dc-uuid=\"1\" \
             execution-date=\"1700000000\">\n<configuration><crm_config>\
             <cluster_property_set id=\"options\">\
             <nvpair id=\"o-fencing\" name=\"stonith-enabled\" value=\"false\"/>\
             <nvpair id=\"o-strategy\" name=\"placement-strategy\" value=\"{strategy}\"/>\
             <nvpair id=\"o-probes\" name=\"enable-startup-probes\" value=\"{probes}\"/>\
             </cluster_property_set></crm_config>\n"
        )?;
        self.nodes()?;
        self.primitives()?;
        self.constraints(&preferences)?;
        self.text.push_str(
            "<rsc_defaults><meta_attributes id=\"rd\">\
             <nvpair id=\"rd-s\" name=\"resource-stickiness\" value=\"1\"/></meta_attributes>\
             </rsc_defaults>\n</configuration>\n<status>\n",
        );
        let places = |resource: usize| match preferences.get(resource) {
            Some(preferred) => preferred.iter().max_by_key(|(_, score)| *score).map(|(at, _)| *at),
            None => homes.get(resource).copied().flatten(),
        };
        let places: Vec<Option<usize>> = (0..self.plan.resources()).map(places).collect();
        for node in 0..self.plan.nodes {
            self.state(node, &places)?;
        }
        self.text.push_str("</status></cib>\n");
        Ok(())
    }

    /// Where each resource runs if nothing else says so; clones run everywhere.
    fn homes(&self) -> Vec<Option<usize>> {
        let nodes = self.plan.nodes.max(1);
        let home = |resource: usize| match self.plan.shape {
            Shape::Chain | Shape::ChainOrder => Some(0),
            Shape::Groups => Some(resource / 5 % nodes),
            Shape::Clones | Shape::Promotable => None,
            Shape::Apart | Shape::Locations | Shape::Plain | Shape::Utilization => {
                Some(resource % nodes)
            }
        };
        (0..self.plan.resources()).map(home).collect()
    }

    /// Three nodes and scores for each resource; two may be the same node.
    fn preferences(&mut self) -> Vec<[(usize, usize); 3]> {
        if self.plan.shape != Shape::Locations {
            return Vec::new();
        }
        let nodes = self.plan.nodes;
        let mut one = || {
            let first = self.random.below(nodes);
            let mut score = || 1 + self.random.below(1000);
            let scores = [score(), score(), score()];
            [
                (first, scores[0]),
                ((first + 1) % nodes.max(1), scores[1]),
                ((first + 2) % nodes.max(1), scores[2]),
            ]
        };
        (0..self.plan.primitives).map(|_| one()).collect()
    }

    fn nodes(&mut self) -> fmt::Result {
        let each = self.plan.primitives.div_ceil(self.plan.nodes.max(1)).max(1);
        let (text, nodes) = (&mut self.text, self.plan.nodes);
        text.push_str("<nodes>\n");
        for node in 0..nodes {
            write!(text, "<node id=\"{}\" uname=\"n{node:04}\">", node + 1)?;
            if self.plan.shape == Shape::Utilization {
                let (cpu, memory) = (each * 6, each * 3000);
                write!(
                    text,
                    "<utilization id=\"u{node}\">\
                     <nvpair id=\"u{node}-c\" name=\"cpu\" value=\"{cpu}\"/>\
                     <nvpair id=\"u{node}-m\" name=\"memory\" value=\"{memory}\"/></utilization>"
                )?;
            }
            if self.plan.shape == Shape::Promotable {
                write!(text, "<instance_attributes id=\"a{node}\">")?;
                for resource in 0..self.plan.resources() {
                    let score = 5 + (node + resource) % nodes;
                    write!(
                        text,
                        "<nvpair id=\"a{node}-{resource}\" name=\"master-r{resource:05}\" \
                         value=\"{score}\"/>"
                    )?;
                }
                text.push_str("</instance_attributes>");
            }
            text.push_str("</node>\n");
        }
        text.push_str("</nodes>\n");
        Ok(())
    }

    fn primitives(&mut self) -> fmt::Result {
        self.text.push_str("<resources>\n");
        let count = self.plan.resources();
        for resource in 0..count {
            let (groups, clones) = (self.plan.shape == Shape::Groups, self.plan.shape.is_cloned());
            if groups && resource % 5 == 0 {
                writeln!(self.text, "<group id=\"g{:05}\">", resource / 5)?;
            }
            if clones {
                self.clone_start(resource)?;
            }
            self.primitive(resource)?;
            if groups && (resource % 5 == 4 || resource + 1 == count) {
                self.text.push_str("</group>\n");
            }
            if clones {
                self.text.push_str("</clone>\n");
            }
        }
        self.text.push_str("</resources>\n");
        Ok(())
    }

    fn clone_start(&mut self, resource: usize) -> fmt::Result {
        let id = format!("c{resource:05}");
        write!(self.text, "<clone id=\"{id}\"><meta_attributes id=\"{id}-m\">")?;
        if self.plan.shape == Shape::Promotable {
            let name = "promotable";
            write!(self.text, "<nvpair id=\"{id}-p\" name=\"{name}\" value=\"true\"/>")?;
        }
        write!(self.text, "<nvpair id=\"{id}-i\" name=\"interleave\" value=\"true\"/>")?;
        self.text.push_str("</meta_attributes>\n");
        Ok(())
    }

    fn primitive(&mut self, resource: usize) -> fmt::Result {
        let id = format!("r{resource:05}");
        let is_promotable = self.plan.shape == Shape::Promotable;
        let kind = self.plan.kind();
        write!(
            self.text,
            "<primitive id=\"{id}\" class=\"ocf\" provider=\"pacemaker\" type=\"{kind}\">"
        )?;
        if self.plan.shape == Shape::Utilization {
            let (cpu, memory) = (1 + self.random.below(6), 100 + self.random.below(2900));
            write!(
                self.text,
                "<utilization id=\"{id}-u\"><nvpair id=\"{id}-c\" name=\"cpu\" value=\"{cpu}\"/>\
                 <nvpair id=\"{id}-mem\" name=\"memory\" value=\"{memory}\"/></utilization>"
            )?;
        }
        self.text.push_str("<operations>");
        let roles: &[(&str, u32)] =
            if is_promotable { &[("Promoted", 10), ("Unpromoted", 11)] } else { &[("", 10)] };
        for (role, interval) in roles {
            let name = "monitor";
            write!(
                self.text,
                "<op id=\"{id}-{interval}\" name=\"{name}\" interval=\"{interval}s\""
            )?;
            if !role.is_empty() {
                write!(self.text, " role=\"{role}\"")?;
            }
            self.text.push_str("/>");
        }
        self.text.push_str("</operations></primitive>\n");
        Ok(())
    }

    fn constraints(&mut self, preferences: &[[(usize, usize); 3]]) -> fmt::Result {
        let text = &mut self.text;
        text.push_str("<constraints>\n");
        for (resource, preferred) in preferences.iter().enumerate() {
            for (at, (node, score)) in preferred.iter().enumerate() {
                writeln!(
                    text,
                    "<rsc_location id=\"l{resource}-{at}\" rsc=\"r{resource:05}\" \
                     node=\"n{node:04}\" score=\"{score}\"/>"
                )?;
            }
        }
        let score = match self.plan.shape {
            Shape::Chain | Shape::ChainOrder => "INFINITY",
            Shape::Apart => "-1000",
            Shape::Clones
            | Shape::Groups
            | Shape::Locations
            | Shape::Plain
            | Shape::Promotable
            | Shape::Utilization => "",
        };
        for resource in 1..if score.is_empty() { 0 } else { self.plan.primitives } {
            let before = resource - 1;
            writeln!(
                text,
                "<rsc_colocation id=\"c{resource}\" rsc=\"r{resource:05}\" \
                 with-rsc=\"r{before:05}\" score=\"{score}\"/>"
            )?;
            if self.plan.shape == Shape::ChainOrder {
                writeln!(
                    text,
                    "<rsc_order id=\"o{resource}\" first=\"r{before:05}\" then=\"r{resource:05}\"/>"
                )?;
            }
        }
        text.push_str("</constraints>\n");
        Ok(())
    }

    fn state(&mut self, node: usize, places: &[Option<usize>]) -> fmt::Result {
        let (plan, text) = (self.plan, &mut self.text);
        let is_lost = plan.activity == Activity::Lost && node == 0;
        let (seen, crmd, join) =
            if is_lost { ("false", "offline", "down") } else { ("true", "online", "member") };
        let id = node + 1;
        writeln!(
            text,
            "<node_state id=\"{id}\" uname=\"n{node:04}\" in_ccm=\"{seen}\" crmd=\"{crmd}\" \
             join=\"{join}\" expected=\"{join}\"><lrm id=\"{id}\"><lrm_resources>"
        )?;
        let is_known = plan.activity != Activity::Fresh && !is_lost;
        let mut call = 0_usize;
        for (resource, place) in places.iter().enumerate().filter(|_| is_known) {
            let is_here = place.is_none_or(|place| place == node);
            if plan.activity == Activity::Sparse && !is_here {
                continue;
            }
            let kind = plan.kind();
            write!(
                text,
                "<lrm_resource id=\"r{resource:05}\" class=\"ocf\" provider=\"pacemaker\" \
                 type=\"{kind}\">"
            )?;
            let runs = is_here && !matches!(plan.activity, Activity::Fresh | Activity::Clean);
            let monitor = if plan.shape == Shape::Promotable { 11_000 } else { 10_000 };
            let started: &[(&str, u32, u32)] = &[("start", 0, 0), ("monitor", monitor, 0)];
            let done = [("monitor", 0, 7)].into_iter();
            for (name, interval, rc) in done.chain(started.iter().copied().filter(|_| runs)) {
                call += 1;
                let [once, often] = DIGESTS;
                let digest = if interval == 0 { once } else { often };
                write!(
                    text,
                    "<lrm_rsc_op id=\"r{resource:05}_{name}_{interval}\" operation=\"{name}\" \
                     operation_key=\"r{resource:05}_{name}_{interval}\" interval=\"{interval}\" \
                     op-status=\"0\" rc-code=\"{rc}\" call-id=\"{call}\" \
                     crm_feature_set=\"3.15.0\" transition-key=\"{call}:0:{rc}:{KEY}\" \
                     transition-magic=\"0:{rc};{call}:0:{rc}:{KEY}\" op-digest=\"{digest}\" \
                     on_node=\"n{node:04}\"/>"
                )?;
            }
            text.push_str("</lrm_resource>\n");
        }
        text.push_str("</lrm_resources></lrm></node_state>\n");
        Ok(())
    }
}

impl Clusters {
    /// The agent.
    const fn kind(&self) -> &'static str {
        if matches!(self.shape, Shape::Promotable) { "Stateful" } else { "Dummy" }
    }
}
