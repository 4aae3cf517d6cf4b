//! The receiver: its own process, which answers every request with 200 as cheaply as possible, or
//! never answers.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The argument that turns this program into the receiver.
pub(crate) const COMMAND: &str = "receiver";

/// A running receiver process.
pub(crate) struct Receiver {
    process: Child,
    /// One URL per listener, each with its own port.
    pub(crate) urls: Vec<String>,
    /// One URL per listener that never answers.
    pub(crate) hanging: Vec<String>,
}

impl Receiver {
    pub(crate) fn start(listeners: usize, hanging: usize) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .args([COMMAND, &listeners.to_string(), &hanging.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the receiver starts");
        let output = BufReader::new(process.stdout.take().expect("it was piped"));
        let ports = output
            .lines()
            .take(listeners + hanging)
            .map(|line| line.expect("the receiver prints its ports"));
        let mut urls: Vec<String> = ports
            .map(|port| format!("http://127.0.0.1:{port}/hooks"))
            .collect();
        let hanging = urls.split_off(listeners);
        Self {
            process,
            urls,
            hanging,
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs as the receiver until killed.
pub(crate) fn run(listeners: usize, hanging: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for number in 0..listeners + hanging {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .expect("a free port");
            println!("{}", listener.local_addr().expect("it is bound").port());
            tokio::spawn(accept(listener, number < listeners));
        }
        std::future::pending::<()>().await;
    });
}

async fn accept(listener: TcpListener, answers: bool) {
    let mut kept = Vec::new();
    while let Ok((stream, _)) = listener.accept().await {
        drop(stream.set_nodelay(true));
        if answers {
            tokio::spawn(answer(stream));
        } else {
            kept.push(stream);
        }
    }
}

async fn answer(mut stream: TcpStream) {
    let mut buffer = Vec::with_capacity(16 * 1_024);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        while let Some(length) = request_length(&buffer) {
            buffer.drain(..length);
            if stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// Returns the length in bytes of the first request once it is complete.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(buffer.get(..head)?).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let whole = head + length.unwrap_or(0);
    (buffer.len() >= whole).then_some(whole)
}
