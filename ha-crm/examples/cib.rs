//! Reads a CIB, says what is in it, and what is wrong with it.
//!
//! Run: `cargo run -p ha-crm --features cib --example cib -- /var/lib/pacemaker/cib/cib.xml`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;

use ha_crm::cib::{Cib, CibResource};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("say which file to read")?;
    let text = std::fs::read_to_string(path)?;
    let (cib, notes) = Cib::parse(&text)?;
    for note in &notes {
        println!("{note}");
    }
    println!("nodes: {}", cib.nodes.len());
    println!("primitives: {}", cib.resources.iter().flat_map(CibResource::primitives).count());
    println!("constraints: {}", cib.constraints.len());
    let histories = || cib.node_states.iter().flat_map(|state| &state.resources);
    println!("histories: {}", histories().count());
    println!(
        "operations done: {}",
        histories().map(|history| history.operations.len()).sum::<usize>()
    );
    Ok(())
}
