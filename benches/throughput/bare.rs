//! The baseline: a carefully written loop over awc that sends the engine's headers and does nothing
//! else.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actix::{Arbiter, System};
use awc::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use awc::{Client, Connector};
use bytes::Bytes;

use crate::IN_FLIGHT;
use crate::measure::{Meter, Sample};

/// Sends for the duration `run` on `arbiters` threads, and returns the throughput.
pub(crate) fn run(urls: &[String], arbiters: usize, run: Duration) -> Sample {
    System::new().block_on(async {
        let meter = Meter::start();
        if arbiters == 1 {
            let sent = send(urls.to_vec(), IN_FLIGHT, run).await;
            return meter.stop(sent);
        }
        let (sender, receiver) = mpsc::channel();
        let arbiters: Vec<Arbiter> = (0..arbiters)
            .map(|_| {
                let arbiter = Arbiter::new();
                let (urls, sender) = (urls.to_vec(), sender.clone());
                arbiter.spawn_fn(move || {
                    actix_rt::spawn(async move {
                        let sent = send(urls, IN_FLIGHT / 2, run).await;
                        sender.send(sent).expect("it is waited for");
                    });
                });
                arbiter
            })
            .collect();
        drop(sender);
        let sent = receiver.iter().sum();
        let sample = meter.stop(sent);
        for arbiter in arbiters {
            arbiter.stop();
        }
        sample
    })
}

async fn send(urls: Vec<String>, in_flight: usize, run: Duration) -> u64 {
    let client = Client::builder()
        .connector(Connector::new().limit(0))
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .finish();
    let body = Bytes::from(vec![b'x'; 1_024]);
    let (sent, next) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0)));
    let urls = Rc::new(urls);
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
    let deadline = Instant::now() + run;
    let loops = (0..in_flight).map(|_| {
        let (client, body, urls) = (client.clone(), body.clone(), Rc::clone(&urls));
        let (sent, next) = (Rc::clone(&sent), Rc::clone(&next));
        actix_rt::spawn(async move {
            #[expect(clippy::disallowed_methods, reason = "a benchmark reads real clocks")]
            while Instant::now() < deadline {
                next.set(next.get() + 1);
                let Some(url) = urls.get(next.get() % urls.len()) else {
                    return;
                };
                let request = client
                    .post(url.as_str())
                    .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
                    .insert_header((USER_AGENT, HeaderValue::from_static("bare/1")))
                    .insert_header((
                        HeaderName::from_static("x-codat-clientid"),
                        HeaderValue::from_static("client"),
                    ))
                    .insert_header((
                        HeaderName::from_static("webhook-id"),
                        HeaderValue::from_static("5c27631d-3b63-4b50-8228-ee502fd113eb"),
                    ))
                    .insert_header((
                        HeaderName::from_static("webhook-timestamp"),
                        HeaderValue::from_static("1614265330"),
                    ))
                    .insert_header((
                        HeaderName::from_static("webhook-attempt"),
                        HeaderValue::from_static("1"),
                    ));
                let mut response = request
                    .send_body(body.clone())
                    .await
                    .expect("the receiver answers");
                response.body().await.expect("and completely");
                sent.set(sent.get() + 1);
            }
        })
    });
    let loops: Vec<_> = loops.collect();
    for running in loops {
        running.await.expect("no loop panics");
    }
    sent.get()
}
