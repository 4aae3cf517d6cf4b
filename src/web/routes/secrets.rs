//! The parts of an endpoint that hold secrets. They go in, and never come back.

use std::time::Duration;

use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse, delete, get, patch, post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use utoipa_actix_web::scope::Scope;
use zeroize::Zeroizing;

use super::edit::edit;
use super::endpoints::find;
use super::{Answer, Routing, State};
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::signing::signature::{InvalidSecret, MAX_SIGNING_SECRETS, SigningSecret};
use crate::domain::signing::signer::EndpointSecret;
use crate::domain::value::time::Timestamp;
use crate::web::model::delivery::Unsigned;
use crate::web::model::secret::{
    CertificateGiven, HeaderGiven, HeadersPatch, NewSecret, Rotation, SecretView, fingerprint_of,
};
use crate::web::problems::{Code, Problem};
use crate::web::read::{Body, Patch, Query};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = scope.service(list).service(rotate).service(delete_secret);
    let scope = scope.service(put_headers).service(patch_headers);
    scope.service(put_certificate).service(delete_certificate)
}

/// List the signing secrets of an endpoint, by their fingerprints.
#[utoipa::path(
    tag = "secrets",
    params(("id" = String, Path, description = "The endpoint's id.")),
    responses((status = 200, description = "All secrets.", body = Vec<SecretView>)),
    security(("token" = ["read"]))
)]
#[get("/endpoints/{id}/secrets")]
async fn list(web: State, id: Path<String>) -> Answer {
    let endpoint = find(&web.engine, &id).await?.settings().await?;
    let shown: Vec<_> = endpoint.secrets.iter().map(SecretView::from).collect();
    Ok(HttpResponse::Ok().json(shown))
}

/// Sign with a new secret. The present ones go on signing for a while.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = Rotation),
    responses((
        status = 200,
        description = "The new secret, shown only this once.",
        body = NewSecret
    )),
    security(("token" = ["configure"]))
)]
#[post("/endpoints/{id}/secrets/rotate")]
async fn rotate(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Body(rotation): Body<Rotation>,
) -> Answer {
    let grace = rotation.grace_ms.unwrap_or(DAY_MS);
    if grace > 30 * DAY_MS {
        let why = "graceMs must be at most 30 days";
        return Err(Problem::part(Code::InvalidBody, "/graceMs", why));
    }
    let secret = match &rotation.secret {
        Some(given) => SigningSecret::parse(given.expose()),
        None => SigningSecret::parse(&generated()?),
    };
    let secret = secret.map_err(|error| Problem::part(Code::InvalidEndpoint, "/secret", error))?;
    let shown = NewSecret {
        fingerprint: fingerprint_of(&secret),
        secret: secret.expose().to_owned(),
    };
    let now = web.engine.status().await?.now;
    let end = now + Duration::from_millis(grace);
    edit(&web, &request, &id, |mut endpoint: Endpoint| {
        rotate_to(&mut endpoint.secrets, secret, now, end)?;
        Ok(endpoint)
    })
    .await?;
    Ok(HttpResponse::Ok().json(shown))
}

const DAY_MS: u64 = 86_400_000;

/// Adds a secret. The others end at `end` at the latest; those that have ended are removed.
fn rotate_to(
    secrets: &mut Vec<EndpointSecret>,
    secret: SigningSecret,
    now: Timestamp,
    end: Timestamp,
) -> Result<(), Problem> {
    for known in secrets.iter_mut() {
        known.until = Some(known.until.map_or(end, |until| until.min(end)));
    }
    let fingerprint = fingerprint_of(&secret);
    secrets.retain(|known| {
        let signs = known.until.is_none_or(|until| until > now);
        signs && fingerprint_of(&known.secret) != fingerprint
    });
    if secrets.len() >= MAX_SIGNING_SECRETS {
        let error = InvalidSecret::TooMany.to_string();
        return Err(Problem::new(Code::TooManySecrets, error));
    }
    secrets.push(EndpointSecret {
        secret,
        until: None,
    });
    Ok(())
}

fn generated() -> Result<Zeroizing<String>, Problem> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_| Problem::new(Code::Internal, "no random numbers could be drawn"))?;
    let encoded = Zeroizing::new(STANDARD.encode(*bytes));
    Ok(Zeroizing::new(format!("whsec_{}", &*encoded)))
}

/// Delete a signing secret.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("fingerprint" = String, Path, description = "The secret's fingerprint."),
        Unsigned,
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    responses((status = 204, description = "It is deleted.")),
    security(("token" = ["configure"]))
)]
#[delete("/endpoints/{id}/secrets/{fingerprint}")]
async fn delete_secret(
    web: State,
    request: HttpRequest,
    path: Path<(String, String)>,
    Query(confirmed): Query<Unsigned>,
) -> Answer {
    let (id, fingerprint) = path.into_inner();
    edit(&web, &request, &id, |mut endpoint: Endpoint| {
        let before = endpoint.secrets.len();
        endpoint
            .secrets
            .retain(|known| fingerprint_of(&known.secret) != fingerprint);
        if endpoint.secrets.len() == before {
            let detail = "no secret of the endpoint has this fingerprint";
            return Err(Problem::new(Code::UnknownSecret, detail));
        }
        if endpoint.secrets.is_empty() && !confirmed.unsigned {
            let detail = "calls would go out unsigned; confirm with unsigned=true";
            return Err(Problem::new(Code::LastSecret, detail));
        }
        Ok(endpoint)
    })
    .await
}

/// Set the headers of an endpoint's calls. A value that is left out stays as it is.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = Vec<HeaderGiven>),
    responses((status = 204, description = "They are set.")),
    security(("token" = ["configure"]))
)]
#[put("/endpoints/{id}/headers")]
async fn put_headers(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Body(headers): Body<Vec<HeaderGiven>>,
) -> Answer {
    edit(&web, &request, &id, |endpoint: Endpoint| {
        let headers = HeaderGiven::complete(headers, &endpoint.headers)?;
        Ok(Endpoint {
            headers,
            ..endpoint
        })
    })
    .await
}

/// Change headers of an endpoint's calls by a merge patch: a value sets one, `null` removes it.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = HeadersPatch, content_type = "application/merge-patch+json"),
    responses((status = 204, description = "They are changed.")),
    security(("token" = ["configure"]))
)]
#[patch("/endpoints/{id}/headers")]
async fn patch_headers(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Patch(patch): Patch<HeadersPatch>,
) -> Answer {
    edit(&web, &request, &id, |endpoint: Endpoint| {
        let headers = patch.applied_to(endpoint.headers);
        Ok(Endpoint {
            headers,
            ..endpoint
        })
    })
    .await
}

/// Set the client certificate shown to an endpoint's receiver (mutual TLS).
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    request_body(content = CertificateGiven),
    responses((status = 204, description = "It is set.")),
    security(("token" = ["configure"]))
)]
#[put("/endpoints/{id}/client-certificate")]
async fn put_certificate(
    web: State,
    request: HttpRequest,
    id: Path<String>,
    Body(certificate): Body<CertificateGiven>,
) -> Answer {
    edit(&web, &request, &id, |endpoint: Endpoint| {
        let identity = certificate.complete(endpoint.client_identity.as_ref())?;
        Ok(Endpoint {
            client_identity: Some(identity),
            ..endpoint
        })
    })
    .await
}

/// Show no client certificate to an endpoint's receiver.
#[utoipa::path(
    tag = "secrets",
    params(
        ("id" = String, Path, description = "The endpoint's id."),
        ("If-Match" = Option<String>, Header, description = "The tag that it must still have.")
    ),
    responses((status = 204, description = "There is none.")),
    security(("token" = ["configure"]))
)]
#[delete("/endpoints/{id}/client-certificate")]
async fn delete_certificate(web: State, request: HttpRequest, id: Path<String>) -> Answer {
    edit(&web, &request, &id, |endpoint: Endpoint| {
        Ok(Endpoint {
            client_identity: None,
            ..endpoint
        })
    })
    .await
}
