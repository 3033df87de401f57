//! The parts of Redfish's resources that fencing needs.

use serde::Deserialize;

/// A link to a resource.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Link {
    #[serde(rename = "@odata.id")]
    pub(super) path: String,
}

/// The service root, `/redfish/v1/`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Root {
    pub(super) systems: Option<Link>,
    pub(super) links: Option<RootLinks>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RootLinks {
    pub(super) sessions: Option<Link>,
}

/// The collection of systems.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Collection {
    #[serde(default)]
    pub(super) members: Vec<Link>,
}

/// A `ComputerSystem`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct System {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) host_name: Option<String>,
    #[serde(rename = "UUID")]
    pub(super) uuid: Option<String>,
    pub(super) power_state: Option<String>,
    #[serde(default)]
    pub(super) actions: Actions,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Actions {
    #[serde(rename = "#ComputerSystem.Reset")]
    pub(super) reset: Option<Reset>,
}

/// The action by which a system is switched.
#[derive(Debug, Deserialize)]
pub(super) struct Reset {
    pub(super) target: String,
    #[serde(rename = "ResetType@Redfish.AllowableValues")]
    pub(super) allowed: Option<Vec<String>>,
    /// Where the allowed values are, if they are not here.
    #[serde(rename = "@Redfish.ActionInfo")]
    pub(super) info: Option<String>,
}

/// An `ActionInfo`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ActionInfo {
    #[serde(default)]
    pub(super) parameters: Vec<Parameter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) allowable_values: Option<Vec<String>>,
}

/// What a board says of an error (DSP0266, "Error responses").
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    error: FailureBody,
}

#[derive(Debug, Deserialize)]
struct FailureBody {
    message: Option<String>,
    #[serde(rename = "@Message.ExtendedInfo", default)]
    more: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    message: Option<String>,
}

impl System {
    /// Whether the system is called this.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let names = [&self.id, &self.name, &self.host_name];
        names.into_iter().flatten().any(|own| own == name)
            || self.uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name))
    }
}

impl Failure {
    /// The most telling words.
    pub(super) fn words(self) -> Option<String> {
        self.error.more.into_iter().find_map(|more| more.message).or(self.error.message)
    }
}
