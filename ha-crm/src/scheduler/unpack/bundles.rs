//! Bundles: the resources and nodes that they imply.

use std::net::IpAddr;
use std::sync::Arc;

use super::{nodes, resources};
use crate::cib::{Bundle, Container};
use crate::scheduler::attributes::Table;
use crate::scheduler::bundle::{BundleParts, Replica};
use crate::scheduler::cluster::Cluster;
use crate::scheduler::id::RscId;
use crate::scheduler::node::Kind;
use crate::scheduler::resource::{CloneSettings, Variant};

/// No bundle has more replicas than this.
const MAX_REPLICAS: usize = 1000;

/// Enters a bundle with all that it implies.
pub(super) fn enter<'c>(cluster: &mut Cluster<'c>, config: &'c Bundle) -> RscId {
    let mut rsc = resources::collective(cluster, &config.id, &config.meta, None);
    rsc.variant = Variant::Bundle;
    resources::read_meta(cluster, &mut rsc);
    let promoted_max =
        config.container.as_ref().and_then(|container| container.promoted_max).unwrap_or(0);
    let replicas = config.container.as_ref().and_then(|container| container.replicas);
    let replicas = replicas.unwrap_or(promoted_max.max(1)).max(1);
    let replicas = usize::try_from(replicas).unwrap_or(MAX_REPLICAS).min(MAX_REPLICAS);
    let per_host = config.container.as_ref().and_then(|container| container.replicas_per_host);
    let per_host = usize::try_from(per_host.unwrap_or(1).max(1)).unwrap_or(1);
    // The clone inside takes its meta-attributes from the bundle.
    let promoted_max = match usize::try_from(promoted_max).unwrap_or(MAX_REPLICAS) {
        0 if rsc.meta.read("promotable").unwrap_or(false) => {
            let max = rsc.meta.get("promoted-max").and_then(|max| max.trim().parse().ok());
            max.unwrap_or(1_usize).min(MAX_REPLICAS)
        }
        max => max,
    };
    rsc.clone = CloneSettings {
        max: replicas,
        node_max: per_host,
        promoted_max,
        promoted_node_max: 1,
        interleave: rsc.meta.read("interleave").unwrap_or(false),
        promotable: promoted_max > 0,
        ..CloneSettings::default()
    };
    rsc.bundle = Some(Box::new(BundleParts {
        replicas: Vec::new(),
        child: None,
        replicas_per_host: per_host,
    }));
    let bundle = resources::add(cluster, rsc);
    let mut addresses = addresses(config);
    for number in 0..replicas {
        if cluster.limits.is_exceeded() {
            break;
        }
        let replica = enter_replica(cluster, config, bundle, number, addresses.next());
        if let Some(parts) = &mut cluster[bundle].bundle {
            parts.replicas.push(replica);
        }
    }
    enter_child(cluster, config, bundle, replicas);
    bundle
}

/// The addresses of the replicas, one after the other.
fn addresses(config: &Bundle) -> impl Iterator<Item = String> + use<> {
    let start = config.network.as_ref().and_then(|network| network.ip_range_start.as_deref());
    let mut next = start.and_then(|start| start.parse::<IpAddr>().ok());
    std::iter::from_fn(move || {
        let this = next?;
        next = match this {
            IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|n| IpAddr::V4(n.into())),
            IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|n| IpAddr::V6(n.into())),
        };
        Some(this.to_string())
    })
}

fn enter_replica<'c>(
    cluster: &mut Cluster<'c>,
    config: &'c Bundle,
    bundle: RscId,
    number: usize,
    address: Option<String>,
) -> Replica {
    let id = &config.id;
    let ip = address.as_ref().map(|address| {
        let mut table = Table::default();
        table.set("ip", address.as_str());
        if let Some(network) = &config.network {
            if let Some(interface) = &network.host_interface {
                table.set("nic", Arc::clone(interface));
            }
            table.set("cidr_netmask", network.host_netmask.unwrap_or(32).to_string());
        }
        let name = format!("{id}-ip-{address}");
        resources::enter_implied(cluster, &name, "heartbeat", "IPaddr2", Some(bundle), table)
    });
    let engine = config.container.as_ref().map_or("docker", |found| found.engine.as_str());
    let table = container_parameters(config, number, address.as_deref());
    let container = resources::enter_implied(
        cluster,
        &format!("{id}-{engine}-{number}"),
        "heartbeat",
        engine,
        Some(bundle),
        table,
    );
    cluster[container].unique = true;
    let mut replica = Replica { ip, container, remote: None, child: None, node: None };
    let has_control = config
        .network
        .as_ref()
        .is_some_and(|network| network.control_port.is_some() || network.ip_range_start.is_some());
    if config.primitive.is_some() && (has_control || config.network.is_some()) {
        enter_connection(cluster, config, bundle, number, address, &mut replica);
    }
    replica
}

fn enter_connection<'c>(
    cluster: &mut Cluster<'c>,
    config: &'c Bundle,
    bundle: RscId,
    number: usize,
    address: Option<String>,
    replica: &mut Replica,
) {
    let name = format!("{}-{number}", config.id);
    let node = nodes::enter(cluster, &name, &name, Kind::Guest);
    let mut table = Table::default();
    table.set("addr", address.unwrap_or_else(|| "#uname".to_owned()));
    let port = config.network.as_ref().and_then(|network| network.control_port);
    table.set("port", port.unwrap_or(3121).to_string());
    let remote =
        resources::enter_implied(cluster, &name, "pacemaker", "remote", Some(bundle), table);
    resources::join_guest(cluster, remote, node, replica.container);
    cluster[remote].can_migrate = false;
    replica.remote = Some(remote);
    replica.node = Some(node);
}

/// The primitive inside, as a clone of as many instances as there are replicas.
fn enter_child<'c>(cluster: &mut Cluster<'c>, config: &'c Bundle, bundle: RscId, replicas: usize) {
    let Some(primitive) = &config.primitive else { return };
    let settings = cluster[bundle].clone.clone();
    let word = if settings.promotable { "master" } else { "clone" };
    let id: Arc<str> = format!("{}-{word}", config.id).into();
    let mut rsc = resources::collective(cluster, &id, &[], Some(bundle));
    rsc.variant = Variant::Clone;
    if !rsc.meta.contains("resource-stickiness") {
        rsc.meta.set("resource-stickiness", "1");
    }
    resources::read_meta(cluster, &mut rsc);
    rsc.unique = settings.node_max > 1;
    rsc.clone = settings;
    rsc.clone.notify = rsc.meta.read("notify").unwrap_or(false);
    let clone = resources::add(cluster, rsc);
    for number in 0..replicas {
        if cluster.limits.is_exceeded() {
            break;
        }
        let child = resources::enter_primitive(cluster, primitive, Some(clone), Some(number));
        resources::mark_instance(cluster, clone, child);
        let (container, node) = match &mut cluster[bundle].bundle {
            Some(parts) => match parts.replicas.get_mut(number) {
                Some(replica) => {
                    replica.child = Some(child);
                    (Some(replica.container), replica.node)
                }
                None => (None, None),
            },
            None => (None, None),
        };
        if node.is_some() {
            cluster[child].container = container;
        }
    }
    if let Some(parts) = &mut cluster[bundle].bundle {
        parts.child = Some(clone);
    }
}

/// What the agent of the container is told.
fn container_parameters(config: &Bundle, number: usize, address: Option<&str>) -> Table {
    let mut table = Table::default();
    let Some(container) = &config.container else { return table };
    if let Some(image) = &container.image {
        table.set("image", Arc::clone(image));
    }
    table.set("allow_pull", "true");
    table.set("force_kill", "false");
    table.set("reuse", "false");
    table.set("run_opts", run_options(config, container, number, address));
    if let Some(mounts) = mounts(config, number) {
        table.set("mount_points", mounts);
    }
    if let Some(command) = &container.run_command {
        table.set("run_cmd", Arc::clone(command));
    } else if config.primitive.is_some() {
        table.set("run_cmd", "/usr/sbin/pacemaker-remoted");
    }
    if config.primitive.is_some() {
        table.set("monitor_cmd", "/usr/libexec/pacemaker/cts-exec-helper -R -C poke");
    }
    table
}

fn mounts(config: &Bundle, number: usize) -> Option<String> {
    let all: Vec<String> = config
        .storage
        .iter()
        .map(|mapping| {
            let source = match (&mapping.source_dir, &mapping.source_dir_root) {
                (Some(dir), _) => dir.to_string(),
                (None, Some(root)) => format!("{root}/{}-{number}", config.id),
                (None, None) => String::new(),
            };
            format!("{source}:{}", mapping.target_dir.as_deref().unwrap_or_default())
        })
        .collect();
    (!all.is_empty()).then(|| all.join(","))
}

fn run_options(
    config: &Bundle,
    container: &Container,
    number: usize,
    address: Option<&str>,
) -> String {
    let mut options = String::from(" --restart=no");
    if address.is_some() {
        options.push_str(" -h ");
        options.push_str(&config.id);
        options.push('-');
        options.push_str(&number.to_string());
    }
    if let Some(more) = &container.options {
        options.push(' ');
        options.push_str(more);
    }
    options
}
