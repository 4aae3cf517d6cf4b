//! Changing a part of a thing, if it is still the one that the caller has read.

use actix_web::HttpRequest;
use serde::Serialize;

use super::{Answer, State, changed};
use crate::engine::{Engine, OperateError};
use crate::web::etag;
use crate::web::problems::Problem;

/// A thing that the engine keeps under an id and takes as a whole: a rule, a client or an endpoint.
pub(super) trait Editable: Clone + Serialize {
    /// Returns the thing with an id.
    async fn known(engine: &Engine, id: &str) -> Result<Self, Problem>;

    /// Puts the thing in place of the one with its id.
    async fn put(self, engine: &Engine) -> Result<(), OperateError>;
}

/// Changes the thing with an id, and answers with its new tag.
pub(super) async fn edit<T: Editable>(
    web: &State,
    request: &HttpRequest,
    id: &str,
    change: impl FnOnce(T) -> Result<T, Problem>,
) -> Answer {
    let _changing = web.engine.changing().await;
    let before = T::known(&web.engine, id).await?;
    etag::check(request, Some(&etag::of(&before)?))?;
    let after = change(before)?;
    after.clone().put(&web.engine).await?;
    changed(&after)
}
