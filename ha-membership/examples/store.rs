//! Three nodes in one process keep a store together; its leader dies, and nothing is lost.
//!
//! Run: `cargo run -p ha-membership --features raft --example store`
//! The last line is like `failover took 486 ms, and all 300 entries are there`.
#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ha_core::id::NodeName;
use ha_core::time::{BootClock, Clock};
use ha_membership::store::{ClusterStore, RaftStore, RaftStoreConfig, RaftStoreConfigBuilder};
use ha_membership::transport::SharedKey;
use ha_membership::transport::channel::{Channels, ChannelsConfig, Handler, Topic};

const ENTRIES: u32 = 300;

#[derive(Debug)]
struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, _from: &NodeName, request: Vec<u8>) -> Vec<u8> {
        request
    }
}

/// Waits until one of the stores leads, and says which.
async fn leader(stores: &[RaftStore]) -> Result<usize, Box<dyn Error>> {
    let mut leadership = stores[0].leadership();
    loop {
        let leads = |store: &RaftStore| store.leadership().borrow().is_me;
        if let Some(index) = stores.iter().position(leads) {
            return Ok(index);
        }
        // What one of them learns, the others soon know.
        let _news = tokio::time::timeout(Duration::from_millis(1), leadership.changed()).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = BootClock::new();
    let folder = tempfile::tempdir()?;
    let names: [NodeName; 3] = ["a".parse()?, "b".parse()?, "c".parse()?];
    let mut channels = Vec::new();
    for name in &names {
        let config = ChannelsConfig::builder(name.clone(), "127.0.0.1:0".parse()?);
        channels.push(Channels::bind(config.key(SharedKey::new([7; 32])).build()?).await?);
    }
    let addresses = channels.iter().map(|node| (node.me().clone(), node.local_addr()));
    let addresses: Vec<_> = addresses.collect();
    for node in &channels {
        node.set_peers(addresses.clone());
    }

    let topic = Topic::new(100);
    let _serving = channels[1].serve(topic, Arc::new(Echo))?;
    channels[0].call(&names[1], topic, vec![0; 100], Duration::from_secs(2)).await?; // connects
    let begun = clock.now();
    for _ in 0..1000 {
        channels[0].call(&names[1], topic, vec![0; 100], Duration::from_secs(2)).await?;
    }
    println!("a sealed request and its answer take {:?}", clock.now().since(begun) / 1000);

    let mut stores = Vec::new();
    for (name, channels) in names.iter().zip(&channels) {
        let config = RaftStoreConfig::builder(name.clone(), folder.path().join(name.as_str()));
        let config = names.iter().cloned().fold(config, RaftStoreConfigBuilder::member);
        stores.push(RaftStore::open(config.build()?, channels).await?);
    }
    let first = leader(&stores).await?;
    println!("{} leads", names[first]);

    let begun = clock.now();
    for index in 0..ENTRIES {
        let key = format!("entries/{index}").parse()?;
        stores[first].put(&key, index.to_be_bytes().as_slice().into()).await?;
    }
    println!("a write takes {:?}", clock.now().since(begun) / ENTRIES);
    let begun = clock.now();
    let key = "entries/0".parse()?;
    for _ in 0..ENTRIES {
        stores[(first + 1) % 3].get(&key).await?;
    }
    println!("a read on a follower takes {:?}", clock.now().since(begun) / ENTRIES);

    let died = clock.now();
    drop((stores.remove(first), channels.remove(first)));
    let next = leader(&stores).await?;
    let took = clock.now().since(died).as_millis();
    let (entries, _) = stores[next].list("entries/").await?;
    println!("failover took {took} ms, and all {} entries are there", entries.len());
    Ok(())
}
