//! When a request counts as done on its endpoint.

use super::body::PickBody;
use crate::pick::{Outcome, Pick};

/// Ends the pick of an answered request: at once, or when its body has come.
///
/// ```
/// use ha_lb::client::Finish;
/// use ha_lb::pick::{Outcome, Pick};
///
/// /// Answers that say they are errors count against the endpoint.
/// #[derive(Debug, Clone)]
/// struct ByText;
///
/// impl Finish<String> for ByText {
///     type Response = String;
///     fn finish(&self, response: String, pick: Pick) -> String {
///         let failed = response.starts_with("error");
///         pick.finish(if failed { Outcome::ErrorAnswer } else { Outcome::Completed });
///         response
///     }
/// }
/// ```
pub trait Finish<Response>: Send + Sync + 'static {
    /// The answer that the caller gets.
    type Response: Send + 'static;

    /// Takes over the pick of an answer.
    fn finish(&self, response: Response, pick: Pick) -> Self::Response;
}

/// With the answer, whatever it says. The default.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct AtAnswer;

impl<Response: Send + 'static> Finish<Response> for AtAnswer {
    type Response = Response;

    fn finish(&self, response: Response, pick: Pick) -> Response {
        pick.finish(Outcome::Completed);
        response
    }
}

/// With the head of an HTTP answer; a status of 500 and above counts as a failure of the endpoint.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct AtHead;

impl<B: Send + 'static> Finish<http::Response<B>> for AtHead {
    type Response = http::Response<B>;

    fn finish(&self, response: http::Response<B>, pick: Pick) -> http::Response<B> {
        pick.finish(Outcome::of_status(response.status().as_u16()));
        response
    }
}

/// With the end of the body of an HTTP answer: the endpoint works on it until then. A status of 500
/// and above and a body that breaks off count as failures of the endpoint.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct AtBodyEnd;

impl<B: http_body::Body + Send + 'static> Finish<http::Response<B>> for AtBodyEnd {
    type Response = http::Response<PickBody<B>>;

    fn finish(&self, response: http::Response<B>, pick: Pick) -> Self::Response {
        let outcome = Outcome::of_status(response.status().as_u16());
        response.map(|body| PickBody::new(body, pick, outcome))
    }
}
