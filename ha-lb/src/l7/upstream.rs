//! A connection to an endpoint, driven by whoever uses it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A request's body on its way to the endpoint.
pub(super) type RequestBody = Either<Incoming, Empty<Bytes>>;

/// Why a request got no answer; with the request, if nothing of it was sent.
pub(super) type SendError = TrySendError<Request<RequestBody>>;

/// One connection to an endpoint.
#[derive(Debug)]
pub(super) struct Upstream {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended.
    connection: Option<Connection<TokioIo<TcpStream>, RequestBody>>,
}

impl Upstream {
    /// Makes a connection ready for requests.
    pub(super) async fn new(stream: TcpStream, max_header_bytes: usize) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(max_header_bytes)
            .handshake(TokioIo::new(stream))
            .await?;
        let mut upstream = Self { sender, connection: Some(connection) };
        poll_fn(|cx| {
            upstream.drive(cx);
            upstream.sender.poll_ready(cx)
        })
        .await?;
        Ok(upstream)
    }

    /// Lets the connection read and write.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(ended) = Pin::new(connection).poll(cx)
        {
            tracing::trace!(?ended, "connection to a backend has ended");
            self.connection = None;
        }
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        poll_fn(|cx| {
            let ended = match connection {
                // An upgraded connection is taken over later: it must not be polled to its end.
                Some(connection) => connection.poll_without_shutdown(cx),
                None => Poll::Pending,
            };
            if let Poll::Ready(Err(_)) = ended {
                *connection = None;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Whether another request can be sent now: the last answer is complete, and the endpoint has
    /// not closed the connection.
    pub(super) fn is_reusable(&mut self) -> bool {
        let mut cx = Context::from_waker(noop_waker_ref());
        self.drive(&mut cx);
        self.connection.is_some() && matches!(self.sender.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    /// The plain connection after an upgrade, with the bytes that were read already.
    pub(super) async fn into_plain(self) -> io::Result<(TcpStream, Bytes)> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let mut connection = self.connection.ok_or_else(gone)?;
        drop(self.sender);
        poll_fn(|cx| connection.poll_without_shutdown(cx)).await.map_err(io::Error::other)?;
        let parts = connection.into_parts();
        Ok((parts.io.into_inner(), parts.read_buf))
    }
}
