//! Bundles: a container with its network and storage, and perhaps a resource in it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::attributes::AttributeSet;
use super::form;
use super::note::Place;
use super::reader::{Reader, Xml, elements};
use super::resource::Primitive;
use super::value::words;

/// A bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Bundle {
    /// Its id.
    pub id: Arc<str>,
    /// The container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Its network; none if it has no such element.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Its directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<StorageMapping>,
    /// What runs in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primitive: Option<Primitive>,
    /// Its meta-attributes.
    #[serde(default, with = "form::sets", skip_serializing_if = "Vec::is_empty")]
    pub meta: Vec<Arc<AttributeSet>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

words! {
    /// What runs the containers.
    Engine {
        /// Docker.
        Docker = "docker",
        /// Podman.
        Podman = "podman",
        /// Rkt, which newer Pacemakers know no more.
        Rkt = "rkt",
    }
}

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Container {
    /// What runs it.
    #[serde(with = "form::value")]
    pub engine: Engine,
    /// Its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Arc<str>>,
    /// How many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How many may be on one node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas_per_host: Option<u32>,
    /// How many may be promoted (`promoted-max`, formerly `masters`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted_max: Option<u32>,
    /// The command that is run in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_command: Option<Arc<str>>,
    /// The network it is given by the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Arc<str>>,
    /// Further options for the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Arc<str>>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// The network of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Network {
    /// The address of the first container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_range_start: Option<Arc<str>>,
    /// The TCP port through which the cluster speaks with the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_port: Option<u16>,
    /// The interface of the addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_interface: Option<Arc<str>>,
    /// Their prefix length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_netmask: Option<u32>,
    /// Whether the containers know each other's names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_host: Option<bool>,
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Where it stands.
    #[serde(skip)]
    pub place: Place,
}

/// Ports that lead into the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct PortMapping {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// The port on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port in the container, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_port: Option<u16>,
    /// A range of ports, such as `8000-8010`, in place of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<Arc<str>>,
}

/// A directory of the host in the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct StorageMapping {
    /// Its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Arc<str>>,
    /// The directory on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_dir: Option<Arc<str>>,
    /// The directory on the host in which each container has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_dir_root: Option<Arc<str>>,
    /// The directory in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_dir: Option<Arc<str>>,
    /// Options of the mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Arc<str>>,
}

impl Bundle {
    pub(super) fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Option<Self> {
        let mut read = Self { id: cx.id(node)?, place: cx.place(node), ..Self::default() };
        for attribute in node.attributes().filter(|attribute| attribute.name() != "id") {
            cx.unknown_attribute(node, &attribute);
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "docker" if read.container.is_none() => {
                    read.container = Some(Container::read(cx, child, Engine::Docker));
                }
                "podman" if read.container.is_none() => {
                    read.container = Some(Container::read(cx, child, Engine::Podman));
                }
                "rkt" if read.container.is_none() => {
                    read.container = Some(Container::read(cx, child, Engine::Rkt));
                }
                "network" if read.network.is_none() => {
                    read.network = Some(Network::read(cx, child));
                }
                "storage" => read_storage(cx, child, &mut read.storage),
                "primitive" if read.primitive.is_none() => {
                    read.primitive = Primitive::read(cx, child);
                }
                "meta_attributes" => read.meta.extend(AttributeSet::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        if read.container.is_none() {
            cx.missing(node, "docker or podman");
        }
        Some(read)
    }
}

impl Container {
    fn read(cx: &mut Reader<'_>, node: Xml<'_>, engine: Engine) -> Self {
        let mut read = Self {
            engine,
            image: None,
            replicas: None,
            replicas_per_host: None,
            promoted_max: None,
            run_command: None,
            network: None,
            options: None,
            place: cx.place(node),
        };
        for attribute in node.attributes() {
            match attribute.name() {
                "image" => read.image = cx.text(&attribute),
                "replicas" => read.replicas = cx.value(node, &attribute),
                "replicas-per-host" => read.replicas_per_host = cx.value(node, &attribute),
                "promoted-max" => read.promoted_max = cx.value(node, &attribute),
                "masters" if !node.has_attribute("promoted-max") => {
                    read.promoted_max = cx.value(node, &attribute);
                }
                "run-command" => read.run_command = cx.text(&attribute),
                "network" => read.network = cx.text(&attribute),
                "options" => read.options = cx.text(&attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        if read.image.is_none() {
            cx.missing(node, "image");
        }
        for child in elements(node) {
            cx.unknown_element(child);
        }
        read
    }
}

impl Network {
    fn read<'a>(cx: &mut Reader<'a>, node: Xml<'a>) -> Self {
        let mut read = Self { place: cx.place(node), ..Self::default() };
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => {}
                "ip-range-start" => read.ip_range_start = cx.text(&attribute),
                "control-port" => read.control_port = cx.value(node, &attribute),
                "host-interface" => read.host_interface = cx.text(&attribute),
                "host-netmask" => read.host_netmask = cx.value(node, &attribute),
                "add-host" => read.add_host = cx.value(node, &attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        for child in elements(node) {
            match child.tag_name().name() {
                "port-mapping" => read.ports.push(PortMapping::read(cx, child)),
                _ => cx.unknown_element(child),
            }
        }
        read
    }
}

impl PortMapping {
    fn read(cx: &mut Reader<'_>, node: Xml<'_>) -> Self {
        let mut read = Self::default();
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => read.id = cx.text(&attribute),
                "port" => read.port = cx.value(node, &attribute),
                "internal-port" => read.internal_port = cx.value(node, &attribute),
                "range" => read.range = cx.text(&attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        read
    }
}

fn read_storage<'a>(cx: &mut Reader<'a>, node: Xml<'a>, into: &mut Vec<StorageMapping>) {
    for child in elements(node) {
        match child.tag_name().name() {
            "storage-mapping" => into.push(StorageMapping::read(cx, child)),
            _ => cx.unknown_element(child),
        }
    }
}

impl StorageMapping {
    fn read(cx: &mut Reader<'_>, node: Xml<'_>) -> Self {
        let mut read = Self::default();
        for attribute in node.attributes() {
            match attribute.name() {
                "id" => read.id = cx.text(&attribute),
                "source-dir" => read.source_dir = cx.text(&attribute),
                "source-dir-root" => read.source_dir_root = cx.text(&attribute),
                "target-dir" => read.target_dir = cx.text(&attribute),
                "options" => read.options = cx.text(&attribute),
                _ => cx.unknown_attribute(node, &attribute),
            }
        }
        read
    }
}
