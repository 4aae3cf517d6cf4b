//! What two listeners of `/live` cost at full load.
//!
//! The engine's process serves the API from a thread of its own. The listeners are in another
//! process, which reads their streams and does nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use actix_web::{App, HttpServer};
use actix_webhooks::Engine;
use actix_webhooks::web::{self, Access, Capability, Token};

use crate::measure::{Sample, median};
use crate::{IN_FLIGHT, apart};

/// The argument that turns this program into the listeners.
pub(crate) const COMMAND: &str = "listeners";

/// What both listen to.
const TOPICS: &str = "overview,attempts,actions";

const TOKEN: &str = "bench-0123456789abcdef";

/// The process of the listeners.
pub(crate) struct Listeners(Child);

impl Listeners {
    /// Serves the API of an engine, starts two listeners, and waits until both have heard
    /// something.
    pub(crate) fn start(engine: &Engine) -> Self {
        let port = serve(engine.clone());
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .args([COMMAND, &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the listeners start");
        let output = BufReader::new(process.stdout.take().expect("it was piped"));
        for line in output.lines().take(2) {
            line.expect("a listener says that it has heard something");
        }
        Self(process)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Serves the API on a free port, which is returned.
fn serve(engine: Engine) -> u16 {
    let (sender, port) = channel();
    std::thread::spawn(move || {
        let access = Access::tokens([Token::new("bench", TOKEN, [Capability::Read])]);
        let api = web::scope(engine, access.expect("the token is long enough"));
        actix_rt::System::new().block_on(async {
            let server = HttpServer::new(move || App::new().service(api.clone()));
            let server = server.workers(1).disable_signals();
            let server = server.bind(("127.0.0.1", 0)).expect("a free port");
            let port = server.addrs().first().expect("it is bound").port();
            sender.send(port).expect("somebody waits for it");
            server.run().await.expect("it serves");
        });
    });
    port.recv().expect("the server starts")
}

/// Listens until killed: prints a line for each listener's first event.
pub(crate) fn run_listeners(port: u16) {
    let listeners: Vec<_> = (0..2)
        .map(|_| std::thread::spawn(move || listen(port)))
        .collect();
    for listener in listeners {
        listener.join().expect("it does not panic");
    }
}

fn listen(port: u16) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the API is served");
    let request = format!(
        "GET /api/v1/live?topics={TOPICS} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .expect("it is connected");
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    lines
        .find(|line| line.starts_with("event: overview"))
        .expect("the state comes first");
    println!("heard");
    let mut buffer = vec![0; 64 * 1_024];
    while stream.read(&mut buffer).is_ok_and(|length| length > 0) {}
}

/// Measures with and without listeners, in turn.
pub(crate) fn run(run: Duration, rounds: usize) {
    println!(
        "\ntwo listeners of /live ({TOPICS}) at full load, 100 endpoints, 2 arbiters, {IN_FLIGHT} in flight, in turn with none"
    );
    for (store, watched) in [("memory", "memory-watched"), ("disk", "disk-watched")] {
        let rows: Vec<[Sample; 2]> = (0..rounds)
            .map(|_| [store, watched].map(|which| apart(which, 100, 2, run)))
            .collect();
        let of = |column: usize, value: fn(&Sample) -> f64| {
            median(rows.iter().map(|row| value(&row[column])).collect())
        };
        let ratios = rows.iter().map(|row| row[1].per_second / row[0].per_second);
        println!(
            "  over awc, {store:<6} {:>8.0} deliveries/s and {:>8.0} listened to, median of the ratios {:.2}; CPU {:.1} µs and {:.1} µs each",
            of(0, |sample| sample.per_second),
            of(1, |sample| sample.per_second),
            median(ratios.collect()),
            of(0, |sample| sample.cpu_micros),
            of(1, |sample| sample.cpu_micros),
        );
    }
}
