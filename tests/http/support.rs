//! An engine with a watcher, and receivers that control every byte they send.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use actix_webhooks::testing::Recorder;
use actix_webhooks::transport::TransportBuilder;
use actix_webhooks::{
    AddressRange, DeadLetterReason, DeliveryReport, Endpoint, Engine, EngineBuilder, Event,
    Failure, Outcome, RetryPolicy, Rule,
};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::super::Tested;

/// The timeout of an attempt in tests about timeouts.
pub(crate) const SHORT: Duration = Duration::from_millis(300);

/// Runs a test on a real clock, and fails it after 20 s.
pub(crate) fn run(test: impl Future<Output = ()>) {
    run_for(Duration::from_secs(20), test);
}

/// Runs a test on a real clock, and fails it after `limit`.
pub(crate) fn run_for(limit: Duration, test: impl Future<Output = ()>) {
    actix_rt::System::new().block_on(async {
        tokio::time::timeout(limit, test)
            .await
            .expect("what the test waits for happens");
    });
}

/// A running engine and its reports.
pub(crate) struct Bed {
    pub(crate) engine: Engine,
    recorder: Recorder,
    /// Number of reports that were taken.
    taken: usize,
}

impl Bed {
    /// Starts an engine on the test's own thread that sends everything to one endpoint.
    pub(crate) async fn to(endpoint: Endpoint) -> Self {
        Self::with(builder(), endpoint).await
    }

    /// Like `to`, with further settings.
    pub(crate) async fn with(builder: EngineBuilder, endpoint: Endpoint) -> Self {
        let rule = Rule::new("rule", "*").webhook(endpoint.url.as_str());
        Self::start(builder.arbiters(0).rule(rule.unwrap()).endpoint(endpoint)).await
    }

    pub(crate) async fn start(builder: EngineBuilder) -> Self {
        let engine = builder.start().await.unwrap();
        let recorder = Recorder::new();
        recorder.watch_deliveries(&engine).await.unwrap();
        Self {
            engine,
            recorder,
            taken: 0,
        }
    }

    pub(crate) async fn publish(&self, id: &str) {
        self.engine.publish(event(id)).await.unwrap();
    }

    /// Waits for the next report and returns it.
    pub(crate) async fn report(&mut self) -> DeliveryReport {
        self.taken += 1;
        let reports = self.recorder.reports_once(self.taken).await;
        reports[self.taken - 1].clone()
    }

    /// Publishes an event and returns the report of its one attempt.
    pub(crate) async fn deliver(&mut self, id: &str) -> DeliveryReport {
        self.publish(id).await;
        let report = self.report().await;
        assert_eq!(report.event_id, id);
        report
    }

    /// Shuts the engine down. Every report must have been taken, and no work may be left.
    pub(crate) async fn end(self) {
        let shutdown = self.engine.shutdown(Duration::from_secs(5)).await;
        assert_eq!((shutdown.pending, shutdown.aborted), (0, 0));
        self.recorder.catch_up().await;
        let further = &self.recorder.reports()[self.taken..];
        assert_eq!(further, [], "one report for each delivery");
    }
}

/// Returns engine settings that allow loopback addresses.
pub(crate) fn builder() -> EngineBuilder {
    Engine::builder().transport(transport().build().unwrap())
}

/// Returns transport settings that allow loopback addresses.
pub(crate) fn transport() -> TransportBuilder<Tested> {
    Tested::builder().allow_addresses(AddressRange::loopback())
}

pub(crate) fn event(id: &str) -> Event {
    Event::new("thing.happened", "client").id(id).message(id)
}

/// Returns an endpoint that makes one attempt, with a timeout long enough for any machine.
pub(crate) fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(url)
        .unwrap()
        .timeout(Duration::from_secs(15))
        .retry(RetryPolicy::none())
}

/// Returns the outcome of a delivery whose only attempt failed in a way that a retry could have
/// fixed.
pub(crate) fn transient(failure: Failure) -> Outcome {
    Outcome::DeadLettered {
        reason: DeadLetterReason::AttemptsExhausted(failure),
    }
}

/// Returns the outcome of a delivery that failed in a way that no retry can fix.
pub(crate) fn permanent(failure: Failure) -> Outcome {
    Outcome::DeadLettered {
        reason: DeadLetterReason::Permanent(failure),
    }
}

/// A server on loopback, on the test's thread.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    scheme: &'static str,
    seen: Rc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: Cell<usize>,
    requests: RefCell<Vec<Request>>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The number of its connection, counted from 1.
    pub(crate) connection: usize,
    pub(crate) line: String,
    /// The names of its headers, as they were spelled.
    pub(crate) spelled: Vec<String>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Returns the value of a header, which must not occur twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert_eq!(values.next(), None, "{name} is there once");
        first
    }

    /// Returns the id of the event. In tests, an event's message is its id.
    pub(crate) fn event_id(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        body["Message"].as_str().unwrap().to_owned()
    }
}

impl Receiver {
    /// Starts a receiver that passes every connection to `serve`, and closes the connection when
    /// `serve` returns.
    pub(crate) async fn start(serve: impl AsyncFn(Connection) + 'static) -> Self {
        Self::listen(Ipv4Addr::LOCALHOST.into(), None, serve).await
    }

    pub(crate) async fn listen(
        ip: IpAddr,
        tls: Option<TlsAcceptor>,
        serve: impl AsyncFn(Connection) + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            scheme: if tls.is_some() { "https" } else { "http" },
            seen: Rc::default(),
        };
        let seen = Rc::clone(&receiver.seen);
        let serve = Rc::new(serve);
        actix_rt::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                seen.connections.set(seen.connections.get() + 1);
                let number = seen.connections.get();
                let (seen, tls, serve) = (Rc::clone(&seen), tls.clone(), Rc::clone(&serve));
                actix_rt::spawn(async move {
                    let stream: Box<dyn Stream> = match tls {
                        None => Box::new(tcp),
                        Some(tls) => match tls.accept(tcp).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let stream = BufReader::new(stream);
                    serve(Connection {
                        number,
                        stream,
                        seen,
                        served: false,
                    })
                    .await;
                });
            }
        });
        receiver
    }

    /// Returns the URL of a path, which begins with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.borrow().clone()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        self.seen.requests.borrow_mut().clear();
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.get()
    }
}

/// The receiver's side of a connection.
pub(crate) struct Connection {
    /// The number of this connection to its receiver, counted from 1.
    pub(crate) number: usize,
    stream: BufReader<Box<dyn Stream>>,
    seen: Rc<Seen>,
    /// `true` if a request has arrived on it.
    served: bool,
}

impl Connection {
    /// Reads a whole request. Returns `None` once the sender has closed the connection.
    pub(crate) async fn request(&mut self) -> Option<Request> {
        let line = self.line().await?;
        let (mut spelled, mut headers) = (Vec::new(), Vec::new());
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            spelled.push(name.to_owned());
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut request = Request {
            connection: self.number,
            line,
            spelled,
            headers,
            body: Vec::new(),
        };
        let length = request.header("content-length").unwrap().parse().unwrap();
        request.body.resize(length, 0);
        self.stream.read_exact(&mut request.body).await.ok()?;
        self.served = true;
        self.seen.requests.borrow_mut().push(request.clone());
        Some(request)
    }

    /// Reads a whole request if it begins within `limit`. Waits for the first one without a limit.
    pub(crate) async fn request_within(&mut self, limit: Duration) -> bool {
        if self.served {
            let begun = tokio::time::timeout(limit, self.stream.fill_buf()).await;
            if !matches!(begun, Ok(Ok([_, ..]))) {
                return false;
            }
        }
        self.request().await.is_some()
    }

    /// Reads the head of a request but not its body, and returns the body's length.
    pub(crate) async fn head(&mut self) -> usize {
        let mut length = 0;
        while let Some(line) = self.line().await.filter(|line| !line.is_empty()) {
            let line = line.to_ascii_lowercase();
            if let Some(told) = line.strip_prefix("content-length: ") {
                length = told.parse().unwrap();
            }
        }
        length
    }

    /// Reads `length` bytes of a body. Returns `false` if the sender has closed the connection.
    pub(crate) async fn body(&mut self, length: usize) -> bool {
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.is_ok()
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.ok()?;
        line.strip_suffix("\r\n").map(str::to_owned)
    }

    /// Writes bytes. Returns `false` if the sender has closed the connection.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let written = self.stream.write_all(bytes.as_ref()).await;
        written.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Writes a whole answer without a body.
    pub(crate) async fn answer(&mut self, status: u16) -> bool {
        self.send(format!(
            "HTTP/1.1 {status} Said So\r\nContent-Length: 0\r\n\r\n"
        ))
        .await
    }

    /// Answers every request with the same status.
    pub(crate) async fn answer_all(&mut self, status: u16) {
        while self.request().await.is_some() {
            self.answer(status).await;
        }
    }

    /// Waits until the sender closes the connection, and ignores further bytes.
    pub(crate) async fn closed(&mut self) {
        while matches!(self.stream.read(&mut [0; 1_024]).await, Ok(1..)) {}
    }

    /// Resets the connection instead of closing it.
    pub(crate) fn reset(self) {
        self.stream.get_ref().tcp().set_zero_linger().unwrap();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Returns the names and bytes of the answers in `tests/fixtures/smuggled.txt`.
pub(crate) fn smuggled() -> Vec<(String, Vec<u8>)> {
    let lines = include_str!("../fixtures/smuggled.txt").lines();
    let lines = lines.filter_map(|line| line.split_once(" | "));
    lines
        .map(|(name, text)| (name.to_owned(), unescaped(text)))
        .collect()
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(char) = rest.next() {
        let escaped = if char == '\\' { rest.next() } else { None };
        bytes.push(match escaped {
            None => u8::try_from(char).unwrap(),
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            Some(other) => u8::try_from(other).unwrap(),
        });
    }
    bytes
}
