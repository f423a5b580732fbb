//! The interface `fetch`: a guest's request, as the platform's host sends it.
//!
//! Invariant: nothing here decides where a request may go or knows a secret; what is refused, too slow or too large is
//! an error the guest reads, and only trouble of ours ends it.

use bytes::Bytes;
use frontdesk_api::{
    Error, Kind,
    egress::OutboundAnswer,
    tools::{Credential, CredentialPlace, FetchRequest},
};
use wasmtime::{
    StoreContextMut,
    component::{ComponentType, Lift, LinkerInstance, Lower},
};

use crate::{capability::Capability, fault::Stop, host::State};

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Field {
    name: String,
    value: String,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code)] // only ever lifted
enum Place {
    #[component(name = "header")]
    Header,
    #[component(name = "query")]
    Query,
    #[component(name = "cookie")]
    Cookie,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Secret {
    secret: String,
    place: Place,
    name: String,
    prefix: String,
    base64: bool,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Request {
    method: String,
    url: String,
    headers: Vec<Field>,
    credentials: Vec<Secret>,
    body: Vec<u8>,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Response {
    status: u16,
    headers: Vec<Field>,
    body: Vec<u8>,
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum FetchError {
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "too-large")]
    TooLarge,
    #[component(name = "failed")]
    Failed(String),
}

/// What the guest hands over is copied, under the transfer limit of one host call.
pub(crate) fn link(interface: &mut LinkerInstance<'_, State>) -> wasmtime::Result<()> {
    interface.func_wrap_async("send", |mut store: StoreContextMut<'_, State>, (request,): (Request,)| {
        Box::new(async move {
            store.data_mut().enter(Capability::Fetch)?;
            store.data_mut().request()?;
            let state = store.data();
            let host = state.grant(Capability::Fetch, &state.grants.fetch)?;
            Ok((match host.fetch(request.read()).await {
                Ok(answer) => Ok(Response::of(answer)),
                Err(error) => Err(told(error)?),
            },))
        })
    })
}

impl Request {
    fn read(self) -> FetchRequest {
        let credential = |c: Secret| Credential {
            secret: c.secret,
            place: match c.place {
                Place::Header => CredentialPlace::Header,
                Place::Query => CredentialPlace::Query,
                Place::Cookie => CredentialPlace::Cookie,
            },
            name: c.name,
            prefix: c.prefix,
            base64: c.base64,
        };
        FetchRequest {
            method: self.method,
            url: self.url,
            headers: self.headers.into_iter().map(|field| (field.name, field.value)).collect(),
            credentials: self.credentials.into_iter().map(credential).collect(),
            body: Bytes::from(self.body),
        }
    }
}

impl Response {
    fn of(answer: OutboundAnswer) -> Self {
        let headers = answer.headers.into_iter().map(|(name, value)| Field { name, value }).collect();
        Self { status: answer.status, headers, body: answer.body.to_vec() }
    }
}

fn told(error: Error) -> Result<FetchError, Stop> {
    match error.kind {
        Kind::Invalid | Kind::Forbidden | Kind::NotFound => Ok(FetchError::Denied(error.message)),
        Kind::Timeout => Ok(FetchError::Timeout),
        Kind::TooLarge => Ok(FetchError::TooLarge),
        Kind::Upstream => Ok(FetchError::Failed(error.message)),
        _ => Err(Stop::Host(error)),
    }
}
