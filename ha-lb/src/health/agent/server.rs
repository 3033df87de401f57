//! A small agent, for programs that tell their balancers how they are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::Task;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::AgentReport;

/// The most connections that are answered at a time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long one may take to take its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Tells who connects what the program reports of itself, as HAProxy's `agent-check` expects it.
///
/// What is sent to it (`agent-send`) is not looked at.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ha_lb::health::agent::{AgentCheck, AgentHealth, AgentReport, AgentServer, AgentWeight};
///
/// let server = AgentServer::bind("127.0.0.1:0".parse()?).await?;
/// let (handle, task) = (server.handle(), server.spawn());
/// handle.report(AgentReport::new().with_health(AgentHealth::Up).with_weight(AgentWeight::Percent(40)));
///
/// let check = AgentCheck::builder(handle.local_addr().port()).build()?;
/// let report = check.ask(&handle.local_addr().into()).await.expect("it answers");
/// assert_eq!(report.weight(), Some(AgentWeight::Percent(40)));
/// task.stop().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a server does nothing until it is run"]
pub struct AgentServer {
    listener: TcpListener,
    handle: AgentHandle,
}

/// Sets what an [`AgentServer`] tells; a cheap clone.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    local: SocketAddr,
    report: Arc<watch::Sender<AgentReport>>,
}

impl AgentHandle {
    /// The address and port that are listened on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sets what is told from now on.
    pub fn report(&self, report: AgentReport) {
        self.report.send_replace(report);
    }
}

impl AgentServer {
    /// Listens; until it is told something else it says nothing but an empty line, which changes nothing.
    ///
    /// # Errors
    ///
    /// The kernel's, if the port is taken or not allowed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let local = listener.local_addr()?;
        let report = Arc::new(watch::Sender::new(AgentReport::new()));
        Ok(Self { listener, handle: AgentHandle { local, report } })
    }

    /// A handle to say what is told.
    #[must_use]
    pub fn handle(&self) -> AgentHandle {
        self.handle.clone()
    }

    /// Answers until `stop` is ready.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: connections are closed.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut answers = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! { biased;
                () = &mut stop => return,
                _ended = answers.join_next(), if !answers.is_empty() => {}
                accepted = self.listener.accept(), if answers.len() < MAX_CONNECTIONS => {
                    match accepted {
                        Ok((stream, _)) => {
                            let line = format!("{}\n", *self.handle.report.borrow());
                            answers.spawn(answer(stream, line));
                        }
                        Err(error) => {
                            tracing::warn!(%error, "cannot accept a connection");
                            let pause = ha_core::driver::pause(Duration::from_millis(100));
                            tokio::select! {
                                () = &mut stop => return,
                                _over = pause => {}
                            }
                        }
                    }
                }
            }
        }
    }

    /// Runs as a task until the handle is stopped or dropped; must be called inside tokio.
    #[must_use = "dropping the handle stops the server"]
    pub fn spawn(self) -> Task<()> {
        Task::spawn(|mut stop| async move { self.run(stop.wait()).await })
    }
}

/// Says the line and waits until the other side closes: bytes that were sent and not read would turn
/// our close into a reset, and the line might be lost.
async fn answer(mut stream: TcpStream, line: String) {
    let answering = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        for _ in 0..16 {
            if tokio::io::AsyncReadExt::read(&mut stream, &mut rest).await? == 0 {
                break;
            }
        }
        Ok::<_, io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(TIMEOUT, answering).await {
        tracing::debug!(%error, "a balancer went away");
    }
}
