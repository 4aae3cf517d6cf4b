//! The receiver of all rounds, in the parent, which is never killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::child;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

/// A request that was answered.
pub(crate) struct Request {
    /// The rule that sent it: the last part of the URL.
    pub(crate) rule: String,
    pub(crate) alert: String,
    pub(crate) attempt: u32,
    pub(crate) at: Instant,
    pub(crate) status: u16,
}

pub(crate) struct Receiver {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    /// Whether the alerts of [`child::LETTERS`] are accepted; they are refused until then.
    mended: Arc<AtomicBool>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let mended = Arc::<AtomicBool>::default();
        let (sender, port) = channel();
        let (noted, accepts) = (Arc::clone(&requests), Arc::clone(&mended));
        std::thread::spawn(move || {
            actix_rt::System::new().block_on(async {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(web::Data::from(Arc::clone(&noted)))
                        .app_data(web::Data::from(Arc::clone(&accepts)))
                        .default_service(web::to(answer))
                })
                .workers(1)
                .bind(("127.0.0.1", 0))
                .expect("a port");
                sender
                    .send(server.addrs()[0].port())
                    .expect("somebody waits for it");
                server.run().await.expect("it serves");
            });
        });
        let port = port.recv().expect("the receiver starts");
        Self {
            url: format!("http://127.0.0.1:{port}/"),
            requests,
            mended,
        }
    }

    /// Accepts the alerts of [`child::LETTERS`] from now on.
    pub(crate) fn mend(&self) {
        self.mended.store(true, Ordering::SeqCst);
    }

    /// Returns the requests since the previous call.
    pub(crate) fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.requests.lock().unwrap())
    }
}

/// Refuses some alerts for good and some at their first attempt, chosen by id, and accepts the
/// others.
async fn answer(
    request: HttpRequest,
    _: web::Bytes,
    requests: web::Data<Mutex<Vec<Request>>>,
    mended: web::Data<AtomicBool>,
) -> HttpResponse {
    let header = |name: &str| {
        let value = request.headers().get(name).expect("the engine sends it");
        value.to_str().expect("it is text").to_owned()
    };
    let alert = header("webhook-id");
    let attempt: u32 = header("webhook-attempt").parse().expect("a number");
    let rule = request.path().trim_start_matches('/').to_owned();
    let mut requests = requests.lock().unwrap();
    let status = match (&*rule, alert.as_bytes()[0], alert.as_bytes()[1], attempt) {
        // Becomes a dead letter, which is then redelivered.
        (child::AGAIN, ..) if !requests.iter().any(|before| before.alert == alert) => 400,
        (child::AGAIN, ..) => 200,
        (child::LETTERS, ..) if mended.load(Ordering::SeqCst) => 200,
        (child::LETTERS, ..) | (child::RULE, b'0', b'0'..=b'3', _) => 400,
        (child::REMOVED, ..) | (_, b'1', _, 1) | (_, b'2', b'0'..=b'3', _) => 503,
        _ => 200,
    };
    let held = rule == child::HELD && status == 503;
    requests.push(Request {
        rule,
        alert,
        attempt,
        at: Instant::now(),
        status,
    });
    drop(requests);
    let mut answer =
        HttpResponse::build(actix_web::http::StatusCode::from_u16(status).expect("a status"));
    if held {
        answer.insert_header(("retry-after", "1"));
    }
    answer.finish()
}
