//! Local receivers that behave like real customers.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::watch::Ended;
use crate::{CLIENT_A, CLIENT_B};

/// A customer's receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Customer {
    Plain,
    Busy,
    Moved,
    NewHome,
    Strict,
    Basic,
    Bearer,
    Shared,
    Hanging,
}

/// The requests that a receiver got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Got {
    pub(crate) requests: usize,
    /// Requests answered with 200.
    pub(crate) accepted: usize,
    /// Requests for client A; the rest are for client B.
    pub(crate) of_client_a: usize,
}

impl Customer {
    pub(crate) const ALL: [Self; 9] = [
        Self::Plain,
        Self::Busy,
        Self::Moved,
        Self::NewHome,
        Self::Strict,
        Self::Basic,
        Self::Bearer,
        Self::Shared,
        Self::Hanging,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Busy => "busy",
            Self::Moved => "moved",
            Self::NewHome => "new-home",
            Self::Strict => "strict",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::Shared => "shared",
            Self::Hanging => "hanging",
        }
    }

    pub(crate) fn behaviour(self) -> &'static str {
        match self {
            Self::Plain => "200",
            Self::Busy => "503 once, with Retry-After: 1",
            Self::Moved => "307 to new-home",
            Self::NewHome => "200 for what moved there",
            Self::Strict => "400",
            Self::Basic => "200 with the right Basic credentials, else 401",
            Self::Bearer => "200 with the right Bearer token, else 401",
            Self::Shared => "one URL of two clients, told apart by header",
            Self::Hanging => "never answers",
        }
    }

    /// Returns `true` if the requests and the ends of deliveries match the rules and the receiver's
    /// behaviour.
    pub(crate) fn is_well(self, got: Got, ended: Ended) -> bool {
        let (delivered, dead) = (ended.delivered, ended.dead_lettered);
        match self {
            Self::Plain => delivered == 34 && got.accepted == 34 && dead == 0,
            Self::Busy => delivered == 2 && got.requests == 3 && dead == 0,
            Self::Moved => delivered == 2 && got.accepted == 0 && got.requests == 2,
            Self::NewHome => got.accepted == 2,
            Self::Strict => delivered == 0 && dead == 2 && got.requests == 2,
            Self::Basic => delivered == 2 && got.accepted == 2,
            Self::Bearer => delivered == 1 && got.accepted == 1,
            Self::Shared => delivered == 4 && got.accepted == 4 && got.of_client_a == 2,
            Self::Hanging => delivered == 0 && dead == 2 && got.requests == 6 && got.accepted == 0,
        }
    }
}

/// All receivers, on one port of this machine.
pub(crate) struct Receivers {
    base: String,
    got: Arc<Mutex<BTreeMap<Customer, Got>>>,
}

impl Receivers {
    pub(crate) fn start() -> io::Result<Self> {
        let got = Arc::new(Mutex::new(BTreeMap::new()));
        let data = web::Data::from(Arc::clone(&got));
        let server = HttpServer::new(move || {
            let receive = |customer: Customer| {
                web::post().to(move |request: HttpRequest, got: web::Data<Mutex<BTreeMap<Customer, Got>>>| async move {
                    receive(customer, &request, &got).await
                })
            };
            Customer::ALL
                .into_iter()
                .fold(App::new().app_data(data.clone()), |app, customer| {
                    app.route(&format!("/{}", customer.name()), receive(customer))
                })
        });
        let server = server.workers(1).disable_signals().bind(("127.0.0.1", 0))?;
        let port = server.addrs().first().map_or(0, std::net::SocketAddr::port);
        actix_web::rt::spawn(server.run());
        Ok(Self {
            base: format!("http://127.0.0.1:{port}"),
            got,
        })
    }

    pub(crate) fn url(&self, customer: Customer) -> String {
        format!("{}/{}", self.base, customer.name())
    }

    pub(crate) fn got(&self, customer: Customer) -> Got {
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        got.get(&customer).copied().unwrap_or_default()
    }
}

async fn receive(
    customer: Customer,
    request: &HttpRequest,
    got: &Mutex<BTreeMap<Customer, Got>>,
) -> HttpResponse {
    let header = |name: &str| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let authorization = header(AUTHORIZATION.as_str());
    let client = header("x-codat-clientid");
    let first = {
        let mut got = got.lock().unwrap_or_else(PoisonError::into_inner);
        let got = got.entry(customer).or_default();
        got.requests += 1;
        got.of_client_a += usize::from(client == CLIENT_A);
        got.requests == 1
    };
    let response = match customer {
        Customer::Busy if first => HttpResponse::ServiceUnavailable()
            .insert_header((RETRY_AFTER, "1"))
            .finish(),
        Customer::Moved => HttpResponse::TemporaryRedirect()
            .insert_header((LOCATION, "/new-home"))
            .finish(),
        Customer::Strict => HttpResponse::BadRequest().body("unknown field"),
        // Base64 of dave:secret.
        Customer::Basic if authorization != "Basic ZGF2ZTpzZWNyZXQ=" => {
            HttpResponse::Unauthorized().finish()
        }
        Customer::Bearer if authorization != "Bearer erins-token" => {
            HttpResponse::Unauthorized().finish()
        }
        Customer::Shared if ![CLIENT_A, CLIENT_B].contains(&client) => {
            HttpResponse::Forbidden().finish()
        }
        Customer::Hanging => std::future::pending().await,
        _ => HttpResponse::Ok().finish(),
    };
    if response.status().is_success() {
        got.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(customer)
            .or_default()
            .accepted += 1;
    }
    response
}
