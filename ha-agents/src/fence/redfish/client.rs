//! Requests to a board, on one connection as long as the board keeps it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ha_core::driver::pause;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use super::endpoint::Endpoint;
use super::model::Failure;
use crate::secret::Secret;

/// The largest answer that is read: systems are some kilobytes.
const MAX_ANSWER: usize = 1 << 20;
/// How long one request may take: boards that hang often answer the next one.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the end of a session is waited for.
const PARTING: Duration = Duration::from_secs(2);
const SESSION_TOKEN: &str = "x-auth-token";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("there is no way to it: {0}; check its URL, and whether its certificate is trusted")]
    Connect(io::Error),
    #[error("it did not answer {0}: {1}")]
    Lost(String, io::Error),
    #[error("it refuses the user, the password, or what the user may do; correct them")]
    Login,
    #[error("it answered {path} with {status}: {words}")]
    Refused { path: String, status: StatusCode, words: String },
    #[error("its answer to {0} makes no sense: {1}")]
    Nonsense(String, String),
}

impl ClientError {
    /// Whether another try may succeed.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Lost(..) => true,
            Self::Refused { status, .. } => {
                let passing = [StatusCode::ACCEPTED, StatusCode::TOO_MANY_REQUESTS];
                status.is_server_error() || passing.contains(status)
            }
            Self::Login | Self::Nonsense(..) => false,
        }
    }
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// An open connection; its driver is polled while something is asked, by nobody else.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
}

/// Who asks a board.
pub(super) struct Client<'a> {
    endpoint: &'a Endpoint,
    user: &'a str,
    password: &'a Secret,
    connection: Option<Connection>,
    /// The token and the path of a session.
    session: Option<(HeaderValue, Option<String>)>,
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", self.endpoint).finish_non_exhaustive()
    }
}

struct Answer {
    status: StatusCode,
    token: Option<HeaderValue>,
    location: Option<String>,
    body: Bytes,
}

impl<'a> Client<'a> {
    pub(super) const fn new(endpoint: &'a Endpoint, user: &'a str, password: &'a Secret) -> Self {
        Self { endpoint, user, password, connection: None, session: None }
    }

    /// Opens a session.
    pub(super) async fn log_in(&mut self, path: &str) -> Result<(), ClientError> {
        let password = self.password.reveal();
        let body = serde_json::json!({ "UserName": self.user, "Password": password });
        let answer = self.ask(Method::POST, path, Some(&body), false).await?;
        let token = answer.token.ok_or_else(|| {
            ClientError::Nonsense(path.to_owned(), "a session without a token".to_owned())
        })?;
        self.session = Some((token, answer.location));
        Ok(())
    }

    /// Ends the session; a board that does not answer ends it by itself.
    pub(super) async fn log_out(&mut self) {
        if let Some((_, Some(path))) = self.session.clone() {
            tokio::select! { biased;
                ended = self.ask(Method::DELETE, &path, None, true) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a session is left to the board");
                    }
                }
                _late = pause(PARTING) => {}
            }
        }
        self.session = None;
    }

    /// A resource; one that is open to everybody is asked for without the password.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        is_known: bool,
    ) -> Result<T, ClientError> {
        let answer = self.ask(Method::GET, path, None, is_known).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            // Without the text of the answer, which may be anything.
            ClientError::Nonsense(path.to_owned(), error.to_string())
        })
    }

    /// Lets the board act.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(), ClientError> {
        let answer = self.ask(Method::POST, path, Some(body), true).await?;
        if answer.status == StatusCode::ACCEPTED {
            // DSP0266: a task, which may still fail.
            let (path, words) = (path.to_owned(), "accepted, but not done yet".to_owned());
            return Err(ClientError::Refused { path, status: answer.status, words });
        }
        Ok(())
    }

    /// A request; as somebody who is known, or as anybody.
    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        is_known: bool,
    ) -> Result<Answer, ClientError> {
        let nonsense = |why: &str| ClientError::Nonsense(path.to_owned(), why.to_owned());
        // A link leads to the board itself: the password is sent with it.
        let uri: Uri = path.parse().map_err(|_| nonsense("not a path"))?;
        if !path.starts_with('/') || uri.authority().is_some() {
            return Err(nonsense("a link to somewhere else"));
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let again = self.request(&method, &uri, body.clone(), is_known);
        let first = self.request(&method, &uri, body, is_known);
        let was_open = self.connection.is_some();
        let first = first.map_err(|error| nonsense(&error.to_string()))?;
        let mut answer = self.exchange(first, path).await;
        if was_open && method == Method::GET && matches!(answer, Err(ClientError::Lost(..))) {
            // The board has closed the connection meanwhile.
            let again = again.map_err(|error| nonsense(&error.to_string()))?;
            answer = self.exchange(again, path).await;
        }
        self.judge(path, answer?)
    }

    fn request(
        &self,
        method: &Method,
        uri: &Uri,
        body: Bytes,
        is_known: bool,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, &self.endpoint.authority)
            .header(ACCEPT, "application/json")
            .header("OData-Version", "4.0");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some((token, _)) = self.session.as_ref().filter(|_| is_known) {
            request = request.header(SESSION_TOKEN, token);
        } else if is_known {
            let both = [self.user.as_bytes(), b":", self.password.reveal().as_bytes()].concat();
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(both)))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::new(body))
    }

    /// Sends a request and reads its answer, within their time.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        path: &str,
    ) -> Result<Answer, ClientError> {
        // Taken, so that a connection in the middle of an answer is never used again.
        let taken = self.connection.take();
        let work = async {
            let mut connection = match taken {
                Some(connection) => connection,
                None => connect(self.endpoint).await.map_err(ClientError::Connect)?,
            };
            let answer = speak(&mut connection, request).await;
            let (answer, is_open) =
                answer.map_err(|error| ClientError::Lost(path.to_owned(), error))?;
            Ok((answer, is_open.then_some(connection)))
        };
        let (answer, connection) = tokio::select! { biased;
            done = work => done?,
            _late = pause(PATIENCE) => {
                let late = io::Error::new(io::ErrorKind::TimedOut, format!("within {PATIENCE:?}"));
                return Err(ClientError::Lost(path.to_owned(), late));
            }
        };
        self.connection = connection;
        Ok(answer)
    }

    fn judge(&self, path: &str, answer: Answer) -> Result<Answer, ClientError> {
        let status = answer.status;
        if status.is_success() {
            return Ok(answer);
        }
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(ClientError::Login);
        }
        let failure: Option<Failure> = serde_json::from_slice(&answer.body).ok();
        let words = failure.and_then(Failure::words).unwrap_or_default();
        let words: String = words.chars().filter(|c| !c.is_control()).take(200).collect();
        // Boards repeat what they were sent.
        let secret = self.password.reveal();
        let words = if secret.is_empty() { words } else { words.replace(secret, "…") };
        Err(ClientError::Refused { path: path.to_owned(), status, words })
    }
}

async fn connect(endpoint: &Endpoint) -> io::Result<Connection> {
    let stream = endpoint.connect().await?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    Ok(Connection { sender, driver: Box::pin(connection) })
}

/// One request and its answer; with whether the connection is still open.
async fn speak(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
) -> io::Result<(Answer, bool)> {
    let Connection { sender, driver } = connection;
    let work = async {
        sender.ready().await.map_err(io::Error::other)?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(io::Error::other)?;
        let location = head.headers.get(LOCATION).and_then(|path| path.to_str().ok());
        Ok(Answer {
            status: head.status,
            token: head.headers.get(SESSION_TOKEN).cloned(),
            // Some boards write a whole URL here; the path is what we need.
            location: location
                .and_then(|path| path.parse::<Uri>().ok())
                .map(|uri| uri.path().into()),
            body: body.to_bytes(),
        })
    };
    tokio::pin!(work);
    let mut is_open = true;
    loop {
        tokio::select! { biased;
            answer = &mut work => return answer.map(|answer| (answer, is_open)),
            _end = &mut *driver, if is_open => is_open = false,
        }
    }
}
