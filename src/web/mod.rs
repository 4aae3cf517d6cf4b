//! A REST API for operators, mounted into the application's own actix-web server (feature `web`).
//!
//! [`scope`] is the API, below `<mount>/api/v1`; [`probes`] are two routes for load balancers.
//! There is no access until the application gives some: see [`Access`]. The guide
//! (`docs/guide/api.md`) explains the routes; [`openapi`] describes them for programs.
//!
//! ```
//! use actix_web::App;
//! use actix_webhooks::Engine;
//! use actix_webhooks::web::{self, Access, Capability, Token};
//!
//! # #[actix_rt::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::builder().start().await?;
//! let alice = Token::new("alice", "5f1dbb2f6a2e4a0c9f2e", Capability::ALL);
//! let access = Access::tokens([alice])?;
//! let (api, probed) = (engine.clone(), engine.clone());
//! let app = move || {
//!     App::new()
//!         // GET /webhooks/api/v1/endpoints, with `Authorization: Bearer 5f1d…`
//!         .service(actix_web::web::scope("/webhooks").service(web::scope(api.clone(), access.clone())))
//!         .service(web::probes(probed.clone()))
//! };
//! # drop(app);
//! # engine.shutdown(std::time::Duration::ZERO).await;
//! # Ok(())
//! # }
//! ```
//!
//! The application's server must speak TLS, or stand behind a proxy that does: credentials are sent
//! with every request.

mod access;
mod credentials;
mod cursor;
mod etag;
mod gate;
mod hex;
mod live;
mod model;
mod operator;
pub mod problems;
mod read;
mod refusals;
mod routes;
mod table;

use std::fmt;
use std::sync::LazyLock;

use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::middleware::from_fn;
use actix_web::web::{Data, PathConfig};
use serde_json::Value;

pub use self::access::{Access, Denied, InvalidAccess, MIN_TOKEN_BYTES, Token};
use self::live::Live;
pub use self::operator::{Capability, Operator};
use self::problems::Problem;
pub use self::routes::probes::{Probes, probes};
use crate::engine::Engine;

/// Returns the API of an engine, for `App::service` or the `service` of another scope.
///
/// Every route is below `api/v1`, relative to where it is mounted. Cloning is cheap, and a clone
/// can be mounted by each worker.
pub fn scope(engine: Engine, access: Access) -> WebScope {
    WebScope {
        web: Data::new(Web {
            engine,
            access,
            body_limit: 2 * 1_024 * 1_024,
            live: Live::new(DEFAULT_LISTENERS),
        }),
    }
}

/// Returns the `OpenAPI` 3.1 document of the API: its routes, and the calls that receivers get.
///
/// The API serves it at `GET <mount>/api/v1/openapi.json`; it is also in `docs/openapi.json`.
pub fn openapi() -> Value {
    document().clone()
}

/// The API of an engine; see [`scope`].
#[derive(Clone)]
pub struct WebScope {
    web: Shared,
}

/// What every handler needs.
struct Web {
    engine: Engine,
    access: Access,
    /// The largest body, in bytes.
    body_limit: usize,
    live: Live,
}

type Shared = Data<Web>;

impl WebScope {
    /// Sets the size in bytes of the largest body taken, and of the largest line of a batch.
    /// Defaults to 2 MiB.
    ///
    /// [`EngineBuilder::max_body_bytes`](crate::EngineBuilder::max_body_bytes) limits what is sent.
    #[must_use]
    pub fn body_limit(self, bytes: usize) -> Self {
        self.with(|web| Web {
            body_limit: bytes,
            ..web
        })
    }

    /// Sets the maximum number of streams of `/live` open at once. Defaults to 100. One more is
    /// answered with 429.
    ///
    /// Each holds at most the latest state and 20 attempts of each of its topics.
    #[must_use]
    pub fn max_listeners(self, count: usize) -> Self {
        self.with(|web| Web {
            live: Live::new(count),
            ..web
        })
    }

    /// Returns a scope with changed settings, of which nothing is mounted yet.
    fn with(self, change: impl FnOnce(Web) -> Web) -> Self {
        let web = Web {
            engine: self.web.engine.clone(),
            access: self.web.access.clone(),
            body_limit: self.web.body_limit,
            live: self.web.live.unused(),
        };
        Self {
            web: Data::new(change(web)),
        }
    }
}

impl fmt::Debug for WebScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebScope")
            .field("access", &self.web.access)
            .field("body_limit", &self.web.body_limit)
            .finish_non_exhaustive()
    }
}

impl HttpServiceFactory for WebScope {
    fn register(self, config: &mut AppService) {
        let Self { web } = self;
        let paths =
            PathConfig::default().error_handler(|error, _| Problem::parameter("id", error).into());
        let state = web.clone();
        let gate = from_fn(move |request, next| gate::pass(state.clone(), request, next));
        let api = routes::add_all(utoipa_actix_web::scope::scope("/api/v1"))
            .app_data(web)
            .app_data(paths)
            .wrap(gate);
        api.register(config);
    }
}

/// The default of [`WebScope::max_listeners`].
const DEFAULT_LISTENERS: usize = 100;

/// Returns the document, made once.
fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        model::document::document(&routes::add_all(utoipa_actix_web::scope::scope("")))
    });
    &DOCUMENT
}
