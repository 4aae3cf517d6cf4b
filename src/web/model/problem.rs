//! Problem details (RFC 9457).

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::web::problems::Code;

/// An error, as problem details (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(in crate::web) struct ProblemDocument {
    /// The URI of the code's paragraph in the documentation.
    #[schema(format = "uri")]
    pub(in crate::web) r#type: String,
    /// The same for every problem with this code.
    pub(in crate::web) title: String,
    /// The status of the answer.
    pub(in crate::web) status: u16,
    /// A sentence for people; it may change.
    pub(in crate::web) detail: String,
    pub(in crate::web) code: Code,
    /// Each wrong part of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::web) errors: Vec<Wrong>,
    /// When trying again can help, in milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::web) retry_after_ms: Option<u64>,
    /// The id of the request, as in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::web) request_id: Option<String>,
}

/// A wrong part of a request: a parameter, or a part of the body.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::web) struct Wrong {
    /// A JSON Pointer (RFC 6901) into the body; the empty text is the whole body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// The name of a parameter of the path or the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// What is wrong with it.
    detail: String,
}

impl Wrong {
    pub(in crate::web) fn parameter(name: &str, why: impl fmt::Display) -> Self {
        Self {
            pointer: None,
            parameter: Some(name.to_owned()),
            detail: why.to_string(),
        }
    }

    pub(in crate::web) fn pointer(pointer: &str, why: impl fmt::Display) -> Self {
        Self {
            pointer: Some(pointer.to_owned()),
            parameter: None,
            detail: why.to_string(),
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "The closed list of codes; each is explained at its `type`.",
            ))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl ToSchema for Code {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ProblemCode")
    }
}
