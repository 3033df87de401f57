//! HTTP/2, as gRPC uses it: one connection for each server, many requests at a time on it.
//!
//! ```text
//! cargo run -p ha-lb --features tower,http --example http2_client
//!
//! 300 requests at a time: each server had about 100, on 1 connection
//! ```
#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::try_join_all;
use ha_core::driver::Task;
use ha_lb::algorithm::Algorithm;
use ha_lb::client::{AnswerFuture, AtBodyEnd, Balance};
use ha_lb::endpoint::Endpoint;
use ha_lb::pool::Pool;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

type Failed = Box<dyn Error + Send + Sync>;

/// A connection to one endpoint; its clones send on the same one.
#[derive(Debug, Clone)]
struct Http2(SendRequest<Full<Bytes>>);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ConnectError(#[from] Failed);

impl Http2 {
    async fn connect(endpoint: Endpoint) -> Result<Self, ConnectError> {
        let stream = TcpStream::connect(endpoint.address()).await.map_err(Failed::from)?;
        let ready = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = ready.map_err(Failed::from)?;
        drop(Task::spawn(|_| connection)); // it ends with its last sender
        Ok(Self(sender))
    }
}

impl Service<Request<Full<Bytes>>> for Http2 {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = AnswerFuture<Response<Incoming>, hyper::Error>;

    /// Fails once the connection is gone: the endpoint is connected to again then.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// A server that answers with its name, and counts its connections.
fn serve(name: &'static str, listener: TcpListener, connections: Arc<AtomicU32>) -> Task<()> {
    Task::spawn(move |mut stop| async move {
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.wait() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            connections.fetch_add(1, Ordering::SeqCst);
            let answer = service_fn(move |_| async move {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name))))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tasks.spawn(server.serve_connection(TokioIo::new(stream), answer));
        }
    })
}

/// Runs the example; returns what it prints.
pub(crate) async fn run() -> Result<Vec<String>, Failed> {
    let connections = Arc::new(AtomicU32::new(0));
    let (mut servers, mut endpoints) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        endpoints.push(Endpoint::new(name.parse()?, listener.local_addr()?));
        servers.push(serve(name, listener, Arc::clone(&connections)));
    }
    let client =
        Balance::builder(Pool::new(&Algorithm::LeastConnections, endpoints)?, Http2::connect)
            .finish(AtBodyEnd::default())
            .reconnect_on_error(false) // `poll_ready` tells when the connection is gone
            .build()?;

    let requests = (0..300).map(|number| {
        let mut client = client.clone();
        async move {
            let request = Request::post(format!("http://shop/orders/{number}"));
            let request = request.body(Full::new(Bytes::from("one")))?;
            let body = client.call(request).await?.into_body().collect().await?.to_bytes();
            Ok::<_, Failed>(String::from_utf8_lossy(&body).into_owned())
        }
    });
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    for name in try_join_all(requests).await? {
        *answers.entry(name).or_default() += 1;
    }
    let even = answers.len() == 3 && answers.values().all(|count| (90..=110).contains(count));
    let each = connections.load(Ordering::SeqCst) / 3;
    let had = if even { "each server had about 100".to_owned() } else { format!("{answers:?}") };
    Ok(vec![format!("300 requests at a time: {had}, on {each} connection")])
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
