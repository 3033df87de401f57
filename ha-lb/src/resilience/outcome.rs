//! How a piece of work went, as far as breakers and limits care.

/// How a piece of work went; the caller maps its results to one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "it says for, against, or nothing")]
pub enum Outcome {
    /// It was done; an answer that refuses the request (a 404) is done, too.
    Success,
    /// The server failed, was overloaded, or did not answer in time.
    Failure,
    /// It says nothing about the server: the client went away, or nothing was sent.
    Ignored,
}
