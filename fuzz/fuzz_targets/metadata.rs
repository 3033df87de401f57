#![no_main]

use ha_agents::ocf::AgentMetadata;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(metadata) = AgentMetadata::parse(text) {
        drop(format!("{metadata:?}"));
    }
});
