//! Resources.

use std::sync::Arc;

use super::{NEW_BUNDLES, NEW_ROLES, Out, Seen, Tag};
use crate::cib::bundle::{Bundle, Container, Network, StorageMapping};
use crate::cib::operation::{Operation, Operations};
use crate::cib::resource::{CibResource, CloneSet, Cloned, Group, Primitive};
use crate::cib::value::CibValue;
use ha_core::role::Role;

impl<'c> Out<'c> {
    /// The word for a role in this schema.
    pub(super) fn role(&self, role: Option<Role>) -> Option<String> {
        let role = role?;
        let old = match role {
            Role::Promoted => Some("Master"),
            Role::Unpromoted => Some("Slave"),
            Role::Started | Role::Stopped => None,
        };
        let old = old.filter(|_| self.schema < NEW_ROLES).map(str::to_owned);
        Some(old.unwrap_or_else(|| role.write()))
    }

    pub(super) fn resource(&mut self, resource: &'c CibResource) {
        match resource {
            CibResource::Bundle(bundle) => self.bundle(bundle),
            CibResource::Clone(set) => self.clone_set(set),
            CibResource::Group(group) => self.group(group),
            CibResource::Primitive(primitive) => self.primitive("primitive", primitive),
        }
    }

    /// A primitive or a template.
    pub(super) fn primitive(&mut self, element: &'static str, primitive: &'c Primitive) {
        let tag = Tag::new(element)
            .text("id", Some(&primitive.id))
            .text("class", primitive.class.as_deref())
            .text("provider", primitive.provider.as_deref())
            .text("type", primitive.kind.as_deref())
            .text("template", primitive.template.as_deref());
        self.open(tag);
        self.sets("meta_attributes", &primitive.meta, &primitive.id);
        self.sets("instance_attributes", &primitive.instance, &primitive.id);
        self.sets("utilization", &primitive.utilization, &primitive.id);
        for list in &primitive.operations {
            self.operations(list, &primitive.id);
        }
        self.close(element);
    }

    fn operations(&mut self, list: &'c Operations, of: &Arc<str>) {
        if self.is_known("operations", list.id.as_ref(), Seen::Operations(list)) {
            return self.empty(Tag::new("operations").text("id-ref", list.id.as_deref()));
        }
        let tag = Tag::new("operations").text("id", list.id.as_deref());
        if list.operations.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        for operation in &list.operations {
            self.operation(operation, of);
        }
        self.close("operations");
    }

    fn operation(&mut self, operation: &'c Operation, of: &str) {
        let interval = operation.interval.unwrap_or_default().write();
        // The schema wants an interval; of a monitor it is better missing than never.
        let once = (&*operation.name != "monitor").then_some(&std::time::Duration::ZERO);
        let base = format!("{of}-{}-{interval}", operation.name);
        let id = self.id(operation.id.as_ref(), &base);
        let tag = Tag::new("op")
            .text("id", Some(&id))
            .text("name", Some(&operation.name))
            .value("interval", operation.interval.as_ref().or(once))
            .value("timeout", operation.timeout.as_ref())
            .value("on-fail", operation.on_fail.as_ref())
            .text("role", self.role(operation.role).as_deref())
            .value("enabled", operation.enabled.as_ref())
            .value("record-pending", operation.record_pending.as_ref())
            .value("start-delay", operation.start_delay.as_ref())
            .text("interval-origin", operation.interval_origin.as_deref())
            .value("requires", operation.requires.as_ref());
        if operation.meta.is_empty() && operation.instance.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        self.sets("meta_attributes", &operation.meta, &id);
        self.sets("instance_attributes", &operation.instance, &id);
        self.close("op");
    }

    fn group(&mut self, group: &'c Group) {
        self.open(Tag::new("group").text("id", Some(&group.id)));
        self.sets("meta_attributes", &group.meta, &group.id);
        self.sets("instance_attributes", &group.instance, &group.id);
        for primitive in &group.primitives {
            self.primitive("primitive", primitive);
        }
        self.close("group");
    }

    fn clone_set(&mut self, set: &'c CloneSet) {
        let element = if set.is_master { "master" } else { "clone" };
        self.open(Tag::new(element).text("id", Some(&set.id)));
        self.sets("meta_attributes", &set.meta, &set.id);
        self.sets("instance_attributes", &set.instance, &set.id);
        match &set.inner {
            Some(Cloned::Group(group)) => self.group(group),
            Some(Cloned::Primitive(primitive)) => self.primitive("primitive", primitive),
            None => {}
        }
        self.close(element);
    }

    fn bundle(&mut self, bundle: &'c Bundle) {
        self.open(Tag::new("bundle").text("id", Some(&bundle.id)));
        self.sets("meta_attributes", &bundle.meta, &bundle.id);
        if let Some(container) = &bundle.container {
            self.container(container);
        }
        if let Some(network) = &bundle.network {
            self.network(network, &bundle.id);
        }
        if !bundle.storage.is_empty() {
            self.open(Tag::new("storage"));
            for mapping in &bundle.storage {
                self.storage(mapping, &bundle.id);
            }
            self.close("storage");
        }
        if let Some(primitive) = &bundle.primitive {
            self.primitive("primitive", primitive);
        }
        self.close("bundle");
    }

    fn container(&mut self, container: &Container) {
        let is_old = self.schema < NEW_BUNDLES;
        let most = if is_old { "masters" } else { "promoted-max" };
        let tag = Tag::new(container.engine.as_str())
            .text("image", container.image.as_deref())
            .value("replicas", container.replicas.as_ref())
            .value("replicas-per-host", container.replicas_per_host.as_ref())
            .value(most, container.promoted_max.as_ref())
            .text("run-command", container.run_command.as_deref())
            .text("network", container.network.as_deref())
            .text("options", container.options.as_deref());
        self.empty(tag);
    }

    fn network(&mut self, network: &Network, of: &str) {
        let tag = Tag::new("network")
            .text("ip-range-start", network.ip_range_start.as_deref())
            .value("control-port", network.control_port.as_ref())
            .text("host-interface", network.host_interface.as_deref())
            .value("host-netmask", network.host_netmask.as_ref())
            .value("add-host", network.add_host.as_ref());
        if network.ports.is_empty() {
            return self.empty(tag);
        }
        self.open(tag);
        for port in &network.ports {
            let id = self.id(port.id.as_ref(), &format!("{of}-port"));
            let tag = Tag::new("port-mapping")
                .text("id", Some(&id))
                .value("port", port.port.as_ref())
                .value("internal-port", port.internal_port.as_ref())
                .text("range", port.range.as_deref());
            self.empty(tag);
        }
        self.close("network");
    }

    fn storage(&mut self, mapping: &StorageMapping, of: &str) {
        let id = self.id(mapping.id.as_ref(), &format!("{of}-storage"));
        let tag = Tag::new("storage-mapping")
            .text("id", Some(&id))
            .text("source-dir", mapping.source_dir.as_deref())
            .text("source-dir-root", mapping.source_dir_root.as_deref())
            .text("target-dir", mapping.target_dir.as_deref())
            .text("options", mapping.options.as_deref());
        self.empty(tag);
    }
}
