//! How running virtual routers are watched and told: a control socket and Prometheus metrics.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ha_core::driver::{Stop, Task, pause};
use ha_vip::vrrp::ServiceHandle;
use ha_vip::vrrp::control::{Control, Server};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::{TcpListener, TcpStream};

/// How long a scrape may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The flags of it.
#[derive(Debug, Args)]
pub struct Operate {
    /// Answer on this control socket; `vipctl` asks it
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Serve Prometheus metrics on this address, with any path
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
}

/// What runs; dropping it ends it.
#[derive(Debug)]
pub struct Operated {
    server: Option<Server>,
    metrics: Option<Task<()>>,
}

impl Operate {
    /// Starts what the flags ask for; `control` answers on the socket.
    ///
    /// # Errors
    ///
    /// A socket that another program listens on, or that may not be opened.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn start(
        &self,
        handle: &ServiceHandle,
        control: Control,
    ) -> Result<Operated, Box<dyn Error>> {
        let mut metrics = None;
        if let Some(address) = self.metrics {
            let listener = TcpListener::bind(address).await.map_err(|error| {
                format!("cannot serve metrics on {address}: {error}; choose another --metrics")
            })?;
            let recorder = PrometheusBuilder::new().build_recorder();
            let shown = recorder.handle();
            metrics::set_global_recorder(recorder)?;
            let handle = handle.clone();
            metrics = Some(Task::spawn(|stop| serve(listener, handle, shown, stop)));
        }
        let server = match &self.control {
            Some(socket) => Some(control.bind(socket).await?),
            None => None,
        };
        Ok(Operated { server, metrics })
    }
}

impl Operated {
    /// Ends it, and removes the socket.
    ///
    /// # Cancel safety
    ///
    /// What was told to end does so; the others are dropped.
    pub async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
        if let Some(task) = self.metrics {
            let _ended_either_way = task.stop().await;
        }
    }
}

/// Answers scrapes one after the other, each with what is at that moment.
async fn serve(
    listener: TcpListener,
    handle: ServiceHandle,
    shown: PrometheusHandle,
    mut stop: Stop,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => return,
            accepted = listener.accept() => accepted,
        };
        let scraped = async {
            if let Ok((stream, _)) = accepted {
                answer(stream, &handle, &shown).await;
            }
        };
        tokio::select! {
            () = stop.wait() => return,
            () = scraped => {}
            _timer = pause(PATIENCE) => {}
        }
    }
}

async fn answer(stream: TcpStream, handle: &ServiceHandle, shown: &PrometheusHandle) {
    let service = service_fn(async |_request: Request<_>| {
        // Without routers nothing changes any more.
        if let Ok(snapshot) = handle.snapshot().await {
            snapshot.record();
        }
        Ok::<_, Infallible>(Response::new(shown.render()))
    });
    let mut connection = http1::Builder::new();
    let connection = connection.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "scrape not answered");
    }
}
