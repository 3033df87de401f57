//! What persons ask of the leader.

use ha_core::id::{NodeName, ResourceName};
use ha_core::role::Role;
use ha_membership::store::MAX_VALUE_LEN;

use super::{Dc, Scene};
use crate::manager::message::CommandAction;
use crate::manager::output::Output;
use crate::manager::request::{NodeLine, Request, ResourceLine, Response, Status};
use crate::model::{ClusterConfig, Location, Origin, RawClusterConfig, promoted_role};

impl Dc {
    /// Answers questions; wishes are answered when the store has them.
    pub(super) fn take_requests(&mut self, scene: Scene<'_>, out: &mut Vec<Output>) {
        while let Some((to, request)) = self.requests.pop_front() {
            let response = match request {
                Request::Apply { config } => self.apply(*config).and_then(|()| self.fit()),
                Request::CleanUp { resource } => self.clean_up(scene, &resource, out),
                Request::Clear { resource } => self.change(|config| {
                    known(config, &resource)?;
                    Ok(config.without_moves(&resource))
                }),
                Request::Explain { resource } => Err(self.explain(&resource)),
                Request::Move { resource, node } => self.change(|config| {
                    known(config, &resource)?;
                    let moved = config.with_move(&resource, &node, None);
                    moved.map_err(|error| Response::refused(error.to_string()))
                }),
                Request::Online { node } => self.set_standby(&node, false),
                Request::Standby { node } => self.set_standby(&node, true),
                Request::Status => Err(self.status_of_all(scene)),
            };
            match response {
                Ok(()) => {
                    (self.dirty, self.stale) = (true, true);
                    self.replies.push((to, Response::Done));
                }
                Err(response) => out.push(Output::Reply { to, response }),
            }
        }
    }

    fn change(
        &mut self,
        change: impl FnOnce(&ClusterConfig) -> Result<ClusterConfig, Response>,
    ) -> Result<(), Response> {
        if let Some((ledger, _)) = &mut self.ledger {
            ledger.config = change(&ledger.config)?;
        }
        Ok(())
    }

    fn apply(&mut self, mut raw: RawClusterConfig) -> Result<(), Response> {
        self.change(|present| {
            if raw.nodes != present.nodes() || raw.witnesses != present.raw().witnesses {
                let names: Vec<&str> = present.nodes().iter().map(NodeName::as_str).collect();
                return Err(Response::refused(format!(
                    "nodes: other than the present ones is not allowed: {}; the members of a \
                     running cluster cannot be changed",
                    names.join(", ")
                )));
            }
            // What a person asked for goes on until it is cleared.
            let asked = present.constraints().locations.iter();
            let asked = asked.filter(|l| l.origin == Origin::Move && raw.knows(&l.resource));
            let asked: Vec<Location> = asked.cloned().collect();
            raw.constraints.locations.retain(|location| location.origin != Origin::Move);
            raw.constraints.locations.extend(asked);
            ClusterConfig::try_from(raw).map_err(|error| Response::refused(error.to_string()))
        })
    }

    /// Whether the ledger has room in the store to grow; else the change is taken back by reading
    /// what the store has.
    fn fit(&mut self) -> Result<(), Response> {
        let Some((ledger, _)) = &mut self.ledger else { return Ok(()) };
        let (config, most) = (&ledger.config, MAX_VALUE_LEN / 2);
        ledger.failures.retain(|resource, _| config.resources().contains_key(resource));
        let len = ledger.encode().map_or(usize::MAX, |bytes| bytes.len());
        if len <= most {
            return Ok(());
        }
        self.forget_ledger();
        Err(Response::refused(format!(
            "resources: {len} bytes with what is known of them are not allowed: at most {most}; \
             split the cluster"
        )))
    }

    fn set_standby(&mut self, node: &NodeName, standby: bool) -> Result<(), Response> {
        let Some((ledger, _)) = &mut self.ledger else { return Ok(()) };
        if !ledger.config.nodes().contains(node) || ledger.config.is_witness(node) {
            return Err(Response::refused(format!(
                "cannot change {node}: no node of that name runs resources; nodes are listed by \
                 `status`"
            )));
        }
        ledger.nodes.entry(node.clone()).or_default().standby = standby;
        Ok(())
    }

    fn clean_up(
        &mut self,
        scene: Scene<'_>,
        resource: &ResourceName,
        out: &mut Vec<Output>,
    ) -> Result<(), Response> {
        let Some((ledger, _)) = &mut self.ledger else { return Ok(()) };
        known(&ledger.config, resource)?;
        ledger.clean_up(resource);
        self.starts.retain(|(name, _), _| name != resource);
        let nodes: Vec<NodeName> = self.peers.keys().cloned().collect();
        for node in nodes {
            let idle = !self.busy_with(resource).contains(&node);
            if idle && self.known(resource, &node).is_some() {
                self.command(scene, (node, resource.clone()), CommandAction::CleanUp, out);
            }
        }
        Ok(())
    }

    fn explain(&self, resource: &ResourceName) -> Response {
        let decision = self.decision.as_ref();
        match decision.and_then(|decision| decision.explain(resource)) {
            Some(text) => Response::Text { text },
            None if decision.is_none() => {
                let what = &self.waits_for;
                Response::refused(format!("nothing is decided yet: {what}; ask again"))
            }
            None => Response::refused(format!(
                "cannot explain {resource}: there is no resource of that name; see `status`"
            )),
        }
    }

    fn status_of_all(&self, scene: Scene<'_>) -> Response {
        let Some((ledger, _)) = &self.ledger else {
            return Response::refused("the ledger is not read yet; ask again");
        };
        let nodes = ledger.config.nodes().iter().map(|node| {
            let line = NodeLine {
                status: self.status(scene, node),
                witness: ledger.config.is_witness(node),
                present: scene.view.members().contains_key(node),
            };
            (node.clone(), line)
        });
        let resources = ledger.config.resources().keys();
        let resources = resources.map(|resource| (resource.clone(), self.line(resource)));
        Response::Status(Box::new(Status {
            leader: self.config.me.clone(),
            term: self.term,
            waits_for: self.waits_for.clone(),
            nodes: nodes.collect(),
            resources: resources.collect(),
            decision: ledger.decision.clone(),
        }))
    }

    fn line(&self, resource: &ResourceName) -> ResourceLine {
        let mut line = ResourceLine::default();
        let definition = self.ledger.as_ref().and_then(|(l, _)| l.config.resources().get(resource));
        if let Some(definition) = definition {
            line.agent.clone_from(&definition.agent);
            line.promotable = definition.promotable;
        }
        for node in self.peers.keys() {
            let Some(known) = self.known(resource, node) else { continue };
            if known.role.is_some_and(Role::is_active) {
                line.active.push(node.clone());
            }
            if known.role == Some(Role::Promoted) {
                line.promoted.push(node.clone());
            }
            line.token = line.token.max(known.token);
            if known.fault.is_some() || known.barred {
                line.faults.insert(node.clone(), known.reason.clone());
            }
        }
        line.busy = self.busy_with(resource).into_iter().collect();
        let failures = self.ledger.iter().filter_map(|(ledger, _)| ledger.failures.get(resource));
        for (node, record) in failures.flatten() {
            if let Some(failures) = record.failures {
                line.failures.insert(node.clone(), failures.count);
            }
        }
        let decided = |name: &ResourceName| {
            let placement = self.decision.as_ref()?.placements.get(name)?;
            Some(placement.reason.clone())
        };
        line.reason = decided(resource).unwrap_or_default();
        line.promotion =
            promoted_role(resource).and_then(|role| decided(&role)).unwrap_or_default();
        line
    }
}

fn known(config: &ClusterConfig, name: &ResourceName) -> Result<(), Response> {
    if config.raw().knows(name) {
        return Ok(());
    }
    Err(Response::refused(format!(
        "cannot find {name}: there is no resource or group of that name; see `status`"
    )))
}
