//! The gate in front of every route: credentials, requests from other sites, capabilities, unknown
//! parameters. Behind it: headers of every answer, request ids, and the audit record.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _};
use uuid::Uuid;

use super::Shared;
use super::operator::{Capability, Operator};
use super::problems::{Code, Problem};
use super::table::{Needs, Operation};

/// Admits a request, and finishes its answer.
pub(super) async fn pass<B: MessageBody + 'static>(
    web: Shared,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let id = request_id(request.headers());
    let audit = Audit::of(&request);
    let (answer, operator) = match admit(&web, &request).await {
        Ok((operator, needs)) => {
            let record = audit.filter(|_| needs != Needs::Capability(Capability::Publish));
            request.extensions_mut().insert(operator.clone());
            let answer = next.call(request).await?.map_into_boxed_body();
            (answer, record.map(|record| (record, operator)))
        }
        Err(problem) => (request.into_response(problem.respond(Some(&id))), None),
    };
    let answer = as_problem(answer, &id);
    if let Some((record, operator)) = operator {
        record.write(&operator, &answer, &id);
    }
    Ok(with_headers(answer, &id))
}

/// Checks everything that does not depend on the route's handler.
async fn admit(web: &Shared, request: &ServiceRequest) -> Result<(Operator, Needs), Problem> {
    let operator = web.access.check(request.request()).await?;
    if !request.method().is_safe() {
        check_site(request.headers())?;
    }
    let path = request.match_info().unprocessed();
    let operation = Operation::find(request.method().as_str(), path)?;
    match operation.needs() {
        Needs::Credentials => {}
        Needs::Capability(capability) if operator.may(capability) => {}
        Needs::Capability(capability) => {
            let detail = format!("this needs the capability {:?}", capability.as_str());
            return Err(Problem::new(Code::NotAllowed, detail));
        }
        Needs::Nobody => {
            return Err(Problem::new(
                Code::NotAllowed,
                "this route is not open to anybody",
            ));
        }
    }
    operation.check_query(request.query_string())?;
    Ok((operator, operation.needs()))
}

/// Refuses what a browser sends for a page of another site. Requests without these headers do not
/// come from a browser, which would send the user's cookies or password along.
fn check_site(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    let same = match (text(&SEC_FETCH_SITE), text(&ORIGIN)) {
        // `none`: the user typed the address.
        (Some(site), _) => site == b"same-origin" || site == b"none",
        (None, None) => true,
        (None, Some(origin)) => {
            let host = origin.splitn(2, |byte| *byte == b':').nth(1);
            let host = host.and_then(|rest| rest.strip_prefix(b"//"));
            host.is_some() && host == text(&HOST)
        }
    };
    if same {
        return Ok(());
    }
    let detail = "a page of another site sent this request; send it from your own";
    Err(Problem::new(Code::CrossSite, detail))
}

/// Returns the id that the caller or a proxy has given the request, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(&X_REQUEST_ID).and_then(|id| id.to_str().ok());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(&byte);
    let usable = given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(plain));
    usable.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Turns an error of a handler, or of actix-web, into problem details with the request's id.
fn as_problem(answer: ServiceResponse, id: &str) -> ServiceResponse {
    let (status, response) = (answer.status(), answer.response());
    if !status.is_client_error() && !status.is_server_error() {
        return answer;
    }
    let problem = response
        .error()
        .and_then(|error| error.as_error::<Problem>());
    let problem = match problem {
        Some(problem) => problem.clone(),
        None if is_problem(answer.headers()) => return answer,
        None => {
            let code = Code::of_status(status);
            Problem::new(code, code.title())
        }
    };
    answer.into_response(problem.respond(Some(id)))
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json")
}

fn with_headers(mut answer: ServiceResponse, id: &str) -> ServiceResponse {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(X_REQUEST_ID, id);
    }
    answer
}

/// A change by an operator, for the log.
struct Audit {
    method: Method,
    path: String,
}

impl Audit {
    /// Returns the record of a request that may change something. Publishing is no such change.
    fn of(request: &ServiceRequest) -> Option<Self> {
        (!request.method().is_safe()).then(|| Self {
            method: request.method().clone(),
            path: request.match_info().unprocessed().to_owned(),
        })
    }

    fn write(self, operator: &Operator, answer: &ServiceResponse, id: &str) {
        let (name, status) = (&*operator.name, answer.status().as_u16());
        let action = format!("{} {}", self.method, self.path);
        log::info!(
            operator = name, action = action.as_str(), status, request_id = id;
            "operator {name:?} called {action:?}: {status}"
        );
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = all.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        pairs.collect()
    }

    #[test]
    fn a_page_of_another_site_is_recognised() {
        let host = ("host", "a.test:8080");
        for (own, given) in [
            (true, vec![host]),
            (true, vec![host, ("sec-fetch-site", "same-origin")]),
            (true, vec![host, ("sec-fetch-site", "none")]),
            (false, vec![host, ("sec-fetch-site", "same-site")]),
            (false, vec![host, ("sec-fetch-site", "cross-site")]),
            (true, vec![host, ("origin", "http://a.test:8080")]),
            (true, vec![host, ("origin", "https://a.test:8080")]),
            (false, vec![host, ("origin", "http://a.test")]),
            (false, vec![host, ("origin", "http://b.test:8080")]),
            (false, vec![host, ("origin", "null")]),
            (false, vec![("origin", "null")]),
        ] {
            assert_eq!(check_site(&headers(&given)).is_ok(), own, "{given:?}");
        }
    }

    #[test]
    fn a_request_keeps_a_plain_id_and_gets_one_otherwise() {
        assert_eq!(request_id(&headers(&[("x-request-id", "a-1")])), "a-1");
        for odd in ["", "a b", "<script>"] {
            let id = request_id(&headers(&[("x-request-id", odd)]));
            assert_eq!(id.len(), 36, "{odd}");
        }
    }
}
