//! Gathers writes into entries of the log: those that come while one is on its way are the next.

use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::mpsc;

use super::node::{Ask, Failure, Node, leads};
use super::types::{Batch, Outcome};

/// Writes that wait for the log; more make their callers wait.
pub(super) const WAITING: usize = 1024;
/// The most writes of an entry.
const WRITES: usize = 256;
/// An entry with more bytes than this takes no further write.
const BYTES: usize = 256 << 10;

pub(super) async fn run(node: &Node, mut inbox: mpsc::Receiver<Ask>) {
    while let Some(first) = inbox.recv().await {
        let mut asks = Vec::new();
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(ask) = next {
            // Nobody waits for it any more, and nothing was done: so be it.
            if !ask.answer.is_closed() {
                bytes += ask.proposal.len();
                asks.push(ask);
            }
            let room = asks.len() < WRITES && bytes < BYTES;
            next = if room { inbox.try_recv().ok() } else { None };
        }
        if !asks.is_empty() {
            write(node, asks).await;
        }
    }
}

async fn write(node: &Node, asks: Vec<Ask>) {
    let (writes, answers): (Vec<_>, Vec<_>) =
        asks.into_iter().map(|ask| (ask.proposal, ask.answer)).unzip();
    let result = if leads(&node.raft.metrics().borrow()) {
        let limit = u64::try_from(node.config.limit).unwrap_or(u64::MAX);
        let written = node.raft.client_write(Batch { limit, writes });
        // Without a majority there may be no end, and after a snapshot no answer.
        match tokio::time::timeout(node.config.patience, written).await {
            Ok(written) => written.map(|response| response.data).map_err(|error| failure(&error)),
            Err(_) => Err(Failure::Unknown("no majority has taken it in time".to_owned())),
        }
    } else {
        Err(Failure::NotLeader)
    };
    let mut outcomes: Vec<Result<Outcome, Failure>> = match result {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(failure) => answers.iter().map(|_| Err(failure.clone())).collect(),
    };
    for answer in answers.into_iter().rev() {
        let missing = || Err(Failure::Unknown("the entry has no outcome".to_owned()));
        // An error means that nobody waits for it any more.
        let _gone = answer.send(outcomes.pop().unwrap_or_else(missing));
    }
}

/// Even where another leader is known the entry may be in the log: it could have been replaced on
/// this node, and not on all.
fn failure(error: &RaftError<u64, ClientWriteError<u64, openraft::EmptyNode>>) -> Failure {
    Failure::Unknown(format!("the leader changed or has stopped: {error}"))
}
