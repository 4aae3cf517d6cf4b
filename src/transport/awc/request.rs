//! A request as awc takes it: what is the same for all of one URL is frozen, the rest added to each.

use awc::http::Uri;
use awc::http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use awc::{Client, FrozenClientRequest, SendClientRequest};
use bytes::BytesMut;

use crate::domain::attempt::Failure;
use crate::transport::Request;
use crate::transport::request::{RequestHeaders, Varying, host, is_sendable, target};

/// What is the same for every request to one URL.
pub(super) struct Prepared(FrozenClientRequest);

impl Prepared {
    pub(super) fn new(
        client: &Client,
        headers: &RequestHeaders,
        request: &Request,
    ) -> Result<Self, Failure> {
        let url = request.url.to_url();
        // Whom a client's connections lead to is known without the URI, and `Host` is set.
        let uri = Uri::builder()
            .scheme("http")
            .authority("receiver")
            .path_and_query(target(&url)?);
        let uri = uri.build().map_err(|_| Failure::Unsendable)?;
        let mut post = client.post(uri).no_decompress();
        post = post.insert_header((HOST, value(host(&url))?));
        for (name, secret) in headers.fixed(request.left_origin) {
            post = post.insert_header((
                header_name(name).ok_or(Failure::Unsendable)?,
                value(secret)?,
            ));
        }
        let frozen = post.freeze().map_err(|_| Failure::Unsendable)?;
        Ok(Self(frozen))
    }

    /// Sends the request of an attempt.
    pub(super) fn send(
        &self,
        headers: &RequestHeaders,
        names: &VaryingNames,
        request: &Request,
    ) -> Result<SendClientRequest, Failure> {
        let mut map = HeaderMap::with_capacity(Varying::ALL.len());
        // All values share one allocation.
        let mut text = BytesMut::with_capacity(512);
        headers.write_varying(request, |header, value| {
            if !is_sendable(value) {
                return Err(Failure::Unsendable);
            }
            text.extend_from_slice(value.as_bytes());
            let value = HeaderValue::from_maybe_shared(text.split().freeze());
            map.insert(names.get(header), value.map_err(|_| Failure::Unsendable)?);
            Ok(())
        })?;
        let body = request.alert.body.clone();
        Ok(self.0.extra_headers(map).send_body(body))
    }
}

/// The names of the headers that depend on the attempt.
pub(super) struct VaryingNames([HeaderName; Varying::ALL.len()]);

impl VaryingNames {
    /// Returns `None` if one of them is none, which was checked when it was configured.
    pub(super) fn of(headers: &RequestHeaders) -> Option<Self> {
        let names = Varying::ALL.map(|header| header_name(headers.name(header)));
        let names: Vec<HeaderName> = names.into_iter().collect::<Option<_>>()?;
        names.try_into().ok().map(Self)
    }

    fn get(&self, header: Varying) -> HeaderName {
        let [
            client_id,
            content_type,
            id,
            timestamp,
            signature,
            attempt,
            authorization,
        ] = &self.0;
        match header {
            Varying::ClientId => client_id,
            Varying::ContentType => content_type,
            Varying::Id => id,
            Varying::Timestamp => timestamp,
            Varying::Signature => signature,
            Varying::Attempt => attempt,
            Varying::Authorization => authorization,
        }
        .clone()
    }
}

fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

fn value(text: &str) -> Result<HeaderValue, Failure> {
    let value = Some(text).filter(|text| is_sendable(text));
    let value = value.and_then(|text| HeaderValue::from_str(text).ok());
    let mut value = value.ok_or(Failure::Unsendable)?;
    // It may be a secret: awc must not show it.
    value.set_sensitive(true);
    Ok(value)
}
