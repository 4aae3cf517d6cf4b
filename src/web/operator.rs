//! The callers of the API, and what they may do.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A caller of the API: the name that audit records carry, and what the caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operator {
    /// The name.
    pub name: Arc<str>,
    /// What the operator may do.
    pub capabilities: Vec<Capability>,
}

impl Operator {
    /// Returns an operator with this name and these capabilities.
    pub fn new(
        name: impl Into<Arc<str>>,
        capabilities: impl IntoIterator<Item = Capability>,
    ) -> Self {
        Self {
            name: name.into(),
            capabilities: capabilities.into_iter().collect(),
        }
    }

    /// Returns `true` if the operator has this capability.
    pub fn may(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// Something that an operator may do. Every route needs at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Capability {
    /// See endpoints, rules, clients and deliveries.
    Read,
    /// See what was sent, and the beginnings of receivers' answers; both may hold personal data.
    Bodies,
    /// Redeliver, and attempt now.
    Redeliver,
    /// Pause, resume, disable and test endpoints; discard dead letters.
    Operate,
    /// Change rules, clients and endpoints.
    ///
    /// Whoever may do this can send the events and the credentials of any client to any URL.
    Configure,
    /// Publish events.
    Publish,
    /// Give a client's own users access to what is theirs. No route needs it in this version.
    Portal,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Bodies,
        Self::Redeliver,
        Self::Operate,
        Self::Configure,
        Self::Publish,
        Self::Portal,
    ];

    /// Returns the name, as in a token file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Bodies => "bodies",
            Self::Redeliver => "redeliver",
            Self::Operate => "operate",
            Self::Configure => "configure",
            Self::Publish => "publish",
            Self::Portal => "portal",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
