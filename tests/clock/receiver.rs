//! The receiver, in the parent, whose clock is never set.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::child::{ASKED, HELD, PLAIN, WAITS};

/// A request that was answered.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) alert: String,
    pub(crate) attempt: u32,
    pub(crate) at: Instant,
    /// The shortest wait before the next attempt; `None` if the alert was accepted.
    pub(crate) again_after: Option<Duration>,
}

pub(crate) struct Receiver {
    pub(crate) origin: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let (sender, port) = channel();
        let noted = Arc::clone(&requests);
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(web::Data::from(Arc::clone(&noted)))
                        .default_service(web::to(answer))
                });
                let server = server.workers(1).bind(("127.0.0.1", 0)).expect("a port");
                let port = server.addrs()[0].port();
                sender.send(port).expect("somebody waits for it");
                server.run().await.expect("it serves");
            });
        });
        let port = port.recv().expect("the receiver starts");
        Self {
            origin: format!("http://127.0.0.1:{port}"),
            requests,
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Refuses some alerts for now, chosen by id, and accepts the others.
async fn answer(
    request: HttpRequest,
    _: web::Bytes,
    requests: web::Data<Mutex<Vec<Request>>>,
) -> HttpResponse {
    let header = |name: &str| {
        let value = request.headers().get(name).expect("the engine sends it");
        value.to_str().expect("it is text").to_owned()
    };
    let alert = header("webhook-id");
    let attempt: u32 = header("webhook-attempt").parse().expect("a number");
    let (first, second) = (alert.as_bytes()[0], alert.as_bytes()[1]);
    let (status, retry_after, again_after) = match (request.path(), first, second, attempt) {
        (PLAIN, b'0'..=b'3', _, 1) => (502, None, Some(WAITS[0])),
        (PLAIN, b'0', _, 2) => (502, None, Some(WAITS[1])),
        (ASKED, b'0'..=b'7', _, 1) => (502, Some(1), None),
        (ASKED, b'0'..=b'1', _, 2) => (502, Some(2), None),
        // Makes the whole endpoint wait.
        (HELD, b'0', b'0'..=b'3', 1) => (503, Some(1), None),
        _ => (200, None, None),
    };
    requests.lock().unwrap().push(Request {
        path: request.path().to_owned(),
        alert,
        attempt,
        at: Instant::now(),
        again_after: again_after.or(retry_after.map(Duration::from_secs)),
    });
    let status = actix_web::http::StatusCode::from_u16(status).expect("a status");
    let mut response = HttpResponse::build(status);
    if let Some(seconds) = retry_after {
        response.insert_header(("Retry-After", seconds.to_string()));
    }
    response.finish()
}
