//! The caller, the engine, and the list of codes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::actor::message::EngineStatus;
use crate::domain::value::time::Timestamp;
use crate::web::operator::{Capability, Operator};
use crate::web::problems::Code;

/// The caller, and the engine.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Me {
    /// The operator's name, as in audit records.
    name: String,
    /// What the operator may do.
    #[schema(value_type = Vec<CapabilityName>)]
    capabilities: Vec<Capability>,
    engine: EngineView,
}

/// The engine.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Engine)]
pub(in crate::web) struct EngineView {
    /// The version of `actix-webhooks`.
    version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// Why the store is in trouble; absent if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_error: Option<String>,
}

super::words! {
    /// Something that an operator may do.
    #[schema(as = Capability)]
    CapabilityName { Read, Bodies, Redeliver, Operate, Configure, Publish, Portal }
}

impl Me {
    pub(in crate::web) fn new(operator: &Operator, engine: &EngineStatus) -> Self {
        Self {
            name: operator.name.to_string(),
            capabilities: operator.capabilities.clone(),
            engine: EngineView {
                version: env!("CARGO_PKG_VERSION"),
                started_at: engine.started_at,
                store_error: engine.store_error.as_deref().map(str::to_owned),
            },
        }
    }
}

/// A code that problems can have.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct ProblemKind {
    code: Code,
    status: u16,
    title: &'static str,
    /// The URI of its paragraph in the documentation.
    #[schema(format = "uri")]
    r#type: String,
}

impl ProblemKind {
    pub(in crate::web) fn all() -> Vec<Self> {
        let kinds = Code::ALL.iter().map(|code| Self {
            code: *code,
            status: code.status(),
            title: code.title(),
            r#type: code.uri(),
        });
        kinds.collect()
    }
}
