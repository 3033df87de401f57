//! An HTTP/1.1 client over three servers: one of them dies and returns, and no request fails.
//!
//! ```text
//! cargo run -p ha-lb --features tower,http --example hyper_client
//!
//! 30 requests: a=10 b=10 c=10
//! b is down: 30 requests are answered by a and c
//! b is used again, no request has failed
//! ```
#![expect(clippy::print_stdout, reason = "an example tells what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use ha_core::driver::{Task, pause};
use ha_lb::algorithm::Algorithm;
use ha_lb::client::{AnswerFuture, AtBodyEnd, Balance, Retrying};
use ha_lb::endpoint::Endpoint;
use ha_lb::pool::Pool;
use ha_lb::resilience::backoff::{Backoff, Jitter};
use ha_lb::resilience::budget::Budget;
use ha_lb::resilience::retry::Policy;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

type Failed = Box<dyn Error + Send + Sync>;

/// The connections to one endpoint: HTTP/1.1 takes one request at a time on each.
#[derive(Debug, Clone)]
struct Http1 {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<SendRequest<Empty<Bytes>>>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct HttpError(#[from] Failed);

impl Http1 {
    async fn connect(endpoint: Endpoint) -> Result<Self, HttpError> {
        let http = Self { address: endpoint.address(), idle: Arc::default() };
        let first = http.open().await?;
        http.idle().push(first);
        Ok(http)
    }

    async fn open(&self) -> Result<SendRequest<Empty<Bytes>>, Failed> {
        let stream = TcpStream::connect(self.address).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        drop(Task::spawn(|_| connection)); // it ends with its sender
        Ok(sender)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Empty<Bytes>>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        let usable = {
            let mut idle = self.idle();
            idle.retain(|sender| !sender.is_closed());
            idle.iter().position(SendRequest::is_ready).map(|at| idle.swap_remove(at))
        };
        let mut sender = match usable {
            Some(sender) => sender,
            None => self.open().await?,
        };
        let response = sender.send_request(request).await.map_err(Failed::from)?;
        self.idle().push(sender); // ready again once the answer's body was read
        Ok(response)
    }
}

impl Service<Request<Empty<Bytes>>> for Http1 {
    type Response = Response<Incoming>;
    type Error = HttpError;
    type Future = AnswerFuture<Response<Incoming>, HttpError>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), HttpError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// A server that answers with its name; it dies when the task is stopped.
fn serve(name: &'static str, listener: TcpListener) -> Task<()> {
    Task::spawn(move |mut stop| async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.wait() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            let answer = service_fn(move |_| async move {
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(name))))
            });
            let server = hyper::server::conn::http1::Builder::new();
            connections.spawn(server.serve_connection(TokioIo::new(stream), answer));
        }
    })
}

/// Sends requests with `client`; tells how many each server has answered.
async fn work<S, B>(client: &S, requests: u32) -> Result<BTreeMap<String, u32>, Failed>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Into<Failed>> + Clone,
    B: hyper::body::Body<Error: Into<Failed>>,
{
    let mut answers = BTreeMap::new();
    for _ in 0..requests {
        let request = Request::get("/").header("host", "shop").body(Empty::new())?;
        let response = client.clone().call(request).await.map_err(Into::into)?;
        let body = response.into_body().collect().await.map_err(Into::into)?.to_bytes();
        *answers.entry(String::from_utf8_lossy(&body).into_owned()).or_default() += 1;
    }
    Ok(answers)
}

fn in_words(answers: &BTreeMap<String, u32>) -> String {
    let counts: Vec<_> = answers.iter().map(|(name, count)| format!("{name}={count}")).collect();
    counts.join(" ")
}

/// Runs the example; returns what it prints.
pub(crate) async fn run() -> Result<Vec<String>, Failed> {
    let (mut servers, mut endpoints) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        endpoints.push(Endpoint::new(name.parse()?, listener.local_addr()?));
        servers.push(serve(name, listener));
    }
    let of_b = endpoints.get(1).ok_or("there are three")?.address();
    let pool = Pool::new(&Algorithm::RoundRobin, endpoints)?;
    let short = Duration::from_millis(50);
    let client = Balance::builder(pool, Http1::connect)
        .finish(AtBodyEnd::default())
        .backoff(Backoff::new(short, short, Jitter::None)?)
        .build()?;
    let client = Retrying::new(client, Policy::default(), Budget::default())
        .idempotent(|request| request.method() == Method::GET);

    let mut told = vec![format!("30 requests: {}", in_words(&work(&client, 30).await?))];
    servers.remove(1).stop().await?;
    let answered: Vec<_> = work(&client, 30).await?.into_keys().collect();
    told.push(format!("b is down: 30 requests are answered by {}", answered.join(" and ")));
    let _again = serve("b", TcpListener::bind(of_b).await?);
    while !work(&client, 3).await?.contains_key("b") {
        pause(Duration::from_millis(10)).await?;
    }
    told.push("b is used again, no request has failed".to_owned());
    Ok(told)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failed> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
