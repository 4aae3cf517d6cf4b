//! The stream of one listener: what is held for it, as server-sent events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use russe::Message;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::held::{Event, Held};
use crate::web::model::live::Ending;

/// The side of a listener that takes what is held.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) held: Arc<Mutex<Held>>,
    /// A message says that something is held. It ends when the hub forgets the listener.
    pub(super) woken: mpsc::Receiver<()>,
}

/// Returns the events of a listener. The stream ends with the hub, and after [`Event::End`].
pub(super) fn events(listener: Listener) -> impl Stream<Item = Bytes> {
    let first = stream::iter([encode(russe::Event::Retry(RECONNECT))]);
    let rest = stream::unfold(Some(listener), async |listener| {
        let mut listener = listener?;
        loop {
            let events = listener.held.lock().take();
            if !events.is_empty() {
                let ends = matches!(events.last(), Some(Event::End(_)));
                let chunk = events.iter().flat_map(|event| encode(shown(event)));
                return Some((chunk.collect(), (!ends).then_some(listener)));
            }
            match timeout(HEARTBEAT, listener.woken.recv()).await {
                Ok(Some(())) => {}
                Ok(None) => return None,
                Err(_) => {
                    let beat = encode(russe::Event::Comment("still here".into()));
                    return Some((beat, Some(listener)));
                }
            }
        }
    });
    first.chain(rest)
}

fn shown(event: &Event) -> russe::Event {
    match event {
        Event::Update(kind, update) => message(kind, update),
        Event::End(end) => message("end", &Ending::new(end.as_str())),
    }
}

fn message(name: &str, data: &impl Serialize) -> russe::Event {
    // It is made of values that are JSON already.
    let data = serde_json::to_string(data).unwrap_or_default();
    russe::Event::Message(Message {
        data: data.into(),
        event: Some(name.into()),
        retry: None,
        id: None,
    })
}

fn encode(event: russe::Event) -> Bytes {
    // Only an event's name or id could hold what is not allowed; there are no ids.
    let text = event.into_bytestring().unwrap_or_default();
    text.into_bytes()
}

/// How long a client waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(2);

/// A comment is sent after such a time without events. It keeps proxies from closing the stream,
/// and finds out that a client is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);
