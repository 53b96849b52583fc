//! Scalars as users write them: texts, numbers, names, lengths, sizes, times, hosts, principals.

use serde_json::{Map, Number, Value, json};

use super::form::{Definitions, Written, words};
use super::reader::{Reader, listed, nearest};
use crate::desired::rules;
use crate::domain::{
    AlertLevel, ByteSize, ByteSizeError, CatchUp, ChangeControlMode, DeliveryKind, ElevationId, FieldName,
    GroupId, HostPort, HostPortError, Isolation, Length, LengthError, NameError, OnLimit, OnRevoke,
    OnRewrite, OnTimeout, Overlap, Principal, RetryOn, RuntimeDigest, RuntimeDigestError, Safety, SecretName,
    SecretPurpose, ServiceId, Shell, StepId, TenantId, TenantKind, Tier, Timestamp, UserId, ValueType,
    VersionId, VersionState, WorkflowId,
};
use crate::yaml::{CoreType, Kind, Node};

/// The text of a scalar that is one; reports anything else.
pub fn text<'n>(node: &'n Node, wanted: &str, reader: &mut Reader<'_>) -> Option<&'n str> {
    if reader.ambiguous(node, true) {
        return None;
    }
    match (node.core_type(), node.scalar()) {
        (Some(CoreType::String), Some(text)) => Some(text),
        _ => {
            reader.wrong_type(node, wanted);
            None
        }
    }
}

/// One of a few words; reports anything else with the nearest one.
pub fn word(
    node: &Node,
    wanted: &str,
    words: &'static [&'static str],
    reader: &mut Reader<'_>,
) -> Option<&'static str> {
    // `off` and `none` are words here, whatever older readers make of them.
    let plain = node.scalar().and_then(|text| words.iter().find(|word| **word == text));
    if let Some(word) = plain {
        return Some(word);
    }
    let text = text(node, wanted, reader)?;
    reader.report(&rules::UNKNOWN_WORD, node.span, format!("`{text}` is not {wanted}"));
    match nearest(text, words.iter().copied()) {
        Some(near) => {
            reader.cure(&format!("did you mean `{near}`?"));
            reader.replace(Safety::Suggested, format!("write `{near}`"), node.span, near.to_owned());
        }
        None => reader.cure(&format!("it is one of {}", listed(words.iter().copied()))),
    }
    None
}

impl Written for String {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = text(node, "a text", reader)?;
        no_expression(node, text, reader)?;
        Some(text.to_owned())
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string" })
    }
}

/// Refuses `${{` where no expression may stand.
fn no_expression(node: &Node, text: &str, reader: &mut Reader<'_>) -> Option<()> {
    if !text.contains("${{") {
        return Some(());
    }
    let secret = text.split("${{").nth(1).is_some_and(|rest| rest.trim_start().starts_with("secrets"));
    let (rule, help) = if secret {
        (&rules::SECRET_EXPRESSION, "declare it in `secrets:` of the step and let the script ask for it")
    } else {
        (
            &rules::MISPLACED_EXPRESSION,
            "expressions stand only in `with`, `if`, `for_each`, `default` and `concurrency.key`; pass the value in `with`",
        )
    };
    let found = reader.report(rule, node.span, "an expression cannot stand here");
    found.help = Some(help.into());
    None
}

/// A script or a text that programs read: `${{` in it is theirs, not ours, and is refused with that reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(pub String);

impl Written for Script {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        String::decode(node, reader).map(Self)
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string" })
    }
}

/// A text in which `${{ }}` may stand, or an expression: checked when it is lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula(pub String);

impl Written for Formula {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.core_type() == Some(CoreType::Bool) {
            return node.scalar().map(|text| Self(text.to_lowercase()));
        }
        text(node, "an expression", reader).map(|text| Self(text.to_owned()))
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": ["string", "boolean"] })
    }
}

impl Written for bool {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match (node.core_type(), node.scalar()) {
            (Some(CoreType::Bool), Some(text)) => Some(text.eq_ignore_ascii_case("true")),
            _ => {
                reader.wrong_type(node, "true or false");
                let meant = match node.scalar().map(str::to_lowercase).as_deref() {
                    Some("true" | "yes" | "on" | "y") => Some("true"),
                    Some("false" | "no" | "off" | "n") => Some("false"),
                    _ => None,
                };
                match meant {
                    Some(meant) => {
                        reader.cure(&format!("write `{meant}`, without quotes"));
                        let title = format!("write `{meant}`");
                        reader.replace(Safety::Suggested, title, node.span, meant.to_owned());
                    }
                    None => reader.cure("write `true` or `false`, without quotes"),
                }
                None
            }
        }
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "boolean" })
    }
}

/// Reads a whole number within bounds.
fn whole(node: &Node, least: i64, most: i64, reader: &mut Reader<'_>) -> Option<i64> {
    if reader.ambiguous(node, false) {
        // Here no text is meant.
        let digits = node.scalar().map(|text| text.replace('_', "")).unwrap_or_default();
        let digits = digits.trim_start_matches('0');
        if digits.parse::<u32>().is_ok() {
            reader.cure(&format!("write `{digits}` if that number is meant"));
            reader.replace(Safety::Suggested, format!("write `{digits}`"), node.span, digits.to_owned());
        } else {
            reader.cure("write a whole number in decimal digits");
        }
        return None;
    }
    let text = node.scalar().filter(|_| node.core_type() == Some(CoreType::Int));
    let Some(text) = text else {
        reader.wrong_type(node, "a whole number");
        return None;
    };
    match integer(text).filter(|number| (least..=most).contains(number)) {
        Some(number) => Some(number),
        None => {
            reader.report(
                &rules::BAD_VALUE,
                node.span,
                format!("`{text}` is not between {least} and {most}"),
            );
            reader.cure("write a number within these bounds");
            None
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok();
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok();
    }
    format!("{sign}{digits}").parse().ok()
}

impl Written for u32 {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        whole(node, 1, 1_000_000, reader).and_then(|number| u32::try_from(number).ok())
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": 1_000_000 })
    }
}

impl Written for u16 {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        whole(node, 1, 65_535, reader).and_then(|number| u16::try_from(number).ok())
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": 65_535 })
    }
}

/// A number of approvers, which may be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub u32);

impl Written for Count {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        whole(node, 0, 100, reader).and_then(|number| u32::try_from(number).ok()).map(Self)
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": 100 })
    }
}

/// Processors in thousandths: `1`, `0.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processors(pub u32);

impl Written for Processors {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = match node.core_type() {
            Some(CoreType::Int | CoreType::Float) => node.scalar().and_then(|text| text.parse::<f64>().ok()),
            _ => {
                reader.wrong_type(node, "a number of processors such as 1 or 0.5");
                return None;
            }
        };
        match number.filter(|number| (0.01..=256.0).contains(number)) {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 10 and 256,000"
            )]
            Some(number) => Some(Self((number * 1000.0).round() as u32)),
            None => {
                reader.report(
                    &rules::BAD_VALUE,
                    node.span,
                    "the number of processors is not between 0.01 and 256",
                );
                reader.cure("write for instance 1 or 0.5");
                None
            }
        }
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "number", "minimum": 0.01, "maximum": 256 })
    }
}

impl Written for Length {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = match node.core_type() {
            Some(CoreType::Int | CoreType::Float) => node.scalar()?,
            _ => text(node, "a length of time such as 30s, 10m or 6h", reader)?,
        };
        match written.parse() {
            Ok(length) if length == Length::from_millis(0) => {
                reader.report(&rules::BAD_VALUE, node.span, "a length of time cannot be zero");
                reader.cure("write a longer one, or remove the field");
                None
            }
            Ok(length) => Some(length),
            Err(error @ LengthError::NoUnit(_)) => {
                reader.report(&rules::MISSING_UNIT, node.span, error.to_string());
                reader.cure(&format!("write `{written}s`, `{written}m` or `{written}h`"));
                // A bare number is seconds to sleep(1), timeout(1), systemd and Kubernetes.
                let seconds = format!("{written}s");
                if seconds.parse::<Self>().is_ok() {
                    reader.replace(Safety::Safe, format!("write `{seconds}`"), node.span, seconds);
                }
                None
            }
            Err(error) => {
                reader.report(&rules::BAD_VALUE, node.span, error.to_string());
                reader.cure("write for instance 30s, 10m or 6h");
                None
            }
        }
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w))+$", "examples": ["30s", "10m", "6h"] })
    }
}

impl Written for ByteSize {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = match node.core_type() {
            Some(CoreType::Int | CoreType::Float) => node.scalar()?,
            _ => text(node, "a size such as 512MiB or 2GiB", reader)?,
        };
        match written.parse() {
            Ok(size) => Some(size),
            Err(error @ ByteSizeError::NoUnit(_)) => {
                reader.report(&rules::MISSING_UNIT, node.span, error.to_string());
                // A number this large can only have been bytes; a small one is a guess.
                let bytes =
                    written.parse::<u64>().ok().filter(|bytes| *bytes >= 1 << 20).map(Self::from_bytes);
                let (safety, sized) = match bytes {
                    Some(bytes) => (Safety::Safe, bytes.to_string()),
                    None => (Safety::Suggested, format!("{written}MiB")),
                };
                reader.cure(&match bytes {
                    Some(_) => format!("write `{sized}` if bytes are meant"),
                    None => format!("write `{written}MiB` or `{written}GiB`"),
                });
                reader.replace(safety, format!("write `{sized}`"), node.span, sized);
                None
            }
            Err(error) => {
                reader.report(&rules::BAD_VALUE, node.span, error.to_string());
                reader.cure("write for instance 512MiB or 2GiB");
                None
            }
        }
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB|TiB)$", "examples": ["512MiB"] })
    }
}

impl Written for Timestamp {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = text(node, "a time such as 2026-11-23T14:00:00Z", reader)?;
        if let Ok(time) = written.parse() {
            return Some(time);
        }
        if format!("{written}Z").parse::<Timestamp>().is_ok() {
            let found = reader.report(
                &rules::TIME_WITHOUT_ZONE,
                node.span,
                format!("the time `{written}` has no zone"),
            );
            found.help = Some(format!("write `{written}Z` for UTC"));
        } else {
            let message = format!("`{written}` is not a time such as 2026-11-23T14:00:00Z");
            reader.report(&rules::BAD_VALUE, node.span, message);
            reader.cure("write day, `T`, time and zone; `Z` is UTC");
        }
        None
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "format": "date-time" })
    }
}

impl Written for HostPort {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = text(node, "a host and port such as api.stripe.com:443", reader)?;
        no_expression(node, written, reader)?;
        match written.parse() {
            Ok(host) => Some(host),
            Err(error) => {
                let lower = written.to_lowercase();
                let help = match &error {
                    HostPortError::NoPort(_) => {
                        Some("the port says which service is meant: 443 for https".into())
                    }
                    HostPortError::Malformed(_) if written.contains('*') => {
                        Some("hosts are known from the commit alone: write each one out".to_owned())
                    }
                    HostPortError::Malformed(_) if lower.parse::<HostPort>().is_ok() => {
                        Some(format!("write `{lower}`"))
                    }
                    HostPortError::Malformed(_) => Some("write a name in lower case and a port".into()),
                };
                reader.report(&rules::BAD_VALUE, node.span, error.to_string()).help = help;
                None
            }
        }
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "^[a-z0-9._-]+:[0-9]{1,5}$", "examples": ["api.stripe.com:443"] })
    }
}

impl Written for RuntimeDigest {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = text(node, "the digest of a runtime, `sha256:…`", reader)?;
        no_expression(node, written, reader)?;
        written
            .parse()
            .map_err(|error: RuntimeDigestError| {
                reader.report(&rules::BAD_VALUE, node.span, error.to_string()).help = Some(
                    "a runtime is named by its digest alone, as `tenantry runtime add` prints it".to_owned(),
                );
            })
            .ok()
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" })
    }
}

impl Written for Principal {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let written = text(node, "a person, group or service such as alice or group:acme-ops", reader)?;
        if written.contains('*') {
            let found = reader.report(&rules::WILDCARD, node.span, "a principal cannot be a wildcard");
            found.help = Some("name a group of platform/people.yaml".into());
            return None;
        }
        match written.parse() {
            Ok(principal) => Some(principal),
            Err(error) => {
                bad_name(node, written, "a principal", &error, reader);
                None
            }
        }
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({
            "type": "string",
            "pattern": "^((user|group|service):)?[a-z0-9][a-z0-9-]{0,62}$",
            "examples": ["alice", "group:acme-ops", "service:ci-bot"],
        })
    }
}

fn bad_name(node: &Node, written: &str, kind: &str, error: &NameError, reader: &mut Reader<'_>) {
    let shown: String = written.chars().take(64).collect();
    let message = format!("`{}` cannot name {kind}: {error}", shown.escape_debug());
    let found = reader.report(&rules::BAD_NAME, node.span, message);
    if let NameError::Start { found: odd, .. } | NameError::Character { found: odd, .. } = error {
        let number = u32::from(*odd);
        found.help = Some(if odd.is_ascii_uppercase() {
            format!("write `{}`", shown.to_ascii_lowercase())
        } else if odd.is_alphabetic() && !odd.is_ascii() {
            format!("U+{number:04X} is not a letter a-z, however much it looks like one")
        } else {
            "choose another name".to_owned()
        });
    }
}

macro_rules! names {
    ($( $type:ty: $kind:literal $pattern:literal; )+) => { $(
        impl Written for $type {
            fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                // Digits alone are a name too, wherever a name is wanted.
                let written = match node.core_type() {
                    Some(CoreType::Int) if node.ambiguous().is_none() => node.scalar()?,
                    _ => text(node, $kind, reader)?,
                };
                match written.parse() {
                    Ok(name) => Some(name),
                    Err(error) => {
                        bad_name(node, written, $kind, &error, reader);
                        None
                    }
                }
            }
            fn schema(_: &mut Definitions) -> Value {
                json!({ "type": "string", "pattern": $pattern })
            }
        }
    )+ };
}

names! {
    TenantId: "a tenant" "^[a-z0-9][a-z0-9-]{0,62}$";
    WorkflowId: "a workflow" "^[a-z0-9][a-z0-9-]{0,62}$";
    UserId: "a person" "^[a-z0-9][a-z0-9-]{0,62}$";
    GroupId: "a group" "^[a-z0-9][a-z0-9-]{0,62}$";
    ServiceId: "a service" "^[a-z0-9][a-z0-9-]{0,62}$";
    ElevationId: "an elevation" "^[a-z0-9][a-z0-9-]{0,62}$";
    SecretName: "a secret" "^[a-z0-9][a-z0-9_-]{0,62}$";
    VersionId: "a version" "^[a-z0-9][a-z0-9_-]{0,62}$";
    StepId: "a step" "^[a-z][a-z0-9_]{0,62}$";
    FieldName: "an input or output" "^[a-z][a-z0-9_]{0,62}$";
}

words! {
    TenantKind: "a kind of tenant" {
        "customer" => TenantKind::Customer, "unit" => TenantKind::Unit, "region" => TenantKind::Region,
        "environment" => TenantKind::Environment,
    }
    Tier: "a tier that a step may demand" { "bubblewrap" => Tier::Bubblewrap, "sandbox" => Tier::Sandbox }
    Isolation: "a kind of isolation" { "soft" => Isolation::Soft, "hard" => Isolation::Hard }
    DeliveryKind: "a way for a secret to arrive" {
        "socket" => DeliveryKind::Socket, "env" => DeliveryKind::Env, "file" => DeliveryKind::File,
    }
    CatchUp: "a way to catch up" { "none" => CatchUp::None, "one" => CatchUp::One, "all" => CatchUp::All }
    Overlap: "an answer to overlap" {
        "skip" => Overlap::Skip, "queue" => Overlap::Queue, "cancel" => Overlap::Cancel,
    }
    OnLimit: "an answer to a full limit" {
        "queue" => OnLimit::Queue, "skip" => OnLimit::Skip, "cancel" => OnLimit::Cancel,
    }
    AlertLevel: "a level of alert" {
        "page" => AlertLevel::Page, "notify" => AlertLevel::Notify, "digest" => AlertLevel::Digest,
        "off" => AlertLevel::Off,
    }
    Shell: "a shell" { "sh" => Shell::Sh, "bash" => Shell::Bash, "python" => Shell::Python, "node" => Shell::Node }
    RetryOn: "a result" {
        "failure" => RetryOn::Failure, "error" => RetryOn::Error, "timed_out" => RetryOn::TimedOut,
    }
    ValueType: "a type" {
        "string" => ValueType::String, "int" => ValueType::Int, "float" => ValueType::Float,
        "bool" => ValueType::Bool, "list" => ValueType::List, "map" => ValueType::Map,
    }
    OnTimeout: "an answer to a timeout" { "reject" => OnTimeout::Reject, "skip" => OnTimeout::Skip }
    VersionState: "a state of a version" {
        "pending" => VersionState::Pending, "current" => VersionState::Current,
        "previous" => VersionState::Previous, "revoked" => VersionState::Revoked,
    }
    SecretPurpose: "a use of a secret" {
        "step" => SecretPurpose::Step, "webhook" => SecretPurpose::Webhook, "alert" => SecretPurpose::Alert,
    }
    OnRevoke: "an answer to a revocation" { "mark" => OnRevoke::Mark, "cancel" => OnRevoke::Cancel }
    OnRewrite: "an answer to a rewritten branch" { "hold" => OnRewrite::Hold, "follow" => OnRewrite::Follow }
    ChangeControlMode: "a mode of change control" {
        "pull-request" => ChangeControlMode::PullRequest, "signed" => ChangeControlMode::Signed,
        "open" => ChangeControlMode::Open,
    }
}

/// Any value, with the places of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anything {
    /// As JSON.
    pub value: Value,
    /// As written.
    pub node: Node,
}

impl Written for Anything {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        json_of(node, reader).map(|value| Self { value, node: node.clone() })
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({})
    }
}

/// A value that is handed on as it is and takes no expressions: routes, objectives, identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plain(pub Value);

impl Written for Plain {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        json_of(node, reader).map(Self)
    }
    fn schema(_: &mut Definitions) -> Value {
        json!({})
    }
}

fn json_of(node: &Node, reader: &mut Reader<'_>) -> Option<Value> {
    match &node.kind {
        Kind::Sequence(items) => {
            let items: Vec<_> = items.iter().map(|item| json_of(item, reader)).collect();
            items.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
        }
        Kind::Mapping(entries) => {
            super::form::duplicates(entries, reader);
            let mut map = Map::new();
            let mut whole = true;
            for (key, value) in entries {
                match (key.scalar(), json_of(value, reader)) {
                    (Some("<<"), _) => {
                        reader.report(&rules::MERGE_KEY, key.span, "the merge key `<<` is not read");
                        reader.cure("write the entries out");
                        whole = false;
                    }
                    (Some(name), Some(value)) => {
                        map.insert(name.to_owned(), value);
                    }
                    (None, _) => {
                        reader.wrong_type(key, "a text as key");
                        whole = false;
                    }
                    (Some(_), None) => whole = false,
                }
            }
            whole.then_some(Value::Object(map))
        }
        Kind::Scalar { text, .. } => {
            if reader.ambiguous(node, false) {
                return None;
            }
            match node.core_type() {
                Some(CoreType::Null) => Some(Value::Null),
                Some(CoreType::Bool) => Some(Value::Bool(text.eq_ignore_ascii_case("true"))),
                Some(CoreType::Int) => match integer(text) {
                    Some(number) => Some(Value::from(number)),
                    None => {
                        let message = format!("`{text}` does not fit 64 bits");
                        reader.report(&rules::BAD_VALUE, node.span, message).help =
                            Some("put it in quotes".into());
                        None
                    }
                },
                Some(CoreType::Float) => match text.parse::<f64>().ok().and_then(Number::from_f64) {
                    Some(number) => Some(Value::Number(number)),
                    None => {
                        let message = format!("`{text}` is not a finite number");
                        reader.report(&rules::BAD_VALUE, node.span, message);
                        reader.cure("put it in quotes");
                        None
                    }
                },
                Some(CoreType::String) | None => Some(Value::String(text.clone())),
            }
        }
    }
}
