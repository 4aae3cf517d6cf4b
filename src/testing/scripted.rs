//! Receivers that follow a test's script.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use parking_lot::{Mutex, MutexGuard};

use crate::domain::deliveries::trace::AnswerTrace;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::value::url::WebhookUrl;
use crate::transport::{
    Answer, Channel, Failure, Request, Sent, TokenAnswer, TokenRequest, Transport,
};

/// A transport without sockets: each URL replies as scripted, and every request is recorded.
///
/// Clones share scripts and records. A URL without a script answers 200; one whose script has run
/// out repeats its last reply. A token endpoint without a script issues `token-1`, `token-2` and so
/// on, each valid for an hour.
#[derive(Clone, Debug, Default)]
pub struct ScriptedTransport {
    stage: Arc<Mutex<Stage>>,
}

#[derive(Default)]
struct Stage {
    scripts: HashMap<WebhookUrl, Script>,
    decide: Option<Decide>,
    requests: Vec<SentRequest>,
    token_requests: Vec<SentTokenRequest>,
    in_flight: usize,
    most_in_flight: usize,
}

type Decide = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

#[derive(Default)]
struct Script {
    replies: VecDeque<Reply>,
    last: Option<Reply>,
}

/// A scripted receiver's reaction to one request.
#[derive(Clone, Debug)]
pub struct Reply {
    wait: Duration,
    kind: Kind,
    trace: AnswerTrace,
}

#[derive(Clone, Debug)]
enum Kind {
    Answer(Answer),
    Fail(Failure),
    Hang,
    Panic,
}

/// A request that a scripted receiver got.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SentRequest {
    /// The request.
    pub request: Request,
    /// The endpoint of the delivery; after a redirect it differs from the request's URL.
    pub endpoint: WebhookUrl,
    /// The names of the endpoint's own headers that were sent with the request.
    pub headers: Vec<String>,
    /// The value of the signature header, made from the endpoint's secrets as by any transport;
    /// `None` if the request is unsigned.
    ///
    /// `Verifier`, or the receiver's own code, can check it against the alert's id and body and the
    /// whole seconds of `sent_at`.
    pub signature: Option<String>,
    /// The time of sending, by tokio's clock.
    pub at: tokio::time::Instant,
}

/// A request that a scripted token endpoint got.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SentTokenRequest {
    /// The request.
    pub request: TokenRequest,
    /// The time of sending, by tokio's clock.
    pub at: tokio::time::Instant,
}

impl Reply {
    fn at_once(kind: Kind) -> Self {
        Self {
            wait: Duration::ZERO,
            kind,
            trace: AnswerTrace::new(),
        }
    }

    /// Answers at once with a status.
    pub fn status(status: u16) -> Self {
        Self::answer(Answer::new(status))
    }

    /// Answers at once.
    pub fn answer(answer: Answer) -> Self {
        Self::at_once(Kind::Answer(answer))
    }

    /// Answers a token request at once with 200 and a bearer token that is valid for `expires_in`.
    pub fn token(access_token: &str, expires_in: Duration) -> Self {
        let issued = serde_json::json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": expires_in.as_secs(),
        });
        Self::body(200, issued.to_string())
    }

    /// Answers at once with a status and a body.
    pub fn body(status: u16, body: impl Into<Bytes>) -> Self {
        let mut answer = Answer::new(status);
        answer.excerpt = body.into();
        Self::answer(answer)
    }

    /// Fails at once without an answer.
    pub fn fail(failure: Failure) -> Self {
        Self::at_once(Kind::Fail(failure))
    }

    /// Never answers.
    pub fn hang() -> Self {
        Self::at_once(Kind::Hang)
    }

    /// Panics inside the transport.
    pub fn panic() -> Self {
        Self::at_once(Kind::Panic)
    }

    /// Sets where the answer comes from, and what it is.
    #[must_use]
    pub fn traced(mut self, trace: AnswerTrace) -> Self {
        self.trace = trace;
        self
    }

    /// Delays the reply by `wait`.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

impl ScriptedTransport {
    /// Returns a transport whose receivers all answer 200.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the replies of a URL, one per request; the last reply is repeated.
    ///
    /// # Panics
    /// If the URL is not valid.
    pub fn on(&self, url: &str, replies: impl IntoIterator<Item = Reply>) {
        let url = WebhookUrl::parse(url).expect("a test names valid URLs");
        let script = Script {
            replies: replies.into_iter().collect(),
            last: None,
        };
        self.stage().scripts.insert(url, script);
    }

    /// Sets the function that decides the reply to requests to URLs without a script.
    pub fn decide(&self, decide: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        self.stage().decide = Some(Arc::new(decide));
    }

    /// Returns all requests so far, in order.
    pub fn requests(&self) -> Vec<SentRequest> {
        self.stage().requests.clone()
    }

    /// Returns all requests to token endpoints so far, in order. They do not count as in flight.
    pub fn token_requests(&self) -> Vec<SentTokenRequest> {
        self.stage().token_requests.clone()
    }

    /// Returns the most requests that were in flight at once.
    pub fn most_in_flight(&self) -> usize {
        self.stage().most_in_flight
    }

    /// Returns the number of requests in flight.
    pub fn in_flight(&self) -> usize {
        self.stage().in_flight
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock()
    }
}

impl Stage {
    fn next_reply(&mut self, request: &Request) -> Reply {
        if let Some(script) = self.scripts.get_mut(&request.url) {
            return script.next_reply();
        }
        match &self.decide {
            Some(decide) => Arc::clone(decide)(request),
            None => Reply::status(200),
        }
    }
}

impl Script {
    fn next_reply(&mut self) -> Reply {
        if let Some(reply) = self.replies.pop_front() {
            self.last = Some(reply);
        }
        self.last.clone().unwrap_or_else(|| Reply::status(200))
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}

impl Transport for ScriptedTransport {
    fn open(&self, endpoint: &Endpoint, _: &str) -> Box<dyn Channel> {
        Box::new(ScriptedChannel {
            transport: self.clone(),
            endpoint: endpoint.clone(),
        })
    }

    fn request_token(
        &self,
        request: TokenRequest,
    ) -> LocalBoxFuture<'static, Result<TokenAnswer, Failure>> {
        #[expect(
            clippy::disallowed_methods,
            reason = "tests compare requests by tokio's clock"
        )]
        let at = tokio::time::Instant::now();
        let mut stage = self.stage();
        let number = stage.token_requests.len() + 1;
        let reply = match stage.scripts.get_mut(&request.url) {
            Some(script) => script.next_reply(),
            None => Reply::token(&format!("token-{number}"), Duration::from_hours(1)),
        };
        stage.token_requests.push(SentTokenRequest { request, at });
        drop(stage);
        let answered = |answer: Answer| TokenAnswer::new(answer.status, answer.excerpt);
        async move { reply.play().await.map(answered) }.boxed_local()
    }
}

struct ScriptedChannel {
    transport: ScriptedTransport,
    endpoint: Endpoint,
}

impl Channel for ScriptedChannel {
    fn send(&self, request: Request) -> LocalBoxFuture<'static, Sent> {
        let kept = |dropped: bool| !(dropped && request.left_origin);
        let headers = self
            .endpoint
            .headers
            .iter()
            .filter(|header| kept(header.dropped_across_origins));
        let headers = headers.map(|header| header.name.clone()).collect();
        let id = request.alert.id.to_string();
        let signature = self
            .endpoint
            .signature(&id, request.sent_at, &request.alert.body);
        let mut stage = self.transport.stage();
        let reply = stage.next_reply(&request);
        let endpoint = self.endpoint.url.clone();
        let seen = request.seen.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "tests compare requests by tokio's clock"
        )]
        let at = tokio::time::Instant::now();
        stage.requests.push(SentRequest {
            request,
            endpoint,
            headers,
            signature,
            at,
        });
        drop(stage);
        let under_way = UnderWay::begin(self.transport.clone());
        async move {
            let _under_way = under_way;
            let trace = reply.trace.clone();
            let result = reply.play().await;
            if let Ok(answer) = &result {
                seen.set_traced(answer.status, trace);
            }
            Sent::from(result)
        }
        .boxed_local()
    }
}

impl Reply {
    #[expect(
        clippy::disallowed_methods,
        clippy::panic,
        reason = "a scripted receiver does what it is told"
    )]
    async fn play(self) -> Result<Answer, Failure> {
        if !self.wait.is_zero() {
            tokio::time::sleep(self.wait).await;
        }
        match self.kind {
            Kind::Answer(answer) => Ok(answer),
            Kind::Fail(failure) => Err(failure),
            Kind::Hang => std::future::pending().await,
            Kind::Panic => panic!("scripted panic"),
        }
    }
}

/// Counts a request while it is in flight, however it ends.
struct UnderWay(ScriptedTransport);

impl UnderWay {
    fn begin(transport: ScriptedTransport) -> Self {
        let mut stage = transport.stage();
        stage.in_flight += 1;
        stage.most_in_flight = stage.most_in_flight.max(stage.in_flight);
        drop(stage);
        Self(transport)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.stage().in_flight -= 1;
    }
}
