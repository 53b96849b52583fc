use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::capture::Capture;
use super::hold::{Ask, Hold};
use super::leases::{LeaseError, Leases};
use super::masking::Masking;
use super::{results, spec};
use crate::authz::{Permit, Standing, action};
use crate::broker::{Delivered, Masks as _};
use crate::domain::{
    AttemptId, Clock, FieldName, Input, Length, RunPins, StepId, Timestamp, ValueType, Waits, Workflow,
};
use crate::run::samples;
use crate::sandbox::{Program, StepOutput};
use crate::sops::Plaintext;
use crate::store::{LOG_END_BYTES_MAX, Lease, LogRecord, LogStream, Renewal, Report};

const NOW: i64 = 1_795_000_000_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

fn clock() -> Clock {
    Arc::new(now)
}

fn lease(workflow: Workflow, input: Value) -> Lease {
    let pins: RunPins = samples::pins(workflow);
    let step = pins.workflow.steps[0].id.clone();
    let standing = Standing::unseen(pins.tenant.clone());
    let until = now() + Length::from_secs(60);
    Lease {
        private: Default::default(),
        indexes: Vec::new(),
        attempt: AttemptId { run: pins.id.clone(), step, item: None, attempt: 2 },
        permit: Permit::for_lease("here", &standing, until),
        until,
        idempotency_key: "first/main".into(),
        pins: Arc::new(pins),
        input,
        cancel: false,
    }
}

fn hold() -> Arc<Hold> {
    Arc::new(Hold::of(&lease(samples::workflow(vec![samples::step("main", Waits::Nothing)]), json!({}))))
}

fn secret(masking: &Masking, value: &str) {
    let name = "db_url".parse().expect("a name");
    masking.mask(&name, &Plaintext::new(value.as_bytes().to_vec())).expect("can be masked");
}

/// A queue that keeps what it is told, and fails first as often as it is asked to.
#[derive(Default)]
struct Told {
    records: Mutex<Vec<LogRecord>>,
    failures: Mutex<VecDeque<LeaseError>>,
}

#[async_trait]
impl Leases for Told {
    async fn claim(&self, _slots: u32) -> Result<Vec<Lease>, LeaseError> {
        Ok(Vec::new())
    }
    async fn renew(
        &self,
        _leases: &[(Permit<action::Execute>, AttemptId)],
    ) -> Result<Vec<Renewal>, LeaseError> {
        Ok(Vec::new())
    }
    async fn append(
        &self,
        _permit: &Permit<action::Execute>,
        _attempt: &AttemptId,
        records: &[LogRecord],
    ) -> Result<(), LeaseError> {
        if let Some(failure) = self.failures.lock().expect("whole").pop_front() {
            return Err(failure);
        }
        self.records.lock().expect("whole").extend_from_slice(records);
        Ok(())
    }
    async fn complete(
        &self,
        _permit: &Permit<action::Execute>,
        _attempt: &AttemptId,
        _report: Report,
    ) -> Result<Option<Lease>, LeaseError> {
        Ok(None)
    }
    async fn abandon(&self) -> Result<u32, LeaseError> {
        Ok(0)
    }
}

impl Told {
    fn shown(&self, wanted: LogStream) -> String {
        let records = self.records.lock().expect("whole");
        let numbers: Vec<u64> = records.iter().map(|record| record.sequence).collect();
        assert_eq!(numbers, (0..).take(numbers.len()).collect::<Vec<u64>>(), "numbered without a gap");
        records.iter().filter(|record| record.stream == wanted).map(|record| record.text.as_str()).collect()
    }
}

async fn captured(
    told: &Arc<Told>,
    masking: &Arc<Masking>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
) -> super::capture::Stored {
    let leases: Arc<dyn Leases> = Arc::<Told>::clone(told);
    let capture = Capture::start(Cursor::new(stdout), Cursor::new(stderr), masking, leases, hold(), &clock());
    let stored = capture.finish(Duration::from_secs(5), Some("[said]\n".into())).await;
    assert!(stored.end.iter().map(|record| record.text.len()).sum::<usize>() <= LOG_END_BYTES_MAX);
    told.records.lock().expect("whole").extend_from_slice(&stored.end);
    stored
}

#[tokio::test]
async fn a_short_output_goes_with_the_report_and_a_longer_one_is_appended() {
    // The note has its place in the row, so that a script's words and what is said of its end are one piece.
    for (length, goes_with_report) in [(0, true), (14 * 1024, true), (14 * 1024 + 1, false), (200_000, false)]
    {
        let (told, masking) = (Arc::new(Told::default()), Arc::new(Masking::default()));
        let leases: Arc<dyn Leases> = Arc::<Told>::clone(&told);
        let (out, err) = (Cursor::new(vec![b'x'; length]), Cursor::new(Vec::new()));
        let capture = Capture::start(out, err, &masking, leases, hold(), &clock());
        let stored = capture.finish(Duration::from_secs(5), Some("[said]\n".into())).await;
        assert_eq!(told.records.lock().expect("whole").is_empty(), goes_with_report, "{length}");
        told.records.lock().expect("whole").extend_from_slice(&stored.end);
        assert_eq!(told.shown(LogStream::Stdout).len(), length);
        assert_eq!(told.shown(LogStream::System), "[said]\n");
        let whole = format!("{}[said]\n", "x".repeat(length));
        assert_eq!((stored.bytes, stored.digest), (whole.len() as u64, Some(hex_digest(&whole))), "{length}");
    }
}

fn hex_digest(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text))
}

#[tokio::test]
async fn output_is_redacted_and_numbered() {
    let (told, masking) = (Arc::new(Told::default()), Arc::new(Masking::default()));
    secret(&masking, "hunter2-hunter2");
    let stored = captured(&told, &masking, b"to hunter2-hunter2!\n".to_vec(), b"\xff warn\n".to_vec()).await;
    assert_eq!(told.shown(LogStream::Stdout), "to [redacted:db_url]!\n");
    assert_eq!(told.shown(LogStream::Stderr), "\u{fffd} warn\n");
    assert_eq!(told.shown(LogStream::System), "[said]\n");
    assert_eq!(
        stored.bytes,
        ("to [redacted:db_url]!\n".len() + "\u{fffd} warn\n".len() + "[said]\n".len()) as u64
    );
    assert_eq!(masking.hits(), BTreeMap::from([("raw".to_owned(), 1)]));
}

#[tokio::test]
async fn a_long_output_keeps_its_head_and_its_tail() {
    let (told, masking) = (Arc::new(Told::default()), Arc::new(Masking::default()));
    let mut long: Vec<u8> =
        (0..3_000_000_u32).flat_map(|number| format!("{number:06}\n").into_bytes()).collect();
    long.extend_from_slice(b"the end\n");
    let length = long.len() as u64;
    let stored = captured(&told, &masking, long, Vec::new()).await;
    let shown = told.shown(LogStream::Stdout);
    assert!(shown.starts_with("000000\n000001\n") && shown.ends_with("the end\n"));
    assert!(stored.bytes < 10 * 1024 * 1024 + 200, "{}", stored.bytes);
    let marks = told.shown(LogStream::System);
    let left_out = length - shown.len() as u64;
    assert_eq!(marks, format!("[{left_out} bytes of output were left out here]\n[said]\n"));
    let records = told.records.lock().expect("whole");
    assert!(records.iter().all(|record| record.text.len() <= 64 * 1024));
}

#[tokio::test]
async fn logs_that_are_unavailable_are_waited_for() {
    let (told, masking) = (Arc::new(Told::default()), Arc::new(Masking::default()));
    told.failures
        .lock()
        .expect("whole")
        .extend([LeaseError::Unavailable("full".into()), LeaseError::Unavailable("full".into())]);
    let long = "kept\n".repeat(5_000);
    captured(&told, &masking, long.clone().into_bytes(), Vec::new()).await;
    assert_eq!(told.shown(LogStream::Stdout), long);
}

#[tokio::test]
async fn output_of_a_lease_that_is_over_is_dropped() {
    let (told, masking) = (Arc::new(Told::default()), Arc::new(Masking::default()));
    told.failures.lock().expect("whole").push_back(LeaseError::Over);
    let hold = hold();
    let leases: Arc<dyn Leases> = Arc::<Told>::clone(&told);
    let (out, err) = (Cursor::new("late\n".repeat(5_000).into_bytes()), Cursor::new(Vec::new()));
    let capture = Capture::start(out, err, &masking, leases, Arc::clone(&hold), &clock());
    assert_eq!(capture.finish(Duration::from_secs(5), None).await.bytes, 0);
    assert_eq!(*hold.asks().borrow(), Ask::Lost);
}

#[tokio::test]
async fn a_stream_that_stays_open_is_not_waited_for() {
    let (told, masking) = (Arc::new(Told::default()), Arc::new(Masking::default()));
    let (mut near, far) = tokio::io::duplex(64);
    tokio::io::AsyncWriteExt::write_all(&mut near, b"before\n").await.expect("written");
    let leases: Arc<dyn Leases> = Arc::<Told>::clone(&told);
    let capture = Capture::start(far, Cursor::new(Vec::new()), &masking, leases, hold(), &clock());
    let finishing = capture.finish(Duration::from_millis(50), None);
    let stored = tokio::time::timeout(Duration::from_secs(5), finishing).await.expect("ends");
    told.records.lock().expect("whole").extend_from_slice(&stored.end);
    assert_eq!(told.shown(LogStream::Stdout), "before\n");
    drop(near);
}

#[test]
fn a_lease_that_nobody_renews_is_given_up_before_its_end() {
    let hold = hold();
    hold.fence(now() + Length::from_secs(44));
    assert_eq!(*hold.asks().borrow(), Ask::GoOn);
    hold.renewed(&Renewal::Until { until: now() + Length::from_secs(90), cancel: false });
    hold.fence(now() + Length::from_secs(74));
    assert_eq!(*hold.asks().borrow(), Ask::GoOn);
    assert_eq!(hold.permit().expires(), now() + Length::from_secs(90));
    hold.fence(now() + Length::from_secs(75));
    assert_eq!(*hold.asks().borrow(), Ask::Lost);
    hold.ask(Ask::Cancel);
    assert_eq!(*hold.asks().borrow(), Ask::Lost, "a lesser wish takes nothing back");
}

#[track_caller]
fn check_outputs(written: &str, want: Result<Value, &str>) {
    let masking = Arc::new(Masking::default());
    secret(&masking, "hunter2-hunter2");
    let name = "pin".parse().expect("a name");
    masking.mask(&name, &Plaintext::new(b"90210902".to_vec())).expect("can be masked");
    let got = results::read(StepOutput::Bytes(written.as_bytes().to_vec()), &masking);
    let want = want.map_err(str::to_owned).map(|fields| {
        fields
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.parse::<FieldName>().expect("a name"), value.clone()))
            .collect::<BTreeMap<_, _>>()
    });
    assert_eq!(got, want, "{written}");
}

#[test]
fn outputs_are_one_json_object_without_secrets() {
    check_outputs("", Ok(json!({})));
    check_outputs(
        " {\"count\": 2, \"list\": [1, {\"a\": null}]}\n",
        Ok(json!({"count": 2, "list": [1, {"a": null}]})),
    );
    check_outputs("{\"url\": \"x hunter2-hunter2\"}", Ok(json!({"url": "x [redacted:db_url]"})));
    check_outputs(
        "{\"deep\": [{\"hunter2-hunter2\": 90210902}]}",
        Ok(json!({"deep": [{"[redacted:db_url]": "[redacted:pin]"}]})),
    );
    check_outputs("[1]", Err("its outputs are no JSON object such as {\"count\": 1}"));
    check_outputs("count=1", Err("its outputs are no JSON: line 1, column 1"));
    let bad = "its outputs have a name that is none: a name starts with a letter a-z, not with `C`";
    check_outputs("{\"Count\": 1}", Err(bad));
    check_outputs(
        &format!("{{\"a\": \"{}\"}}", "x".repeat(65_536)),
        Err("its outputs have more than 65536 bytes"),
    );
    check_outputs(&"[".repeat(1000), Err("its outputs are no JSON: line 1, column 128"));
}

fn input(sensitive: bool) -> Input {
    Input {
        value_type: ValueType::String,
        format: None,
        allowed: Vec::new(),
        default: None,
        required: true,
        sensitive,
        description: None,
    }
}

fn workflow_with_inputs() -> Workflow {
    let mut flow = samples::workflow(vec![samples::step("main", Waits::Nothing)]);
    flow.inputs = BTreeMap::from([
        ("day".parse().expect("a name"), input(false)),
        ("email".parse().expect("a name"), input(true)),
    ]);
    flow
}

fn made(lease: &Lease, delivered: Delivered) -> Result<crate::sandbox::StepSpec, String> {
    spec::of(lease, &lease.pins.workflow.steps[0], "TOKEN", Vec::new(), None, delivered)
}

#[test]
fn a_step_sees_its_own_environment_and_nothing_else() {
    let lease =
        lease(workflow_with_inputs(), json!({"day": "2026-11-23", "email": "a@b.example", "list": [1]}));
    let spec = made(&lease, Delivered::default()).expect("can be made");
    let names: Vec<&str> = spec.environment.keys().map(String::as_str).collect();
    let want = [
        "INPUT_DAY",
        "LANG",
        "TENANTRY_ATTEMPT",
        "TENANTRY_COMMIT",
        "TENANTRY_ENVIRONMENT",
        "TENANTRY_IDEMPOTENCY_KEY",
        "TENANTRY_RUN_ID",
        "TENANTRY_STEP",
        "TENANTRY_TENANT",
        "TENANTRY_TOKEN",
        "TENANTRY_WORKFLOW",
        "TRACEPARENT",
        "TZ",
    ];
    assert_eq!(names, want, "the sensitive input stands in the file alone");
    assert_eq!(spec.environment["TENANTRY_ATTEMPT"], "2");
    assert_eq!(spec.environment["TRACEPARENT"].len(), 55);
    assert!(spec.environment["TRACEPARENT"].starts_with("00-0192f1c27c1e7d3a9a512f0c6d1b8e11-"));
    assert_eq!(spec.input, br#"{"day":"2026-11-23","email":"a@b.example","list":[1]}"#);
    assert!(matches!(spec.program, Program::Inline { ref interpreter, .. } if interpreter == &["sh", "-e"]));
    assert!(
        spec.name.len() <= 80
            && spec.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    );
}

#[test]
fn what_is_made_of_a_sensitive_input_is_no_variable() {
    let mut flow = workflow_with_inputs();
    let with =
        json!({"to": "mail ${{ inputs.email }}", "any": "${{ inputs[item] }}", "day": "${{ inputs.day }}"});
    flow.steps[0].with = Some(
        with.as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.parse().expect("a name"), v.clone()))
            .collect(),
    );
    let lease = lease(flow, json!({"to": "mail a@b.example", "any": "a@b.example", "day": "2026-11-23"}));
    let spec = made(&lease, Delivered::default()).expect("can be made");
    let inputs: Vec<_> = spec.environment.keys().filter(|name| name.starts_with("INPUT_")).collect();
    assert_eq!(inputs, ["INPUT_DAY"]);
}

#[test]
fn a_secret_is_delivered_under_a_name_that_is_free() {
    let lease = lease(workflow_with_inputs(), json!({}));
    let value = || Plaintext::new(b"hunter2-hunter2".to_vec());
    let delivered =
        Delivered { variables: vec![("DATABASE_URL".into(), value())], files: vec![("KEY".into(), value())] };
    let spec = made(&lease, delivered).expect("can be made");
    assert_eq!(spec.environment["DATABASE_URL"], "hunter2-hunter2");
    assert_eq!(spec.secret_files[0].variable, "KEY");
    for name in ["PATH", "TENANTRY_TENANT", "https_proxy"] {
        let delivered = Delivered { variables: vec![(name.into(), value())], files: Vec::new() };
        let want = format!("a secret cannot be delivered as `{name}`: the variable has a meaning of its own");
        assert_eq!(made(&lease, delivered).err(), Some(want));
    }
}

#[test]
fn steps_have_different_names() {
    let one = lease(workflow_with_inputs(), json!({}));
    let mut other = one.clone();
    other.attempt.attempt = 3;
    let name = |lease: &Lease| made(lease, Delivered::default()).map(|spec| spec.name);
    assert_ne!(name(&one), name(&other));
    other.attempt.step = "s".repeat(63).parse::<StepId>().expect("a name");
    assert!(name(&other).is_ok_and(|name| name.len() <= 80));
}
