//! Settings that are kept and cannot be read: one of them must not keep an engine from starting.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::value::id::{ClientId, RuleId};
use crate::domain::value::url::WebhookUrl;

/// A setting that is kept and cannot be read, and why: it was written by something else, or damaged.
/// It is set aside until it is put again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnreadableSetting {
    /// Which setting it is.
    pub setting: Setting,
    /// Why it cannot be read. What stands there is not in it: it may be a secret.
    pub reason: String,
}

/// Which setting is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Setting {
    /// A rule: it matches nothing, and what is open under it is not sent.
    Rule {
        /// Its id.
        id: RuleId,
    },
    /// A client: what its calls are authorised with is not known, so that none of them goes out.
    Client {
        /// Its id.
        id: ClientId,
    },
    /// An endpoint: it is disabled.
    Endpoint {
        /// Its URL.
        url: WebhookUrl,
    },
    /// A credential of the past, or several: what was given to receivers that a rule no longer names. What is still
    /// open there is not sent.
    PastCredential,
    /// Something whose own key cannot be read, in this table.
    Unnamed {
        /// Where it is.
        table: String,
    },
}

impl UnreadableSetting {
    /// Returns the setting with the reason why it cannot be read.
    pub fn new(setting: Setting, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { setting, reason }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { id } => write!(f, "rule {id:?}"),
            Self::Client { id } => write!(f, "client {id:?}"),
            Self::Endpoint { url } => write!(f, "settings of endpoint {}", url.without_query()),
            Self::PastCredential => f.write_str("a credential of the past"),
            Self::Unnamed { table } => write!(f, "a row of {table}"),
        }
    }
}
