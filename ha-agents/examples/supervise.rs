//! Starts a process as a resource, kills it from outside, sees it and starts it again.
//!
//! Run: `cargo run -p ha-agents --example supervise`
//! The last line is `recovered, then stopped without a trace`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::time::Duration;

use ha_agents::native::Process;
use ha_agents::{Check, OpContext, Operation, Outcome, ResourceAgent, Severity};
use ha_core::driver::pause;
use ha_core::id::OpId;
use ha_core::role::Role;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let service = Process::new("sleep").arg("1000");
    let context = OpContext::new("service".parse()?, OpId::FIRST);
    service.start(&context).await?;
    let id = service.id().await.ok_or("it runs")?;
    println!("started as process {id}");

    // Somebody's out-of-memory killer:
    std::process::Command::new("kill").args(["-9", &id.to_string()]).status()?;
    loop {
        let report = service.monitor(&context, Check::STARTED).await?;
        let meaning = report.outcome.meaning(Operation::Monitor(Role::Started));
        println!("monitor: {} {}", report.outcome, report.reason);
        if meaning.severity == Severity::Soft {
            break; // a failure that may be recovered here
        }
        pause(Duration::from_millis(10)).await?;
    }
    service.start(&context).await?;
    let report = service.monitor(&context, Check::STARTED).await?;
    assert_eq!(report.outcome, Outcome::Success);
    println!("monitor: {}", report.outcome);
    service.stop(&context).await?;
    let report = service.monitor(&context, Check::PROBE).await?;
    assert_eq!(report.outcome, Outcome::NotRunning);
    println!("recovered, then stopped without a trace");
    Ok(())
}
