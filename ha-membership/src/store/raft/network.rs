//! How the engine reaches the other members.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ha_core::driver::Task;
use ha_core::id::NodeName;
use openraft::EmptyNode;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};

use super::types::{Reply, Request, Types, decode, encode};
use crate::transport::channel::{CallError, Channels, Topic};

/// How often a member that is down is tried.
const BACKOFF: Duration = Duration::from_millis(100);

/// Makes a [`Peer`] for each member.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) channels: Channels,
    pub(super) topic: Topic,
    pub(super) names: Arc<BTreeMap<u64, NodeName>>,
    /// After how much silence a connection is given up.
    pub(super) silence: Duration,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Peer {
        let (channels, topic) = (self.channels.clone(), self.topic);
        let name = self.names.get(&target).cloned();
        Peer { channels, topic, target, name, silence: self.silence }
    }
}

/// One member.
#[derive(Debug)]
pub(super) struct Peer {
    channels: Channels,
    topic: Topic,
    target: u64,
    name: Option<NodeName>,
    silence: Duration,
}

impl Peer {
    async fn ask<E: Error>(&self, request: &Request) -> Result<Reply, RPCError<u64, EmptyNode, E>> {
        let Some(name) = self.name.clone() else {
            let unknown = io::Error::other("not among the members of the settings");
            return Err(Unreachable::new(&unknown).into());
        };
        let (channels, topic, limit) = (self.channels.clone(), self.topic, self.silence);
        let request = encode(request);
        // The engine gives its requests up sooner than a connection is to be. A task, so that the
        // limit of the call is reached all the same.
        let mut call =
            Task::spawn(|_stop| async move { channels.call(&name, topic, request, limit).await });
        match call.ended().await {
            Ok(Ok(reply)) => decode(&reply).map_err(|error| NetworkError::new(&error).into()),
            Ok(Err(error @ CallError::Unreachable { .. })) => Err(Unreachable::new(&error).into()),
            Ok(Err(error)) => Err(NetworkError::new(&error).into()),
            Err(error) => Err(NetworkError::new(&error).into()),
        }
    }
}

/// The error of a reply that does not fit, or says no.
fn unexpected<E: Error>(reply: &Reply) -> RPCError<u64, EmptyNode, E> {
    let text = if let Reply::Refused(why) | Reply::Failed(why) = reply {
        why.clone()
    } else {
        format!("unexpected reply {reply:?}")
    };
    NetworkError::new(&io::Error::other(text)).into()
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, EmptyNode, RaftError<u64>>> {
        let reply = self.ask(&Request::Append(rpc)).await?;
        if let Reply::Append(response) = reply { Ok(response) } else { Err(unexpected(&reply)) }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        _option: RPCOption,
    ) -> Result<
        InstallSnapshotResponse<u64>,
        RPCError<u64, EmptyNode, RaftError<u64, InstallSnapshotError>>,
    > {
        let reply = self.ask(&Request::Snapshot(rpc)).await?;
        let Reply::Snapshot(installed) = reply else {
            return Err(unexpected(&reply));
        };
        installed.map_err(|mismatch| {
            let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
            RPCError::RemoteError(RemoteError::new(self.target, error))
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, EmptyNode, RaftError<u64>>> {
        let reply = self.ask(&Request::Vote(rpc)).await?;
        if let Reply::Vote(response) = reply { Ok(response) } else { Err(unexpected(&reply)) }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
