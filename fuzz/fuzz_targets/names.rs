//! A text is a name as it stands or no name at all: never folded, never trimmed.
#![no_main]

use std::fmt::Display;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use tenantry::domain::{
    ElevationId, FieldName, GroupId, HostPort, Principal, SecretName, ServiceId, StepId, TenantId, UserId,
    VersionId, WorkflowId,
};

fn check<T: FromStr + Display>(text: &str) -> bool {
    let read = text.parse::<T>();
    if let Ok(name) = &read {
        assert_eq!(name.to_string(), text);
    }
    read.is_ok()
}

fuzz_target!(|text: &str| {
    let names = [
        check::<TenantId>(text),
        check::<WorkflowId>(text),
        check::<UserId>(text),
        check::<GroupId>(text),
        check::<ServiceId>(text),
        check::<ElevationId>(text),
        check::<SecretName>(text),
        check::<VersionId>(text),
        check::<StepId>(text),
        check::<FieldName>(text),
    ];
    if names.contains(&true) {
        assert!(text.len() <= 63 && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
    }
    // `user:alice` and `alice` are one principal, and it is written in one way.
    if let Ok(principal) = text.parse::<Principal>() {
        let written = principal.to_string();
        assert!(text == written || format!("user:{text}") == written, "{text:?} as {written:?}");
        assert_eq!(written.parse::<Principal>().ok(), Some(principal));
    }
    if let Ok(host) = text.parse::<HostPort>() {
        assert_eq!(host.to_string().parse::<HostPort>().ok(), Some(host));
    }
});
