//! Errors as `application/problem+json` (RFC 9457), with a code for programs and a request id for the log.

use axum::http::{HeaderValue, StatusCode, header};
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
}

impl Problem {
    /// Makes one.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
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
                Self::new(StatusCode::FORBIDDEN, "forbidden", "the right ended meanwhile")
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
        response
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
