//! Checks a CIB: says all that is wrong with it, one problem a line; ends with 1 if there is an
//! error.
//!
//! Run: `cargo run -p ha-crm --features cib --example check -- /var/lib/pacemaker/cib/cib.xml`
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::process::ExitCode;

use ha_crm::check::{Severity, check};
use ha_crm::cib::Cib;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("say which file to check")?;
    let text = std::fs::read_to_string(path)?;
    let (cib, notes) = Cib::parse(&text)?;
    let findings = check(&cib, &notes);
    for finding in &findings {
        println!("{finding}");
    }
    let is_wrong = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
