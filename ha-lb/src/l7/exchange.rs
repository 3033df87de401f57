//! One request and its answer.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ha_core::id::EndpointName;
use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::http::request;
use hyper::{Request, Response, StatusCode, Version};
use tokio::time::timeout;

use super::Config;
use super::body::{AnswerBody, Lease};
use super::connection::{Activity, Upgraded};
use super::headers;
use super::idle::IdlePool;
use super::upstream::{RequestBody, SendError, Upstream};
use crate::algorithm::hash::Key;
use crate::balancer::PickContext;
use crate::l4::Buffers;
use crate::pick::{Outcome, Pick};
use crate::pool::Pool;
use crate::proxy::{Dialer, PRIORITY, Phase, Shared, address_bytes, connect, count};
use crate::report;
use crate::state::EndpointState;

/// Who has sent a request, what it is placed by, and who is to stay with one endpoint.
#[derive(Debug)]
struct Sender {
    client: IpAddr,
    key: Vec<u8>,
    stick_key: Vec<u8>,
    /// The endpoint that its cookie names.
    known: Option<EndpointName>,
}

impl Sender {
    fn context(&self) -> PickContext<'_> {
        let context = PickContext::new().with_client(self.client).with_hash_key(&self.key);
        let context = match &*self.stick_key {
            [] => context,
            key => context.with_stick_key(key),
        };
        match &self.known {
            Some(name) => context.with_preferred(name),
            None => context,
        }
    }
}

/// What all connections of a proxy share: how a request becomes an answer.
#[derive(Debug)]
pub(super) struct Exchanger {
    shared: Arc<Shared>,
    dialer: Dialer,
    idle: Arc<IdlePool>,
    buffers: Arc<Buffers>,
    config: Config,
}

/// An attempt that brought no answer.
struct Miss {
    /// What the client is told if it was the last attempt.
    status: StatusCode,
    /// Nothing of it was sent: it can be sent again, whatever it is.
    unsent: Option<Box<Request<RequestBody>>>,
}

/// A request that may have to be sent more than once.
enum Message {
    /// Idempotent and without a body: can be made anew.
    Repeatable(Box<request::Parts>),
    /// Can be sent once; `None` once it has been.
    Once(Option<Box<Request<RequestBody>>>),
}

impl Message {
    fn new(head: request::Parts, body: Incoming) -> Self {
        if head.method.is_idempotent() && body.is_end_stream() {
            return Self::Repeatable(Box::new(head));
        }
        Self::Once(Some(Box::new(Request::from_parts(head, Either::Left(body)))))
    }

    /// The request for the next attempt; `None` if it must not be sent again.
    fn take(&mut self) -> Option<Request<RequestBody>> {
        match self {
            Self::Once(request) => request.take().map(|request| *request),
            Self::Repeatable(head) => {
                let mut request = Request::new(Either::Right(Empty::new()));
                *request.method_mut() = head.method.clone();
                *request.uri_mut() = head.uri.clone();
                *request.headers_mut() = head.headers.clone();
                Some(request)
            }
        }
    }
}

impl Exchanger {
    pub(super) fn new(config: &Config, pool: Pool, shared: Arc<Shared>) -> Self {
        Self {
            shared,
            dialer: Dialer::new(pool, config.proxy()),
            idle: Arc::new(IdlePool::new(config)),
            buffers: Arc::default(),
            config: config.clone(),
        }
    }

    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn idle(&self) -> &IdlePool {
        &self.idle
    }

    pub(super) fn buffers(&self) -> Arc<Buffers> {
        Arc::clone(&self.buffers)
    }

    pub(super) const fn idle_timeout(&self) -> Duration {
        self.config.proxy().idle_timeout()
    }

    /// Answers a request, with an endpoint's answer or an own one.
    pub(super) async fn exchange(
        &self,
        request: Request<Incoming>,
        client: IpAddr,
        activity: &Activity,
    ) -> Response<AnswerBody> {
        count(&self.shared.counters.requests, 1);
        let (mut head, body) = request.into_parts();
        let mut answer = match headers::vet(&head) {
            Ok(()) => {
                let sender = self.sender(&mut head, client);
                headers::forward_request(&mut head, client);
                self.forward(Message::new(head, body), &sender, activity).await
            }
            Err((status, text)) => {
                let mut answer = own(status, text);
                close(&mut answer);
                answer
            }
        };
        if self.shared.phase() >= Phase::LameDuck
            && answer.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            close(&mut answer);
        }
        answer
    }

    /// What is known of the sender of a request; takes from the head what the endpoint is not to see.
    fn sender(&self, head: &mut request::Parts, client: IpAddr) -> Sender {
        let key = self.dialer.pool.key().map(|key| headers::key(head, key)).unwrap_or_default();
        let stick_key = match (self.dialer.pool.stick_table(), self.config.stick_on()) {
            (None, _) => Vec::new(),
            (Some(_), Key::Source) => address_bytes(client),
            (Some(_), key) => headers::key(head, key),
        };
        let cookie = self.config.cookie();
        let known = cookie.and_then(|cookie| headers::take_cookie(&mut head.headers, cookie));
        Sender { client, key, stick_key, known }
    }

    async fn forward(
        &self,
        mut message: Message,
        sender: &Sender,
        activity: &Activity,
    ) -> Response<AnswerBody> {
        let mut tried: Vec<Arc<EndpointState>> = Vec::new();
        let mut reuse = true;
        let mut status = StatusCode::BAD_GATEWAY;
        for attempt in 0..=self.dialer.retries {
            let Some(request) = message.take() else { break };
            let context = sender.context().with_excluded(&tried);
            let pick = match self.dialer.pool.acquire(&context, PRIORITY).await {
                Ok(pick) => pick,
                Err(_) if attempt > 0 => break,
                Err(error) => {
                    return self.failed(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
                }
            };
            count(&self.shared.counters.retried, u64::from(attempt > 0));
            let kept = if reuse { self.idle.take(pick.state()) } else { None };
            let was_kept = kept.is_some();
            let state = Arc::clone(pick.state());
            let miss = match self.attempt(kept, pick, request, activity).await {
                Ok(mut answer) => {
                    if let Some(cookie) = self.config.cookie() {
                        let known = sender.known.as_ref();
                        headers::set_cookie(answer.headers_mut(), cookie, known, state.name());
                    }
                    return answer;
                }
                Err(miss) => miss,
            };
            status = miss.status;
            if let (Message::Once(slot), Some(request)) = (&mut message, miss.unsent) {
                *slot = Some(request);
            }
            if status == StatusCode::GATEWAY_TIMEOUT {
                break;
            }
            // A kept connection may just have been too old: go on with fresh ones, also to this
            // endpoint. One that fails on a fresh connection is not asked again.
            reuse = false;
            if !was_kept {
                tried.push(state);
            }
        }
        let text = match status {
            StatusCode::GATEWAY_TIMEOUT => "the backend did not answer in time",
            StatusCode::SERVICE_UNAVAILABLE => "no backend could be connected to",
            _ => "the backend broke the connection",
        };
        self.failed(status, text)
    }

    /// Sends a request to the picked endpoint, on a kept connection or a fresh one.
    async fn attempt(
        &self,
        kept: Option<Upstream>,
        pick: Pick,
        request: Request<RequestBody>,
        activity: &Activity,
    ) -> Result<Response<AnswerBody>, Miss> {
        let opened = match kept {
            Some(upstream) => Ok(upstream),
            None => self.open(&pick).await,
        };
        let mut upstream = match opened {
            Ok(upstream) => upstream,
            Err(error) => {
                tracing::debug!(backend = %pick.name(), %error, "cannot connect");
                pick.finish(Outcome::ConnectFailed);
                let unsent = Some(Box::new(request));
                return Err(Miss { status: StatusCode::SERVICE_UNAVAILABLE, unsent });
            }
        };
        let upgrade = request.headers().contains_key(UPGRADE);
        let mut closing = pick.closing();
        let sent = tokio::select! { biased;
            sent = self.send(&mut upstream, request, activity) => sent,
            () = &mut closing => {
                tracing::debug!(backend = %pick.name(), "cut: its sessions are shut");
                return Err(Miss { status: StatusCode::BAD_GATEWAY, unsent: None });
            }
        };
        match sent {
            Some(Ok(answer)) => {
                let switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
                if switched && !upgrade {
                    pick.finish(Outcome::Failed);
                    return Err(Miss { status: StatusCode::BAD_GATEWAY, unsent: None });
                }
                let (mut head, body) = answer.into_parts();
                head.version = Version::HTTP_11;
                headers::forward_response(head.status, &mut head.headers);
                if let Some(reporter) = self.config.load_reports()
                    && let Some(report) = head.headers.remove(report::HEADER)
                {
                    reporter.report_header(pick.state(), report.to_str().unwrap_or_default());
                }
                let body = if switched {
                    activity.upgrade(Upgraded { upstream, pick });
                    AnswerBody::text("")
                } else {
                    let idle = Arc::clone(&self.idle);
                    let outcome = Outcome::of_status(head.status.as_u16());
                    AnswerBody::streamed(body, Lease { upstream, pick, outcome, closing, idle })
                };
                Ok(Response::from_parts(head, body))
            }
            Some(Err(mut error)) => {
                tracing::debug!(backend = %pick.name(), error = %error.error(), "no answer");
                pick.finish(Outcome::Failed);
                let unsent = error.take_message().map(Box::new);
                Err(Miss { status: StatusCode::BAD_GATEWAY, unsent })
            }
            None => {
                pick.finish(Outcome::Failed);
                Err(Miss { status: StatusCode::GATEWAY_TIMEOUT, unsent: None })
            }
        }
    }

    async fn open(&self, pick: &Pick) -> io::Result<Upstream> {
        let stream = connect(pick, self.dialer.timeout).await?;
        Upstream::new(stream, self.config.max_header_bytes()).await.map_err(io::Error::other)
    }

    /// Sends, and waits for an answer as long as the client still sends or the time is not over.
    async fn send(
        &self,
        upstream: &mut Upstream,
        request: Request<RequestBody>,
        activity: &Activity,
    ) -> Option<Result<Response<Incoming>, SendError>> {
        let mut sending = pin!(upstream.send(request));
        loop {
            let bytes_then = activity.bytes();
            match timeout(self.config.response_timeout(), sending.as_mut()).await {
                Ok(answered) => return Some(answered),
                Err(_) if activity.bytes() == bytes_then => return None,
                Err(_) => {}
            }
        }
    }

    fn failed(&self, status: StatusCode, why: &str) -> Response<AnswerBody> {
        count(&self.shared.counters.failed, 1);
        tracing::debug!(%status, why, "request failed");
        own(status, why)
    }
}

/// An answer of the proxy's own.
fn own(status: StatusCode, why: &str) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::text(format!("{status}: {why}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

/// Makes this the last answer on its connection.
fn close(answer: &mut Response<AnswerBody>) {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}
