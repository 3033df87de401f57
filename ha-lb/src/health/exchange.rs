//! One HTTP request and its response, on a connection of its own.

use std::error::Error;
use std::pin::pin;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Request, Response};
#[cfg(feature = "http2")]
use hyper::{
    Uri,
    http::uri::{Authority, Scheme},
};
use hyper_util::rt::TokioIo;

use super::Failed;
use super::dialog::Stream;

/// The most that is read of a body, and of a head, in bytes.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// How requests and responses are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Http1,
    #[cfg(feature = "http2")]
    Http2,
}

/// Sends `request` and lets `judge` look at the response while the connection is served.
pub(super) async fn exchange<J, T>(
    stream: impl Stream + 'static,
    wire: Wire,
    request: Request<Full<Bytes>>,
    judge: impl FnOnce(Response<Incoming>) -> J,
) -> Result<T, Failed>
where
    J: Future<Output = Result<T, Failed>>,
{
    match wire {
        Wire::Http1 => {
            let builder = http1::Builder::new().max_buf_size(MAX_BODY).clone();
            let opened = builder.handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = opened.map_err(|error| no_answer(&error))?;
            let response = async move { sender.send_request(request).await };
            while_served(async { judge(answered(response.await)?).await }, connection).await
        }
        #[cfg(feature = "http2")]
        Wire::Http2 => {
            let tasks = tasks::Tasks::default();
            let mut builder = hyper::client::conn::http2::Builder::new(tasks.executor());
            let limit = u32::try_from(MAX_BODY).unwrap_or(u32::MAX);
            builder.initial_connection_window_size(limit).initial_stream_window_size(limit);
            let opened = builder.handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = opened.map_err(|error| no_answer(&error))?;
            let exchange = async {
                // The sender stays: without it the connection would end under the body.
                judge(answered(sender.send_request(request).await)?).await
            };
            while_served(exchange, connection).await
        }
    }
}

async fn while_served<T>(
    exchange: impl Future<Output = Result<T, Failed>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> Result<T, Failed> {
    match select(pin!(exchange), pin!(connection)).await {
        Either::Left((result, _)) => result,
        // The connection has ended: what it brought is there to be judged.
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn answered(response: hyper::Result<Response<Incoming>>) -> Result<Response<Incoming>, Failed> {
    response.map_err(|error| no_answer(&error))
}

fn no_answer(error: &hyper::Error) -> Failed {
    Failed::because(format_args!("no answer: {}", words(error)))
}

/// An error with its causes: hyper's own words do not repeat them.
fn words(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The target of a request in HTTP/2, which names the scheme and the host.
#[cfg(feature = "http2")]
pub(super) fn absolute(scheme: &str, host: Authority, path: Uri) -> Result<Uri, Failed> {
    let mut parts = path.into_parts();
    parts.scheme = Some(Scheme::try_from(scheme).map_err(Failed::because)?);
    parts.authority = Some(host);
    Uri::from_parts(parts).map_err(Failed::because)
}

/// The start of a body, and the trailers if it ends within it.
pub(super) async fn body_start(mut body: Incoming) -> Result<(Vec<u8>, Option<HeaderMap>), Failed> {
    let (mut start, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Failed::because(format_args!("in the body: {}", words(&error))))?;
        if let Some(data) = frame.data_ref() {
            let room = MAX_BODY - start.len();
            start.extend(data.iter().take(room));
        } else if let Ok(fields) = frame.into_trailers() {
            trailers = Some(fields);
        }
        if start.len() == MAX_BODY {
            break;
        }
    }
    Ok((start, trailers))
}

#[cfg(feature = "http2")]
mod tasks {
    use std::sync::{Arc, Mutex, PoisonError, Weak};

    use tokio::task::JoinSet;

    /// The tasks of one connection; they end with it.
    #[derive(Default)]
    pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

    /// Starts tasks, which do not keep each other alive.
    #[derive(Clone)]
    pub(super) struct Executor(Weak<Mutex<JoinSet<()>>>);

    impl Tasks {
        pub(super) fn executor(&self) -> Executor {
            Executor(Arc::downgrade(&self.0))
        }
    }

    impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Executor {
        fn execute(&self, task: F) {
            if let Some(tasks) = self.0.upgrade() {
                let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
                tasks.spawn(async {
                    let _finished = task.await;
                });
            }
        }
    }
}
