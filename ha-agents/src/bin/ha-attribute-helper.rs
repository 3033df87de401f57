//! The program behind `attrd_updater`, `crm_attribute`, `crm_master`, `crm_mon`, `crm_node` and
//! `crm_resource` on the path of agents: which one it is, it knows by the name it was called by.
//! See [`ha_agents::attributes`].

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = ha_agents::attributes::act_as_helper() {
        return code.into();
    }
    let text = "ha-attribute-helper is called by agents, through links with the names of \
        Pacemaker's programs; an AttributeServer of ha-agents makes them\n";
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
    ExitCode::from(64)
}
