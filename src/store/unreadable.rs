//! Stored settings that cannot be read. One of them must not keep an engine from starting.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::value::id::{ClientId, RuleId};
use crate::domain::value::url::WebhookUrl;

/// A stored setting that cannot be read, because another program wrote it or it is damaged. It is
/// set aside until it is put again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnreadableSetting {
    /// The setting.
    pub setting: Setting,
    /// Why it cannot be read. The stored text is left out: it may be a secret.
    pub reason: String,
}

/// The identity of a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Setting {
    /// A rule: it matches nothing, and its open deliveries are not sent.
    Rule {
        /// Its id.
        id: RuleId,
    },
    /// A client: its authorisation is unknown, so none of its deliveries is sent.
    Client {
        /// Its id.
        id: ClientId,
    },
    /// An endpoint: it is disabled.
    Endpoint {
        /// Its URL.
        url: WebhookUrl,
    },
    /// One or more past credentials, given to receivers that a rule no longer names. Deliveries
    /// still open there are not sent.
    PastCredential,
    /// A row whose key cannot be read.
    Unnamed {
        /// The table of the row.
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
            Self::PastCredential => f.write_str("a past credential"),
            Self::Unnamed { table } => write!(f, "a row of {table}"),
        }
    }
}
