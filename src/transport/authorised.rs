//! One attempt authorised by an access token, all inside the attempt's one timeout. If the receiver
//! refuses the token, a new one is fetched once.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::timeout;

use super::exchange::{follow, note_seen};
use super::{Channel, Request};
use crate::domain::deliveries::answer::Answer;
use crate::domain::deliveries::attempt::Exchange;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::policy::EndpointPolicy;
use crate::domain::policy::response::ResponseClass;
use crate::domain::value::secret::Secret;

/// Makes an attempt and returns its result, as [`exchange`](super::exchange()) does.
///
/// `token` returns the `Authorization` header. Its argument is the header that the receiver
/// refused, if any; it returns `None` if there is no other.
pub(crate) async fn exchange_with_token(
    channel: Rc<dyn Channel>,
    request: Request,
    policy: Arc<EndpointPolicy>,
    token: impl AsyncFn(Option<&Secret>) -> Result<Option<Secret>, Failure>,
) -> Exchange {
    let seen = request.seen.clone();
    let mut progress = Exchange::failed(Failure::Token);
    let attempt = send_with_token(&*channel, request, &policy, token, &mut progress);
    // On a timeout the inner future is dropped, and `progress` holds the result so far.
    drop(timeout(policy.timeout, attempt).await);
    note_seen(&mut progress, &seen);
    progress
}

async fn send_with_token(
    channel: &dyn Channel,
    mut request: Request,
    policy: &EndpointPolicy,
    token: impl AsyncFn(Option<&Secret>) -> Result<Option<Secret>, Failure>,
    progress: &mut Exchange,
) {
    match token(None).await {
        Ok(header) => request.authorization = header,
        Err(failure) => {
            progress.result = Err(failure);
            return;
        }
    }
    let mut sent = request.clone();
    progress.result = Err(Failure::Timeout);
    follow(channel, &mut sent, policy, progress).await;
    if !refuses_token(&progress.result, policy) {
        return;
    }
    // A redirect to another origin removes the header: the receiver that refused saw no token.
    let Some(refused) = sent.authorization else {
        return;
    };
    let refusal = mem::replace(&mut progress.result, Err(Failure::Token));
    match token(Some(&refused)).await {
        Ok(Some(header)) => request.authorization = Some(header),
        Ok(None) => {
            progress.result = refusal;
            return;
        }
        Err(failure) => {
            progress.result = Err(failure);
            return;
        }
    }
    progress.result = Err(Failure::Timeout);
    // The second request gets its own status.
    request.seen.clear();
    progress.status = None;
    follow(channel, &mut request, policy, progress).await;
}

fn refuses_token(result: &Result<Answer, Failure>, policy: &EndpointPolicy) -> bool {
    result.as_ref().is_ok_and(|answer| {
        answer.status == 401 && policy.responses.classify(401) != ResponseClass::Delivered
    })
}
