//! Pacemaker's CIB, read into types and written again: what a cluster is to be, and what is known of it.
//!
//! ```text
//!   <cib have-quorum= …>                    Cib { have_quorum, … }
//!     <configuration>
//!       <crm_config>                          options            AttributeSet: pairs, rules, score
//!       <rsc_defaults> <op_defaults>          …_defaults         AttributeSet
//!       <nodes>                               nodes              ConfiguredNode
//!       <resources>                           resources          CibResource: Primitive, Group,
//!                                             templates          CloneSet, Bundle; Operations
//!       <constraints>                         constraints        CibConstraint: Location,
//!       <tags>                                tags               Colocation, Order, Ticket
//!       <fencing-topology>                    fencing_levels     FencingLevel
//!       <alerts> <acls>                       only a note
//!     <status>
//!       <node_state> <lrm>                    node_states        NodeState: ResourceHistory,
//!       <tickets>                             ticket_states      OperationRecord
//! ```
//!
//! # Example
//!
//! ```
//! use ha_crm::cib::{Cib, CibConstraint};
//! use ha_crm::model::Score;
//!
//! let (cib, notes) = Cib::parse(r#"
//! <cib validate-with="pacemaker-3.9" have-quorum="1">
//!   <configuration>
//!     <crm_config/>
//!     <nodes><node id="1" uname="n1"/><node id="2" uname="n2"/></nodes>
//!     <resources>
//!       <primitive id="db" class="ocf" provider="heartbeat" type="pgsql">
//!         <operations><op id="db-m" name="monitor" interval="10x"/></operations>
//!       </primitive>
//!     </resources>
//!     <constraints><rsc_location id="l" rsc="db" node="n1" score="INFINITY"/></constraints>
//!   </configuration>
//!   <status/>
//! </cib>"#.trim())?;
//! assert_eq!(cib.have_quorum, Some(true));
//! let CibConstraint::Location(location) = &cib.constraints[0] else { panic!() };
//! assert_eq!(location.score, Some(Score::INFINITY));
//! // What is wrong does not stop the reading: it is said with its place.
//! assert_eq!(
//!     notes[0].place.to_string(),
//!     "line 7, column 21, resources/primitive[@id='db']/operations/op[@id='db-m']/@interval"
//! );
//! # Ok::<(), ha_crm::cib::CibError>(())
//! ```
//!
//! # What is done and what is not
//!
//! Values become their types: scores, spans of time, booleans, roles and other words, with the
//! older words for the same (`Master`, `masters`, `normal`); the case of words does not matter.
//! What is not given is `None`, and so is what cannot be read, with a note. Every `id-ref` is
//! resolved. Nothing else is interpreted: no defaults, no rules, no templates, no tags, no
//! precedence of sets, no order of histories. Names of options stay as they are written:
//! [`option_name`] says how they are called now.
//!
//! - *Dropped without a word*: descriptions, comments, text between elements, who last changed
//!   what (`update-origin`, `crm-debug-origin`, …), ports of the root, the ids of lists in the
//!   status, `crm_feature_set` of operations, `transition-magic` where it repeats the rest.
//! - *Dropped with a note*: alerts, ACLs, unknown elements and attributes.
//! - *Left out with a note*: elements without their id, operations and pairs without a name,
//!   fencing levels without a target, references that lead nowhere.
//!
//! # The way back, and other forms
//!
//! [`Cib::to_xml`] writes it again for Pacemaker; what is read from that is equal but for places.
//! [`Cib::from_toml`], [`from_json`](Cib::from_json), [`to_toml`](Cib::to_toml) and
//! [`to_json`](Cib::to_json) are for those who rather write that: the names are those of the
//! fields here in kebab-case, but `type` for the agent (`kind` says which kind of resource it is),
//! `rsc-pattern` and `resource-discovery`; constraints are listed by their kind. The guide has a
//! whole cluster.
//!
//! # Source
//!
//! *Pacemaker Explained*, whose words are used throughout. The reader knows the schemas 2.x and
//! 3.x; `validate-with` makes no difference.

mod attributes;
mod bundle;
mod colocation;
mod constraint;
mod document;
mod error;
mod form;
mod history;
mod intern;
mod location;
mod node;
mod note;
mod operation;
mod order;
mod pieces;
mod reader;
mod resource;
mod resource_set;
mod rule;
mod scan;
mod status;
#[cfg(test)]
mod tests;
mod ticket;
mod topology;
mod transition;
mod value;
mod write;

pub use self::attributes::{AttributeSet, Pair, option_name};
pub use self::bundle::{Bundle, Container, Engine, Network, PortMapping, StorageMapping};
pub use self::colocation::Colocation;
pub use self::constraint::CibConstraint;
pub use self::document::Cib;
pub use self::error::CibError;
pub use self::history::{OperationDetails, OperationRecord, OperationStatus, ResourceHistory};
pub use self::location::{Discovery, Location, Pattern};
pub use self::node::{ConfiguredNode, NodeKind};
pub use self::note::{Note, Place, Remark, Spot};
pub use self::operation::{OnFail, Operation, Operations, Requires};
pub use self::order::{Order, OrderAction, OrderKind};
pub use self::resource::{CibResource, CloneSet, Cloned, Group, Primitive};
pub use self::resource_set::{ResourceSet, SetOrdering};
pub use self::rule::{BooleanOp, LocationRule, RuleElement};
pub use self::scan::MAX_CIB;
pub use self::status::{JoinState, NodeState, Presence, TicketState};
pub use self::ticket::{LossPolicy, Ticket};
pub use self::topology::{FencingLevel, FencingTarget, Tag};
pub use self::transition::TransitionKey;
pub use self::value::CibValue;
