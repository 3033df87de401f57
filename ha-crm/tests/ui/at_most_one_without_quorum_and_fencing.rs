use ha_crm::Cluster;
use ha_crm::model::Resource;

fn main() {
    let db = Resource::new("db".parse().unwrap(), "ocf:heartbeat:pgsql");
    let _ = Cluster::builder().node("n1".parse().unwrap()).at_most_one(db).build();
}
