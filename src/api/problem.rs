//! Errors as `application/problem+json` (RFC 9457), with a code for programs and a request id for the log.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::authz::{Denied, Refusal};
use crate::login::LoginError;
use crate::store::StoreError;

/// An answer that is no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// One word for programs.
    pub code: &'static str,
    /// A sentence for people; never a reason that only the audit may have, never a value.
    pub detail: String,
    /// The store refused a permit that had been given a moment before: whoever asks again is decided about anew.
    overtaken: bool,
}

/// How often a reading request is decided about when rights in its tenant keep ending between the decision and
/// the reading.
const DECISIONS_MAX: usize = 4;

/// In a response: its request was overtaken.
#[derive(Clone, Copy)]
struct Overtaken;

impl Problem {
    /// Makes one.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), overtaken: false }
    }
    /// What was sent cannot be understood.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
    /// There is nothing of that name, or the caller may not know of it.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }
    /// What is asked for contradicts what is there.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "refused", detail)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal.denied {
            Denied::NotFound => Self::not_found(refusal.to_string()),
            Denied::Forbidden => Self::new(StatusCode::FORBIDDEN, "forbidden", refusal.to_string()),
            Denied::NoRoleHere => Self::new(StatusCode::FORBIDDEN, "no_role_here", refusal.to_string()),
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound => Self::not_found("there is no such run or object in this tenant"),
            StoreError::Refused(_) => Self::conflict(error.to_string()),
            StoreError::Moved { .. } | StoreError::Stale(_) => {
                Self::conflict("it changed in the meantime: try again")
            }
            StoreError::Denied(_) => {
                let detail = "rights in this tenant changed while this was decided: try again";
                Self { overtaken: true, ..Self::new(StatusCode::FORBIDDEN, "forbidden", detail) }
            }
            StoreError::Unavailable { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", error.to_string())
            }
            StoreError::Newer { .. } | StoreError::Corrupt { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string())
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": format!("urn:tenantry:problem:{}", self.code),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        // The guard's layer puts the request id into header and body.
        response.extensions_mut().insert(body);
        if self.overtaken {
            response.extensions_mut().insert(Overtaken);
        }
        response
    }
}

/// Decides anew about a request that only reads, where any right of its tenant ended between the decision and the
/// reading. Whoever still may is answered, whoever may not any more is told so like everybody else, with the
/// denial in the audit. What changes something is never done twice: its caller decides whether to ask again.
pub(super) async fn decide_anew(request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let (parts, _) = request.into_parts();
    let mut decisions = 1;
    loop {
        let response = next.clone().run(Request::from_parts(parts.clone(), Body::empty())).await;
        if decisions == DECISIONS_MAX || response.extensions().get::<Overtaken>().is_none() {
            return response;
        }
        decisions += 1;
    }
}

/// For a path that no route has. Without a caller, so that it tells nothing.
pub(super) async fn no_such_path() -> Problem {
    Problem::not_found("there is no such path")
}

/// For a method that a path does not have.
pub(super) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path has another method")
}
