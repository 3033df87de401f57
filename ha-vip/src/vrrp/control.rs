//! A control socket for virtual routers that run: what is, hand over, resume, reload.
//!
//! The protocol is that of [`ha_core::control`], one JSON object a line each way:
//!
//! ```text
//! → {"request":"status"}
//! ← {"response":"status","routers":[{"name":"web","state":"active",…}],"unsent":0}
//! → {"request":"hand-over","router":"web"}
//! ← {"response":"done"}
//! → {"request":"reload"}
//! ← {"response":"refused","reason":"…"}
//! ```
//!
//! ```no_run
//! # async fn example(service: ha_vip::vrrp::Service) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use ha_vip::vrrp::control::{Client, Control, Request};
//!
//! let server = Control::new(service.handles()).bind("/run/vrrp.sock").await?;
//! let task = service.spawn();
//! // … and from any other program:
//! let mut client = Client::connect("/run/vrrp.sock").await?;
//! println!("{}", client.status(Duration::from_secs(5)).await?);
//! let request = Request::HandOver { router: "web".to_owned() };
//! client.ask(&request, Duration::from_secs(5)).await?;
//! # server.stop().await;
//! # Ok(()) }
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::control::{self, Answer, Lines, Responder};
pub use ha_core::control::{ControlError, Server};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::service::{Changes, RouterHandle, ServiceHandle};
use super::snapshot::Snapshot;
use crate::manager::{VipError, VipManager};

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Request {
    /// Hand the addresses of a router over and stay back, whatever its priority, until it is
    /// resumed. No client loses a packet; see [`VipManager::hand_over`].
    HandOver {
        /// The router's name.
        router: String,
    },
    /// Read the configuration again and go on with it, or keep the old one.
    Reload,
    /// Take part again after a hand-over.
    Resume {
        /// The router's name.
        router: String,
    },
    /// Tell what all routers are, with reasons.
    Status,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Response {
    /// It was done, or begun.
    Done,
    /// It was not done.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// The configuration was taken over.
    Reloaded(Changes),
    /// What the routers are.
    Status(Snapshot),
}

/// Answers for a service's routers through a control socket.
#[derive(Debug, Clone)]
#[must_use]
pub struct Control {
    handle: ServiceHandle,
    reloads: Option<mpsc::Sender<ReloadRequest>>,
}

/// Somebody asks the program to read its configuration again.
#[derive(Debug)]
#[must_use]
pub struct ReloadRequest(oneshot::Sender<Result<Changes, String>>);

impl ReloadRequest {
    /// Tells what has changed, or why the old configuration is still in force.
    pub fn answer(self, changes: Result<Changes, String>) {
        // Nobody may wait for it any more.
        drop(self.0.send(changes));
    }
}

impl Control {
    /// Answers for the routers of `handle`; a reload is refused.
    pub const fn new(handle: ServiceHandle) -> Self {
        Self { handle, reloads: None }
    }

    /// Sends the program a request for each reload that is asked for; it answers when it has read
    /// its configuration again.
    pub fn reloading(mut self, reloads: mpsc::Sender<ReloadRequest>) -> Self {
        self.reloads = Some(reloads);
        self
    }

    /// Listens on `socket`, whose mode is 0600, until the server is stopped or dropped.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is left behind.
    pub async fn bind(self, socket: impl Into<PathBuf>) -> Result<Server, ControlError> {
        Server::bind(socket, Arc::new(self)).await
    }

    async fn answer(&self, request: Request) -> Response {
        let answer = match request {
            Request::HandOver { router } => self.of(&router, Ask::HandOver).await,
            Request::Resume { router } => self.of(&router, Ask::Resume).await,
            Request::Status => {
                self.handle.snapshot().await.map(Response::Status).map_err(|e| e.to_string())
            }
            Request::Reload => self.reload().await,
        };
        answer.unwrap_or_else(|reason| Response::Refused { reason })
    }

    async fn of(&self, name: &str, ask: Ask) -> Result<Response, String> {
        let Some(router) = self.handle.router(name) else {
            let routers = self.handle.routers();
            let names: Vec<_> = routers.iter().map(RouterHandle::name).collect();
            return Err(format!("no virtual router {name:?}; there are: {}", names.join(", ")));
        };
        let done: Result<(), VipError> = match ask {
            Ask::HandOver => router.hand_over().await,
            Ask::Resume => router.resume().await,
        };
        done.map(|()| Response::Done).map_err(|error| error.to_string())
    }

    async fn reload(&self) -> Result<Response, String> {
        let Some(reloads) = &self.reloads else {
            return Err("this program reads no configuration file; start it anew".to_owned());
        };
        let (reply, answer) = oneshot::channel();
        let ended = || VipError::Ended.to_string();
        reloads.send(ReloadRequest(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?.map(Response::Reloaded)
    }
}

/// What is asked of one router.
enum Ask {
    HandOver,
    Resume,
}

#[async_trait]
impl Responder for Control {
    async fn respond(&self, line: &[u8], _from: &mut Lines) -> Answer {
        match serde_json::from_slice(line) {
            Ok(request) => Answer::of(&self.answer(request).await),
            Err(error) => Answer::unreadable(&error),
        }
    }
}

/// A connection to the control socket of a program that runs virtual routers.
#[derive(Debug)]
pub struct Client(control::Client);

impl Client {
    /// Connects to the program that listens on `socket`.
    ///
    /// # Errors
    ///
    /// [`ControlError::Unreachable`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(socket: impl Into<PathBuf>) -> Result<Self, ControlError> {
        control::Client::connect(socket).await.map(Self)
    }

    /// Asks, and waits for the answer for at most `limit`.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; a request that is refused is an answer.
    ///
    /// # Cancel safety
    ///
    /// When dropped it may have been done. The next call connects anew.
    pub async fn ask(
        &mut self,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, ControlError> {
        self.0.ask(request, limit).await
    }

    /// What all routers are.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; [`ControlError::Refused`] when the routers have ended.
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn status(&mut self, limit: Duration) -> Result<Snapshot, ControlError> {
        let answer = self.ask(&Request::Status, limit).await?;
        let Response::Status(snapshot) = answer else {
            return Err(self.0.refused(format!("another answer than a status: {answer:?}")));
        };
        Ok(snapshot)
    }
}
