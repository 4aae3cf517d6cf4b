//! One attempt from the first request to the final answer: redirects followed, everything inside one timeout.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;

use super::{Channel, Request, Sent};
use crate::domain::attempt::{Exchange, Failure};
use crate::domain::endpoint::EndpointPolicy;
use crate::domain::redirect::Route;
use crate::domain::response::ResponseClass;

/// Makes an attempt and says how it ended. It has timed out when it is polled at `deadline` or later and has not ended; whoever owns it has it polled then.
#[expect(
    clippy::manual_async_fn,
    reason = "an `async fn` keeps room for its arguments twice"
)]
pub(crate) fn exchange(
    channel: Rc<dyn Channel>,
    mut request: Request,
    policy: Arc<EndpointPolicy>,
    deadline: Instant,
) -> impl Future<Output = Exchange> {
    async move {
        let mut progress = Exchange {
            result: Err(Failure::Timeout),
            status: None,
            redirects: 0,
            sent_twice: false,
        };
        // At the deadline the inner future is dropped, and what it noted so far is the result.
        until(
            deadline,
            pin!(follow(&*channel, &mut request, &policy, &mut progress)),
        )
        .await;
        progress
    }
}

/// Polls an attempt until it has ended, or until it is polled at its deadline or later.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where an attempt meets its deadline"
)]
pub(super) async fn until(deadline: Instant, mut attempt: Pin<&mut impl Future<Output = ()>>) {
    let mut begun = false;
    poll_fn(|cx| {
        let ended = attempt.as_mut().poll(cx);
        // As it begins it is not late, and the clock need not be asked.
        let late = begun && Instant::now() >= deadline;
        begun = true;
        if late { Poll::Ready(()) } else { ended }
    })
    .await;
}

/// Sends a request, and follows where it is redirected to; `request` becomes the last one that was sent.
pub(super) async fn follow(
    channel: &dyn Channel,
    request: &mut Request,
    policy: &EndpointPolicy,
    progress: &mut Exchange,
) {
    if policy.https_only && !request.url.is_https() {
        // A redirect never leads from https to http, so that once is enough.
        progress.result = Err(Failure::NotHttps);
        return;
    }
    // Most attempts are not redirected, so that the route is only made when one is.
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
        }
    }
}
