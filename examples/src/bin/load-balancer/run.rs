//! Threads, signals, and the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use ha_core::config::ConfigError;
use ha_examples::json::JsonLines;
use ha_lb::discovery::follow::Follower;
use ha_lb::health::monitor::{Monitor, ShutBackupSessions};
use ha_lb::health::outlier::{self, Watch};
use ha_lb::proxy::{BindError, Ended, Handle};
use ha_lb::{l4, l7};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Mode, Settings};
use crate::events::{HealthLines, Line};

/// Why the program cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A setting that only the library refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine refuses something that is needed to start.
    #[error("cannot {what}: {source}; raise the limits of this process (`ulimit -a`)")]
    Start { what: &'static str, source: io::Error },
}

/// Either proxy.
enum Proxy {
    Http(l7::Proxy),
    Tcp(l4::Proxy),
}

impl Proxy {
    fn bind(settings: &Settings, listen: SocketAddr, share: bool) -> Result<Self, RunError> {
        let config = settings.proxy.clone().listen(listen).reuse_port(share).build()?;
        let pool = settings.pool.clone();
        Ok(match settings.mode {
            Mode::Http => Self::Http(l7::Proxy::bind(settings.http(config)?, pool)?),
            Mode::Tcp => Self::Tcp(l4::Proxy::bind(config, pool)?),
        })
    }

    fn handle(&self) -> Handle {
        match self {
            Self::Http(proxy) => proxy.handle(),
            Self::Tcp(proxy) => proxy.handle(),
        }
    }

    async fn run(self, stop: impl Future<Output = ()>) -> Ended {
        match self {
            Self::Http(proxy) => proxy.run(stop).await,
            Self::Tcp(proxy) => proxy.run(stop).await,
        }
    }
}

/// Balances until a signal.
pub(crate) fn run(settings: &Settings) -> Result<(), RunError> {
    raise_file_limit();
    let lines = Arc::new(JsonLines::stdout());
    thread::scope(|scope| {
        let (stop, stopped) = watch::channel(false);
        let runtime = runtime()?;
        let share = settings.threads > 1;
        let first = runtime.block_on(async {
            if share {
                // Ports that are shared cannot be told from ports in use: look first.
                drop(Proxy::bind(settings, settings.listen, false)?);
            }
            Proxy::bind(settings, settings.listen, share)
        })?;
        let listen = first.handle().local_addr();
        let (bound, others) = mpsc::channel();
        let workers: Vec<_> = (1..settings.threads)
            .map(|_| {
                let (bound, stopped) = (bound.clone(), stopped.clone());
                scope.spawn(move || work(settings, listen, &bound, stopped))
            })
            .collect();
        drop(bound);
        for result in others.iter().take(workers.len()) {
            if let Err(error) = result {
                stop.send_replace(true);
                return Err(error);
            }
        }
        let ended = runtime.block_on(serve(settings, first, &lines, (&stop, stopped)))?;
        let cut =
            workers.into_iter().map(|worker| worker.join().unwrap_or_default()).sum::<usize>();
        lines.write(&Line::Stopped { cut: Some(ended.cut + cut) });
        lines.finish();
        Ok(())
    })
}

/// The first thread: a proxy, the monitor and the signals.
async fn serve(
    settings: &Settings,
    proxy: Proxy,
    lines: &Arc<JsonLines>,
    (stop, stopped): (&watch::Sender<bool>, watch::Receiver<bool>),
) -> Result<Ended, RunError> {
    let cannot = |source| RunError::Start { what: "watch for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let observer = Arc::new(HealthLines(Arc::clone(lines)));
    let monitor = monitor(settings).map(|monitor| {
        monitor.with_observer(observer.clone()).with_seed(u64::from(std::process::id())).spawn()
    });
    let watch = settings.outliers.then(|| {
        let watch = Watch::new(settings.pool.clone(), outlier::Config::default());
        watch.with_observer(observer).spawn()
    });
    let follower = settings.discover.as_ref().map(|discover| {
        let source = discover.source()?;
        Ok::<_, ConfigError>(Follower::new(source, settings.pool.clone()).spawn())
    });
    let follower = follower.transpose()?;
    let (listen, threads) = (proxy.handle().local_addr(), settings.threads);
    lines.write(&Line::Ready { listen, threads });
    let signals = async {
        let name = next(&mut terminate, &mut interrupt).await;
        lines.write(&Line::Stopping { signal: name });
        stop.send_replace(true);
        next(&mut terminate, &mut interrupt).await;
        lines.write(&Line::Stopped { cut: None });
        lines.finish();
        std::process::exit(0);
    };
    let ended = tokio::select! {
        ended = proxy.run(wait(stopped)) => ended,
        () = signals => unreachable!("it does not return"),
    };
    // They end with the runtime; health and lists no longer matter.
    drop((monitor, watch, follower));
    Ok(ended)
}

/// What watches the health of the backends, if anything is to.
fn monitor(settings: &Settings) -> Option<Monitor> {
    let pool = || settings.pool.clone();
    let monitor = match (&settings.check, &settings.agent) {
        (None, None) => return None,
        (None, Some(agent)) => Monitor::of_agents(pool(), agent.clone()),
        (Some(check), agent) => {
            let monitor = Monitor::new(pool(), Arc::clone(check), settings.pace.clone());
            agent.iter().cloned().fold(monitor, Monitor::with_agent)
        }
    };
    Some(if settings.shut_backups {
        monitor.with_hook(Arc::new(ShutBackupSessions::new()))
    } else {
        monitor
    })
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Another thread: a proxy of its own on the same port; returns how many connections it cut.
fn work(
    settings: &Settings,
    listen: SocketAddr,
    bound: &mpsc::Sender<Result<(), RunError>>,
    stopped: watch::Receiver<bool>,
) -> usize {
    let started = runtime().and_then(|runtime| {
        let proxy = runtime.block_on(async { Proxy::bind(settings, listen, true) })?;
        Ok((runtime, proxy))
    });
    match started {
        Ok((runtime, proxy)) => {
            let _first_thread_has_failed = bound.send(Ok(()));
            runtime.block_on(proxy.run(wait(stopped))).cut
        }
        Err(error) => {
            let _first_thread_has_failed = bound.send(Err(error));
            0
        }
    }
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    let _gone = stopped.wait_for(|stop| *stop).await;
}

fn runtime() -> Result<Runtime, RunError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| RunError::Start { what: "start a thread", source })
}

/// Each connection needs two descriptors, and the usual limit is 1024: use what is allowed.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
