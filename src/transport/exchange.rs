//! One attempt from the first request to the final answer, with redirects followed, inside one
//! timeout.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::timeout;

use super::{Channel, Request, Sent, StatusSeen};
use crate::domain::deliveries::attempt::Exchange;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::policy::redirect::Route;
use crate::domain::policy::response::ResponseClass;

/// Makes an attempt and returns its result.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps room for its arguments twice"
)]
pub(crate) fn exchange(
    channel: Rc<dyn Channel>,
    mut request: Request,
    policy: Arc<EndpointPolicy>,
) -> impl Future<Output = Exchange> {
    async move {
        let mut progress = Exchange::failed(Failure::Timeout);
        // On a timeout the inner future is dropped, and `progress` holds the result so far.
        let attempt = follow(&*channel, &mut request, &policy, &mut progress);
        drop(timeout(policy.timeout, attempt).await);
        note_seen(&mut progress, &request.seen);
        progress
    }
}

/// Adds what is known of the last answer, even if the rest of it never came.
pub(super) fn note_seen(progress: &mut Exchange, seen: &StatusSeen) {
    progress.status = seen.get().or(progress.status);
    progress.trace = seen.trace();
}

/// Sends a request and follows its redirects. `request` becomes the last request sent.
pub(super) async fn follow(
    channel: &dyn Channel,
    request: &mut Request,
    policy: &EndpointPolicy,
    progress: &mut Exchange,
) {
    if policy.https_only && !request.url.is_https() {
        // One check is enough, because a redirect never leads from https to http.
        progress.result = Err(Failure::NotHttps);
        return;
    }
    // Created on the first redirect, because most attempts have none.
    let mut route: Option<Route> = None;
    loop {
        let Sent { result, twice } = channel.send(request.clone()).await;
        progress.sent_twice |= twice;
        let answer = match result {
            Ok(answer) => answer,
            Err(failure) => {
                progress.result = Err(failure);
                return;
            }
        };
        progress.status = Some(answer.status);
        if policy.responses.classify(answer.status) != ResponseClass::Redirected {
            progress.result = Ok(answer);
            return;
        }
        let route = route.get_or_insert_with(|| Route::starting_at(request.url.clone()));
        if let Err(refusal) = route.follow(answer.location.as_deref()) {
            progress.result = Err(Failure::Redirect(refusal));
            return;
        }
        progress.redirects += 1;
        request.url = route.current().clone();
        if route.left_origin() {
            request.left_origin = true;
            request.authorization = None;
            progress.credentials_dropped = request.shows_credentials;
        }
    }
}
