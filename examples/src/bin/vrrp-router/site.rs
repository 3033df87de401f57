//! The virtual routers of a `keepalived.conf`.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ha_core::config::ConfigError;
use ha_core::driver::pause;
use ha_examples::cli::{self, USAGE};
use ha_examples::json::JsonLines;
use ha_vip::bfd;
use ha_vip::keepalived::{Reader, Site, Warning};
use ha_vip::vrrp::control::Control;
use ha_vip::vrrp::{Changes, Instance, ServiceHandle};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::flags::Flags;
use crate::notices::Notices;

/// So long notify scripts may take in the end.
const LAST_WORDS: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line<'a> {
    Warning { place: &'a str, text: &'a str },
    Ready { file: &'a str, instances: Vec<&'a str> },
    Reloaded { changes: String },
    NotReloaded { why: &'a [String] },
    Stopping { signal: &'a str },
    Stopped { sent: u64, received: u64, became_active: u64 },
}

/// Reads the file, and checks or runs it.
pub(crate) fn main(file: &Path, flags: &Flags) -> ExitCode {
    let reader = Reader::new().lenient(flags.lenient);
    let reader = match &flags.config_id {
        Some(id) => reader.config_id(id),
        None => reader,
    };
    let site = match reader.read(file) {
        Ok(site) => site,
        Err(error) => {
            for problem in error.problems() {
                let _status = cli::fail(USAGE, &problem.to_string());
            }
            return ExitCode::from(USAGE);
        }
    };
    if flags.check {
        tell(&site);
        return ExitCode::SUCCESS;
    }
    cli::prefer(site.nice().unwrap_or(flags.nice));
    cli::run(serve(Running { file, flags, reader, site }))
}

/// Tells what the file holds.
#[expect(clippy::print_stdout, reason = "the answer to `--check`")]
fn tell(site: &Site) {
    for warning in site.warnings() {
        println!("warning: {}", warning.to_string().escape_debug());
    }
    let (instances, groups) = (site.host().instances(), site.host().groups());
    println!(
        "ok: {} instances, {} groups, {} checks, {} neighbours, {} notifications",
        instances.len(),
        groups.len(),
        site.checks().count(),
        site.neighbours().len(),
        site.notifications().len(),
    );
}

/// What runs.
struct Running<'a> {
    file: &'a Path,
    flags: &'a Flags,
    reader: Reader,
    site: Site,
}

async fn serve(mut running: Running<'_>) -> Result<(), Box<dyn Error>> {
    let lines = Arc::new(JsonLines::stdout());
    let mut asked_to_stop = std::pin::pin!(cli::asked_to_stop());
    // From now on SIGHUP does not end the program.
    let mut hangups = signal(SignalKind::hangup())?;
    let site = &running.site;
    warn(&lines, site.warnings());
    tokio::select! { biased;
        _ = &mut asked_to_stop => return Ok(()),
        waited = pause(site.startup_delay()) => waited?,
    }
    let watched: Arc<JsonLines> = Arc::clone(&lines);
    let mut neighbours = bfd::Service::new()?.observed(watched);
    let builder = site.service(&mut neighbours)?.observed(subject(site), lines.clone());
    let service = crate::guarded(builder, running.flags).open().await?;
    let handle = service.handles();
    let mut notices = Notices::start(site, &handle);
    let (asks, mut asked) = mpsc::channel(1);
    let control = Control::new(handle.clone()).reloading(asks);
    let operated = running.flags.operate.start(&handle, control).await?;
    let neighbours = neighbours.spawn();
    let instances = site.host().instances().iter().map(Instance::name).collect();
    lines.write(&Line::Ready { file: &running.file.display().to_string(), instances });
    let stop = async {
        match asked_to_stop.await {
            Ok(signal) => lines.write(&Line::Stopping { signal }),
            // Without signals the program can still be killed; the addresses are cleared then by
            // its next life.
            Err(_) => std::future::pending().await,
        }
    };
    let reloads = async {
        loop {
            let asked = tokio::select! {
                Some(()) = hangups.recv() => None,
                Some(asked) = asked.recv() => Some(asked),
                else => return,
            };
            let changes = running.reload(&handle, &mut notices, &lines).await;
            if let Some(asked) = asked {
                asked.answer(changes);
            }
        }
    };
    let stats = tokio::select! { biased;
        stats = service.run(stop) => stats?,
        () = reloads => return Err("signals cannot be heard any more".into()),
    };
    notices.end(LAST_WORDS).await;
    operated.stop().await;
    neighbours.stop().await??;
    let (sent, received, became_active) = (stats.sent, stats.received, stats.became_active);
    lines.write(&Line::Stopped { sent, received, became_active });
    lines.finish();
    Ok(())
}

impl Running<'_> {
    /// Reads the file again, and goes on with what it says, or with what it said before.
    async fn reload(
        &mut self,
        handle: &ServiceHandle,
        notices: &mut Notices,
        lines: &JsonLines,
    ) -> Result<Changes, String> {
        match self.read_again(handle).await {
            Ok((site, changes)) => {
                notices.go_on(Some(&self.site), &site, handle, &changes);
                self.site = site;
                warn(lines, self.site.warnings());
                lines.write(&Line::Reloaded { changes: changes.to_string() });
                Ok(changes)
            }
            Err(error) => {
                let why: Vec<String> = match error.downcast_ref::<ConfigError>() {
                    Some(error) => error.problems().iter().map(ToString::to_string).collect(),
                    None => vec![cli::chain(&*error)],
                };
                lines.write(&Line::NotReloaded { why: &why });
                Err(why.join("; "))
            }
        }
    }

    async fn read_again(&self, handle: &ServiceHandle) -> Result<(Site, Changes), Box<dyn Error>> {
        let site = self.reader.read(self.file)?;
        let trackers = site.trackers_since(&self.site)?;
        let changes = handle.reload_with(site.host().clone(), trackers).await?;
        Ok((site, changes))
    }
}

fn warn(lines: &JsonLines, warnings: &[Warning]) {
    for Warning { place, text, .. } in warnings {
        lines.write(&Line::Warning { place, text });
    }
}

/// The name of the one instance, or what goes before the names of several.
fn subject(site: &Site) -> String {
    match site.host().instances() {
        [only] => only.name().to_owned(),
        _ => site.router_id().unwrap_or("vrrp").to_owned(),
    }
}
