//! An engine on a simulated clock with scripted receivers, and a service with its API.

use std::time::Duration;

use actix_http::Request;
use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, Error};
use actix_webhooks::testing::{ScriptedTransport, SimClock};
use actix_webhooks::web::{self, Access, Capability, Token};
use actix_webhooks::{
    Auth, Client, Endpoint, EndpointId, Engine, EngineBuilder, Event, RetryPolicy, Rule, WebhookUrl,
};
use serde_json::Value;

pub(crate) const HOOK: &str = "https://receiver.test/hook";
pub(crate) const ROOT: &str = "/some/mount/api/v1";

/// Holds every capability.
pub(crate) const TOKEN: &str = "all-0123456789abcdef";
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Texts that must never be in an answer.
pub(crate) const HUSH: [&str; 6] = [
    "hush-password",
    "hush-bearer",
    "hush-raw",
    "hush-client-secret",
    "hush-header",
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
];

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Returns the body as JSON; `null` if there is none.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let header = self.headers.get(name);
        header
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }

    pub(crate) fn etag(&self) -> String {
        self.header("etag").to_owned()
    }

    /// Returns the code of a problem.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        self.json()["code"].as_str().unwrap().to_owned()
    }

    /// Returns the first wrong part of a problem.
    #[track_caller]
    pub(crate) fn wrong(&self) -> String {
        let wrong = &self.json()["errors"][0];
        let part = wrong.get("parameter").or_else(|| wrong.get("pointer"));
        part.unwrap_or_else(|| panic!("{self:?}"))
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A service with the API, as a server would run it.
pub(crate) struct Api<S>(S);

impl<S> Api<S>
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    /// Sends any request.
    pub(crate) async fn send(&self, request: TestRequest) -> Answer {
        let response = call_service(&self.0, request.to_request()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = tokio::time::timeout(Duration::from_hours(1), read_body(response));
        let body = body.await.expect("the answer ends within an hour");
        let text = String::from_utf8(body.to_vec()).unwrap();
        let answer = Answer {
            status,
            headers,
            text,
        };
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), value);
        }
        for hush in HUSH {
            assert!(!answer.text.contains(hush), "{answer:?}");
            for (_, value) in &answer.headers {
                assert!(!value.to_str().unwrap().contains(hush), "{answer:?}");
            }
        }
        answer
    }

    /// Opens a stream of events of somebody who may do everything.
    pub(crate) async fn open(&self, path: &str) -> BoxBody {
        let request = request("GET", path).insert_header(bearer(TOKEN));
        let response = call_service(&self.0, request.to_request()).await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        let kind = response.headers().get("content-type").unwrap();
        assert_eq!(kind, "text/event-stream");
        response.into_body()
    }

    /// Sends a request of somebody who may do everything.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = request(method, path).insert_header(bearer(TOKEN));
        if let Some(body) = body {
            let media = if method == "PATCH" {
                "application/merge-patch+json"
            } else {
                "application/json"
            };
            request = request
                .insert_header(("content-type", media))
                .set_payload(body.to_string());
        }
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None).await
    }
}

pub(crate) fn request(method: &str, path: &str) -> TestRequest {
    let method = method.parse().unwrap();
    TestRequest::default()
        .method(method)
        .uri(&format!("{ROOT}{path}"))
}

pub(crate) fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// Access for [`TOKEN`], and for a token of each capability, such as `read-0123456789abcdef`.
pub(crate) fn tokens() -> Access {
    let single = Capability::ALL.map(|capability| {
        Token::new(
            capability.as_str(),
            format!("{capability}-0123456789abcdef"),
            [capability],
        )
    });
    let all = Token::new("all", TOKEN, Capability::ALL);
    Access::tokens(single.into_iter().chain([all])).unwrap()
}

/// Returns the id of an endpoint.
pub(crate) fn id(url: &str) -> String {
    EndpointId::of(&WebhookUrl::parse(url).unwrap()).to_string()
}

/// Runs a test with the API of an engine that has the test's own settings.
pub(crate) fn serve_with<F>(
    access: Access,
    settings: impl FnOnce(EngineBuilder) -> EngineBuilder,
    test: F,
) where
    F: AsyncFnOnce(&Api<Box<dyn Served>>, Sim),
{
    SimClock::run(async |clock| {
        let receivers = ScriptedTransport::new();
        let builder = Engine::builder()
            .simulated(&clock, 1)
            .transport(receivers.clone());
        let engine = settings(builder).start().await.unwrap();
        let scope =
            actix_web::web::scope("/some/mount").service(web::scope(engine.clone(), access));
        let service = init_service(App::new().service(scope)).await;
        let sim = Sim {
            engine,
            clock,
            receivers,
        };
        test(&Api(Box::new(service)), sim).await;
    });
}

/// A service as a trait object, so that tests need not name its type.
pub(crate) trait Served {
    fn call_boxed(
        &self,
        request: Request,
    ) -> futures_util::future::LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>;
}

impl<S> Served for S
where
    S: Service<Request, Response = ServiceResponse<BoxBody>, Error = Error>,
    S::Future: 'static,
{
    fn call_boxed(
        &self,
        request: Request,
    ) -> futures_util::future::LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>
    {
        Box::pin(self.call(request))
    }
}

impl Service<Request> for Box<dyn Served> {
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future =
        futures_util::future::LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>;

    actix_web::dev::always_ready!();

    fn call(&self, request: Request) -> Self::Future {
        (**self).call_boxed(request)
    }
}

/// Runs a test with the API of an engine that has one rule for everything, to [`HOOK`], and secrets
/// in every place.
pub(crate) fn serve(test: impl AsyncFnOnce(&Api<Box<dyn Served>>, Sim)) {
    serve_with(tokens(), with_secrets, test);
}

pub(crate) fn with_secrets(builder: EngineBuilder) -> EngineBuilder {
    let endpoint = Endpoint::new(HOOK)
        .unwrap()
        .retry(RetryPolicy::three_in_two_minutes().without_jitter())
        .auth(Auth::basic("user", "hush-password"))
        .secret_header("X-Key", "hush-header")
        .secret(SECRET)
        .unwrap();
    let rule = Rule::new("rule", "*")
        .webhook(HOOK)
        .unwrap()
        .auth(Auth::bearer("hush-bearer"));
    let client = Client::new("client")
        .name("Dave")
        .auth(Auth::raw("hush-raw"));
    builder.rule(rule).client(client).endpoint(endpoint)
}

/// The engine behind an API.
pub(crate) struct Sim {
    pub(crate) engine: Engine,
    pub(crate) clock: SimClock,
    pub(crate) receivers: ScriptedTransport,
}

impl Sim {
    pub(crate) async fn publish(&self, id: &str) {
        let event = Event::new("thing.happened", "client").id(id);
        self.engine.publish(event).await.unwrap();
    }

    pub(crate) async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }
}
