//! A node of the cluster: what the program `cluster-node` is, whose events are JSON lines.

use std::error::Error;
use std::path::Path;

use ha_agents::registry::Registry;
use ha_core::id::NodeName;
use ha_crm::file::NodeFile;
use ha_crm::manager::{ManagerEvent, Told};
use ha_crm::node::Node;
use ha_examples::cli;
use ha_examples::json::JsonLines;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;

/// One event of a node, as its line says it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NodeEvent {
    /// Nanoseconds on the boot-time clock, which all nodes of a lab share.
    pub(crate) at: u64,
    pub(crate) by: NodeName,
    #[serde(flatten)]
    pub(crate) event: ManagerEvent,
}

/// Takes part in the cluster until SIGTERM.
pub(crate) async fn run(config: &Path, name: &NodeName) -> Result<(), Box<dyn Error>> {
    cli::prefer(-10);
    let file = NodeFile::read_as(config, name)?;
    let lines = JsonLines::stdout();
    let mut agents = Registry::new();
    ha_crm::address::register(&mut agents);
    let mut node = Node::open(&file, agents).await?;
    let mut events = node.events();
    let mut stop = std::pin::pin!(cli::asked_to_stop());
    loop {
        tokio::select! { biased;
            signal = &mut stop => {
                signal?;
                break;
            }
            event = events.recv() => match event {
                Ok(told) => tell(&lines, name, told),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events were missed");
                }
                Err(RecvError::Closed) => break,
            },
            ended = node.ended() => return Ok(ended?),
        }
    }
    node.leave().await?;
    while let Ok(told) = events.try_recv() {
        tell(&lines, name, told);
    }
    lines.finish();
    Ok(())
}

fn tell(lines: &JsonLines, name: &NodeName, told: Told) {
    lines.write(&NodeEvent { at: told.at.as_nanos(), by: name.clone(), event: told.event });
}
