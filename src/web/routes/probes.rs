//! Probes for load balancers and orchestrators: no credentials, and no detail.

use std::fmt;

use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::web::{Data, get, scope};
use actix_web::{HttpResponse, HttpResponseBuilder};

use crate::engine::Engine;

/// Returns two routes that need no credentials, for `App::service` or the `service` of a scope.
///
/// - `GET health/live`: 204 while the server answers.
/// - `GET health/ready`: 204 while the engine takes events and its store works; otherwise 503.
pub fn probes(engine: Engine) -> Probes {
    Probes(engine)
}

/// The probes of an engine; see [`probes`].
#[derive(Clone)]
pub struct Probes(Engine);

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}

impl HttpServiceFactory for Probes {
    fn register(self, config: &mut AppService) {
        let routes = scope("/health")
            .app_data(Data::new(self.0))
            .route("/live", get().to(live))
            .route("/ready", get().to(ready));
        routes.register(config);
    }
}

async fn live() -> HttpResponse {
    fresh(HttpResponse::NoContent())
}

async fn ready(engine: Data<Engine>) -> HttpResponse {
    match engine.status().await {
        Ok(status) if !status.draining && status.store_error.is_none() => {
            fresh(HttpResponse::NoContent())
        }
        Ok(_) | Err(_) => {
            let mut answer = HttpResponse::ServiceUnavailable();
            answer.insert_header((RETRY_AFTER, "1"));
            fresh(answer)
        }
    }
}

fn fresh(mut answer: HttpResponseBuilder) -> HttpResponse {
    answer.insert_header((CACHE_CONTROL, "no-store")).finish()
}
