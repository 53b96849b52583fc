//! Every field of every schema, changed: a plan has a line for it, or the tenant is blocked because the field cannot
//! be carried out yet. A field that is new in a schema fails here until it has its row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tenantry::desired;
use tenantry::domain::{
    ActualState, Applied, ChangeControlMode, Entry, Listing, Mode, ObjectId, Revision, TenantId, Timestamp,
    Tree,
};
use tenantry::plan::{self, Blocked, Document};

/// How a row edits the example repository, before and after.
enum Edit {
    /// In a file, this text becomes one of the two.
    In(&'static str, &'static str, &'static str, &'static str),
    /// The file is one of the two texts.
    File(&'static str, &'static str, &'static str),
    /// The same as `In` in both sides, beside another edit.
    Beside(&'static str, &'static str, &'static str, Box<Edit>),
}
use Edit::{Beside, File, In};

const TENANT: &str = "tenants/acme/tenant.yaml";
const ROLES: &str = "tenants/acme/roles.yaml";
const INDEX: &str = "tenants/acme/secrets.yaml";
const PROBE: &str = "tenants/acme/workflows/probe.yaml";
const PEOPLE: &str = "platform/people.yaml";
const ADMINS: &str = "platform/roles.yaml";
const TOML: &str = "tenantry.toml";
const DAEMON: &str = "platform/daemon.yaml";

const ELEVATION: &str = "elevations:\n  - { id: one, user: dan, role: operator, for: 2h, ask_until: 2026-12-01T00:00:00Z, reason: why }\n";
const PLANNED: &str = "elevations:\n  - { id: one, user: dan, role: operator, from: 2026-12-01T00:00:00Z, until: 2026-12-01T02:00:00Z, reason: why }\n";
const BOTTOM: &str = "developer: [bob, dan]";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKrF0Q4QzVqjSg2J8mmxP0uQ4TzZ2xkT6yD6Vb1p7m3K";

/// What a row expects: lines alone, or that the change blocks, since the field cannot be carried out yet or another file
/// has to change with it.
const LINE: bool = true;
const REFUSED: bool = false;

/// What the example's tenant may reach here.
const EGRESS: &str = "egress: [b.example:443]";

type Row = (&'static str, bool, Edit);

fn tenant_rows() -> Vec<Row> {
    let owner = "owner: group:acme-owners";
    let limits = "limits: { concurrency: 4, memory: 512MiB, run_timeout: 1h }";
    vec![
        ("tenant WrittenTenant.kind", LINE, In(TENANT, "kind: customer", "kind: customer", "kind: unit")),
        ("tenant WrittenTenant.owner", LINE, In(TENANT, owner, owner, "owner: bob")),
        (
            "tenant WrittenTenant.environment",
            LINE,
            In(TENANT, "environment: production", "environment: production", "environment: dev"),
        ),
        (
            "tenant WrittenTenant.region",
            LINE,
            In(TENANT, owner, owner, "owner: group:acme-owners\nregion: eu"),
        ),
        (
            "tenant WrittenTenant.timezone",
            LINE,
            In(TENANT, "timezone: Europe/Berlin", "timezone: Europe/Berlin", "timezone: UTC"),
        ),
        (
            "tenant WrittenTenant.isolation",
            REFUSED,
            In(TENANT, owner, owner, "owner: group:acme-owners\nisolation: hard"),
        ),
        (
            "tenant WrittenTenant.secrets",
            LINE,
            In(TENANT, "secrets:\n", "secrets:\n", "secrets:\n  delivery: [socket]\n"),
        ),
        (
            "tenant WrittenCustody.delivery",
            LINE,
            In(
                TENANT,
                "secrets:\n",
                "secrets:\n  delivery: [socket]\n",
                "secrets:\n  delivery: [socket, file]\n",
            ),
        ),
        // Another recipient than the files are encrypted to is an error of the files: it blocks.
        (
            "tenant WrittenCustody.recipients",
            REFUSED,
            In(
                TENANT,
                "recipients: [",
                "recipients: [",
                "recipients: [age1g44fx6pdehuttu73fn6gdu7y2ksrpzx4vgdh3chy7y06njv0ev3sp2n7g6, ",
            ),
        ),
        ("tenant WrittenTenant.limits", LINE, In(TENANT, limits, limits, "limits: {}")),
        (
            "tenant WrittenLimits.concurrency",
            LINE,
            In(TENANT, "concurrency: 4", "concurrency: 4", "concurrency: 5"),
        ),
        ("tenant WrittenLimits.memory", LINE, In(TENANT, "memory: 512MiB", "memory: 512MiB", "memory: 1GiB")),
        (
            "tenant WrittenLimits.tier",
            LINE,
            In(TENANT, "memory: 512MiB", "memory: 512MiB", "memory: 512MiB, tier: sandbox"),
        ),
        (
            "tenant WrittenLimits.run_timeout",
            LINE,
            In(TENANT, "run_timeout: 1h", "run_timeout: 1h", "run_timeout: 2h"),
        ),
        (
            "tenant WrittenTenant.retention",
            LINE,
            In(TENANT, owner, owner, "owner: group:acme-owners\nretention: { logs: 30d }"),
        ),
        (
            "tenant WrittenRetention.logs",
            LINE,
            In(
                TENANT,
                owner,
                "owner: group:acme-owners\nretention: { logs: 30d }",
                "owner: group:acme-owners\nretention: { logs: 31d }",
            ),
        ),
        (
            "tenant WrittenRetention.payloads",
            LINE,
            In(TENANT, owner, owner, "owner: group:acme-owners\nretention: { payloads: 30d }"),
        ),
        (
            "tenant WrittenRetention.runs",
            LINE,
            In(TENANT, owner, owner, "owner: group:acme-owners\nretention: { runs: 400d }"),
        ),
        (
            "tenant WrittenTenant.egress",
            LINE,
            In(TENANT, EGRESS, EGRESS, "egress: [a.example:443, b.example:443]"),
        ),
        (
            "tenant WrittenTenant.alerts",
            LINE,
            In(
                TENANT,
                owner,
                owner,
                "owner: group:acme-owners\nalerts: { routes: [{ webhook: \"https://o.example/\" }] }",
            ),
        ),
        (
            "tenant WrittenAlerts.routes",
            LINE,
            In(
                TENANT,
                owner,
                "owner: group:acme-owners\nalerts: { routes: [{ webhook: \"https://a.example/\" }] }",
                "owner: group:acme-owners\nalerts: { routes: [{ webhook: \"https://b.example/\" }] }",
            ),
        ),
        (
            "tenant WrittenAlerts.slo",
            LINE,
            In(TENANT, owner, owner, "owner: group:acme-owners\nalerts: { slo: { success: 99% } }"),
        ),
        (
            "tenant WrittenObjectives.success",
            LINE,
            In(
                TENANT,
                owner,
                "owner: group:acme-owners\nalerts: { slo: { success: 99% } }",
                "owner: group:acme-owners\nalerts: { slo: { success: 98% } }",
            ),
        ),
        (
            "tenant WrittenObjectives.slower_than",
            LINE,
            In(
                TENANT,
                owner,
                "owner: group:acme-owners\nalerts: { slo: { success: 99% } }",
                "owner: group:acme-owners\nalerts: { slo: { success: 99%, slower_than: 5m } }",
            ),
        ),
        (
            "tenant WrittenObjectives.window",
            LINE,
            In(
                TENANT,
                owner,
                "owner: group:acme-owners\nalerts: { slo: { success: 99% } }",
                "owner: group:acme-owners\nalerts: { slo: { success: 99%, window: 7d } }",
            ),
        ),
        (
            "tenant WrittenTenant.suspend",
            LINE,
            In(TENANT, owner, owner, "owner: group:acme-owners\nsuspend: { reason: x }"),
        ),
        (
            "tenant WrittenPause.reason",
            LINE,
            In(
                TENANT,
                owner,
                "owner: group:acme-owners\nsuspend: { reason: x }",
                "owner: group:acme-owners\nsuspend: { reason: y }",
            ),
        ),
        (
            "tenant WrittenPause.until",
            LINE,
            In(
                TENANT,
                owner,
                "owner: group:acme-owners\nsuspend: { reason: x }",
                "owner: group:acme-owners\nsuspend: { reason: x, until: 2027-01-31T00:00:00Z }",
            ),
        ),
        (
            "roles (root).operator",
            LINE,
            In(
                ROLES,
                "operator: [group:acme-ops]",
                "operator: [group:acme-ops]",
                "operator: [group:acme-ops, dan]",
            ),
        ),
        ("roles (root).developer", LINE, In(ROLES, BOTTOM, BOTTOM, "developer: [bob]")),
        (
            "roles (root).auditor",
            LINE,
            In(
                ROLES,
                "auditor: [group:compliance]",
                "auditor: [group:compliance]",
                "auditor: [group:compliance, bob]",
            ),
        ),
        ("roles (root).elevations", LINE, File(ROLES, "operator: [bob]\n", PLANNED_WITH)),
        ("roles WrittenElevation.id", LINE, elevation(ELEVATION, "id: one", "id: two")),
        ("roles WrittenElevation.user", LINE, elevation(ELEVATION, "user: dan", "user: erin")),
        ("roles WrittenElevation.role", LINE, elevation(ELEVATION, "role: operator", "role: auditor")),
        ("roles WrittenElevation.for", LINE, elevation(ELEVATION, "for: 2h", "for: 3h")),
        (
            "roles WrittenElevation.ask_until",
            LINE,
            elevation(ELEVATION, "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"),
        ),
        (
            "roles WrittenElevation.from",
            LINE,
            elevation(PLANNED, "from: 2026-12-01T00:00:00Z", "from: 2026-12-01T01:00:00Z"),
        ),
        (
            "roles WrittenElevation.until",
            LINE,
            elevation(PLANNED, "until: 2026-12-01T02:00:00Z", "until: 2026-12-01T03:00:00Z"),
        ),
        ("roles WrittenElevation.reason", LINE, elevation(ELEVATION, "reason: why", "reason: because")),
    ]
}

const PLANNED_WITH: &str = "operator: [bob]\nelevations:\n  - { id: one, user: dan, role: operator, from: 2026-12-01T00:00:00Z, until: 2026-12-01T02:00:00Z, reason: why }\n";

/// A roles file with one elevation, and the same with one word changed.
fn elevation(text: &'static str, old: &str, new: &str) -> Edit {
    let before = format!("operator: [bob]\n{text}");
    let after = before.replacen(old, new, 1);
    File(ROLES, before.leak(), after.leak())
}

fn secret_rows() -> Vec<Row> {
    let shop = "  shop_api_token:\n";
    let v3 = "- { id: v3, state: pending, created: 2026-11-20T09:00:00Z }";
    let with = |field: &str| -> &'static str { format!("  shop_api_token:\n    {field}\n").leak() };
    vec![
        // Its files lie there still: the index has to name them.
        (
            "secrets WrittenSecrets.secrets",
            REFUSED,
            File(INDEX, include_str!("../../example-repo/tenants/acme/secrets.yaml"), "secrets: {}\n"),
        ),
        ("secrets WrittenSecret.owner", LINE, In(INDEX, shop, shop, with("owner: bob"))),
        ("secrets WrittenSecret.use", LINE, In(INDEX, shop, shop, with("use: [step, webhook]"))),
        ("secrets WrittenSecret.rotate_every", LINE, In(INDEX, shop, shop, with("rotate_every: 90d"))),
        (
            "secrets WrittenSecret.leaked_at",
            LINE,
            In(INDEX, shop, shop, with("leaked_at: 2026-09-01T09:00:00Z")),
        ),
        ("secrets WrittenSecret.redact", LINE, In(INDEX, shop, shop, with("redact: false"))),
        ("secrets WrittenSecret.on_revoke", LINE, In(INDEX, shop, shop, with("on_revoke: cancel"))),
        (
            "secrets WrittenSecret.file",
            REFUSED,
            In(INDEX, shop, shop, with("file: secrets/elsewhere.sops.yaml")),
        ),
        ("secrets WrittenSecret.versions", REFUSED, In(INDEX, v3, v3, "")),
        ("secrets WrittenVersion.id", REFUSED, In(INDEX, "id: v3", "id: v3", "id: v4")),
        (
            "secrets WrittenVersion.state",
            LINE,
            In(INDEX, "id: v3, state: pending", "id: v3, state: pending", "id: v3, state: revoked"),
        ),
        (
            "secrets WrittenVersion.created",
            LINE,
            In(INDEX, "2026-11-20T09", "2026-11-20T09", "2026-11-20T10"),
        ),
        (
            "secrets WrittenVersion.accept_until",
            LINE,
            In(
                INDEX,
                v3,
                "- { id: v3, state: previous, created: 2026-11-20T09:00:00Z, accept_until: 2026-12-31T00:00:00Z }",
                "- { id: v3, state: previous, created: 2026-11-20T09:00:00Z, accept_until: 2027-01-01T00:00:00Z }",
            ),
        ),
        (
            "secrets WrittenVersion.file",
            REFUSED,
            In(INDEX, "id: v3,", "id: v3,", "id: v3, file: secrets/elsewhere.sops.yaml,"),
        ),
    ]
}

/// A probe workflow of one script, with a line more before and after.
fn probe(before: &str, after: &str) -> Edit {
    let text = |line: &str| -> &'static str { format!("run: scripts/publish.sh\n{line}").leak() };
    File(PROBE, text(before), text(after))
}

/// A probe that a secret for webhooks may sign.
fn hooked(before: &str, after: &str) -> Edit {
    let shop = "  shop_api_token:\n";
    Beside(INDEX, shop, "  shop_api_token:\n    use: [step, webhook]\n", Box::new(probe(before, after)))
}

/// A probe with two steps; the second has these fields.
fn stepped(before: &str, after: &str) -> Edit {
    let text = |fields: &str| -> &'static str {
        format!(
            "steps:\n  a: {{ run: scripts/publish.sh, outputs: {{ list: list }} }}\n  b: {{ {fields} }}\n"
        )
        .leak()
    };
    File(PROBE, text(before), text(after))
}

/// A probe that asks people from now on.
fn asked(approval: &'static str) -> Edit {
    asked_anew("script: echo", approval)
}

/// A probe with three steps; the second of them changes.
fn asked_anew(before: &'static str, after: &'static str) -> Edit {
    let text = |second: &str| -> &'static str {
        format!("steps:\n  a: {{ script: echo }}\n  b: {{ {second} }}\n  c: {{ script: echo }}\n").leak()
    };
    File(PROBE, text(before), text(after))
}

fn workflow_rows() -> Vec<Row> {
    let run = "run: scripts/publish.sh";
    let step = |more: &str| -> Edit { stepped(run, &format!("{run}, {more}")) };
    let input = |more: &str| -> Edit {
        probe("inputs: { day: {} }\n", &format!("inputs: {{ day: {{ {more} }} }}\n"))
    };
    let schedule = |more: &str| -> Edit {
        probe(
            "on: { schedule: [{ cron: \"0 4 * * *\" }] }\n",
            &format!("on: {{ schedule: [{{ cron: \"0 4 * * *\", {more} }}] }}\n"),
        )
    };
    let commit =
        |more: &str| -> Edit { probe("on: { commit: {} }\n", &format!("on: {{ commit: {{ {more} }} }}\n")) };
    vec![
        ("workflow WrittenWorkflow.description", LINE, probe("", "description: x\n")),
        ("workflow WrittenWorkflow.on", LINE, probe("", "on: commit\n")),
        ("workflow WrittenWorkflow.inputs", LINE, probe("", "inputs: { day: {} }\n")),
        ("workflow WrittenWorkflow.files", LINE, probe("", "files: [scripts/publish.sh]\n")),
        ("workflow WrittenWorkflow.concurrency", LINE, probe("", "concurrency: { key: a }\n")),
        ("workflow WrittenWorkflow.timeout", LINE, probe("", "timeout: 5m\n")),
        ("workflow WrittenWorkflow.alert", LINE, probe("", "alert: page\n")),
        ("workflow WrittenWorkflow.expect", LINE, probe("", "expect: { success_within: 26h }\n")),
        (
            "workflow WrittenExpectation.success_within",
            LINE,
            probe("expect: { success_within: 26h }\n", "expect: { success_within: 27h }\n"),
        ),
        ("workflow WrittenWorkflow.replay_safe", LINE, probe("", "replay_safe: true\n")),
        ("workflow WrittenWorkflow.paused", LINE, probe("", "paused: { reason: x }\n")),
        ("workflow WrittenPause.reason", LINE, probe("paused: { reason: x }\n", "paused: { reason: y }\n")),
        (
            "workflow WrittenPause.until",
            LINE,
            probe("paused: { reason: x }\n", "paused: { reason: x, until: 2027-01-01T00:00:00Z }\n"),
        ),
        (
            "workflow WrittenWorkflow.runtime",
            LINE,
            probe("", "runtime: sha256:0000000000000000000000000000000000000000000000000000000000000000\n"),
        ),
        (
            "workflow WrittenWorkflow.run",
            LINE,
            File(PROBE, "run: scripts/publish.sh\n", "run: scripts/fetch-orders.sh\n"),
        ),
        ("workflow WrittenWorkflow.script", LINE, File(PROBE, "script: echo a\n", "script: echo b\n")),
        (
            "workflow WrittenWorkflow.shell",
            LINE,
            File(PROBE, "script: echo a\n", "script: echo a\nshell: bash\n"),
        ),
        ("workflow WrittenWorkflow.args", LINE, probe("", "args: [a]\n")),
        ("workflow WrittenWorkflow.secrets", LINE, probe("", "secrets: [shop_api_token]\n")),
        (
            "workflow WrittenDelivery.name",
            LINE,
            probe("secrets: [{ name: shop_api_token }]\n", "secrets: [{ name: warehouse_url }]\n"),
        ),
        (
            "workflow WrittenDelivery.env",
            LINE,
            probe(
                "secrets: [{ name: shop_api_token }]\n",
                "secrets: [{ name: shop_api_token, env: TOKEN }]\n",
            ),
        ),
        (
            "workflow WrittenDelivery.file",
            LINE,
            probe(
                "secrets: [{ name: shop_api_token }]\n",
                "secrets: [{ name: shop_api_token, file: TOKEN_FILE }]\n",
            ),
        ),
        ("workflow WrittenWorkflow.with", LINE, probe("", "with: { a: 1 }\n")),
        ("workflow WrittenWorkflow.network", LINE, probe("", "network: [b.example:443]\n")),
        ("workflow WrittenWorkflow.resources", LINE, probe("", "resources: { memory: 128MiB }\n")),
        (
            "workflow WrittenResources.memory",
            LINE,
            probe("resources: { memory: 128MiB }\n", "resources: { memory: 64MiB }\n"),
        ),
        ("workflow WrittenResources.cpu", LINE, probe("", "resources: { cpu: 0.5 }\n")),
        ("workflow WrittenResources.pids", LINE, probe("", "resources: { pids: 32 }\n")),
        ("workflow WrittenResources.disk", LINE, probe("", "resources: { disk: 64MiB }\n")),
        ("workflow WrittenResources.tier", LINE, probe("", "resources: { tier: sandbox }\n")),
        ("workflow WrittenWorkflow.retry", LINE, probe("", "retry: { attempts: 3 }\n")),
        (
            "workflow WrittenRetry.attempts",
            LINE,
            probe("retry: { attempts: 3 }\n", "retry: { attempts: 2 }\n"),
        ),
        (
            "workflow WrittenRetry.backoff",
            LINE,
            probe("retry: { attempts: 3 }\n", "retry: { attempts: 3, backoff: 5s }\n"),
        ),
        (
            "workflow WrittenRetry.max",
            LINE,
            probe("retry: { attempts: 3 }\n", "retry: { attempts: 3, max: 1m }\n"),
        ),
        (
            "workflow WrittenRetry.jitter",
            LINE,
            probe("retry: { attempts: 3 }\n", "retry: { attempts: 3, jitter: false }\n"),
        ),
        (
            "workflow WrittenRetry.on",
            LINE,
            probe("retry: { attempts: 3 }\n", "retry: { attempts: 3, on: [failure] }\n"),
        ),
        ("workflow WrittenWorkflow.outputs", LINE, probe("", "outputs: { count: int }\n")),
        ("workflow WrittenWorkflow.on_failure", LINE, probe("", "on_failure: { run: scripts/publish.sh }\n")),
        ("workflow WrittenWorkflow.uses", LINE, File(PROBE, "script: echo a\n", "uses: shared/probe\n")),
        (
            "workflow WrittenWorkflow.steps",
            LINE,
            File(PROBE, "steps: { a: { script: echo } }\n", "steps: { b: { script: echo } }\n"),
        ),
        (
            "workflow WrittenConcurrency.key",
            LINE,
            probe("concurrency: { key: a }\n", "concurrency: { key: b }\n"),
        ),
        (
            "workflow WrittenConcurrency.limit",
            LINE,
            probe("concurrency: { key: a }\n", "concurrency: { key: a, limit: 2 }\n"),
        ),
        (
            "workflow WrittenConcurrency.on_limit",
            LINE,
            probe("concurrency: { key: a }\n", "concurrency: { key: a, on_limit: skip }\n"),
        ),
        ("workflow WrittenInput.type", LINE, input("type: int")),
        ("workflow WrittenInput.format", LINE, input("format: date")),
        ("workflow WrittenInput.enum", LINE, input("enum: [a, b]")),
        ("workflow WrittenInput.default", LINE, input("default: a")),
        ("workflow WrittenInput.required", LINE, input("required: false")),
        ("workflow WrittenInput.sensitive", LINE, input("sensitive: true")),
        ("workflow WrittenInput.description", LINE, input("description: x")),
        ("workflow WrittenCommit.first", LINE, commit("first: true")),
        ("workflow WrittenCommit.each", LINE, commit("each: true")),
        ("workflow WrittenCommit.paths", LINE, commit("paths: [scripts/publish.sh]")),
        (
            "workflow WrittenCommit.with",
            LINE,
            probe(
                "inputs: { day: { default: a } }\non: { commit: {} }\n",
                "inputs: { day: { default: a } }\non: { commit: { with: { day: b } } }\n",
            ),
        ),
        (
            "workflow WrittenSchedule.cron",
            LINE,
            probe(
                "on: { schedule: [{ cron: \"0 4 * * *\" }] }\n",
                "on: { schedule: [{ cron: \"0 5 * * *\" }] }\n",
            ),
        ),
        ("workflow WrittenSchedule.timezone", LINE, schedule("timezone: UTC")),
        ("workflow WrittenSchedule.catch_up", LINE, schedule("catch_up: all")),
        ("workflow WrittenSchedule.overlap", LINE, schedule("overlap: queue")),
        ("workflow WrittenSchedule.exact", LINE, schedule("exact: true")),
        (
            "workflow WrittenSchedule.with",
            LINE,
            probe(
                "inputs: { day: { default: a } }\non: { schedule: [{ cron: \"0 4 * * *\" }] }\n",
                "inputs: { day: { default: a } }\non: { schedule: [{ cron: \"0 4 * * *\", with: { day: b } }] }\n",
            ),
        ),
        ("workflow WrittenWebhook.secret", LINE, hooked("", "on: { webhook: { secret: shop_api_token } }\n")),
        (
            "workflow WrittenWebhook.with",
            LINE,
            hooked(
                "inputs: { day: { default: a } }\non: { webhook: { secret: shop_api_token } }\n",
                "inputs: { day: { default: a } }\non: { webhook: { secret: shop_api_token, with: { day: b } } }\n",
            ),
        ),
        ("workflow WrittenStep.run", LINE, stepped(run, "run: scripts/fetch-orders.sh")),
        ("workflow WrittenStep.script", LINE, stepped("script: echo a", "script: echo b")),
        ("workflow WrittenStep.shell", LINE, stepped("script: echo a", "script: echo a, shell: bash")),
        ("workflow WrittenStep.args", LINE, step("args: [a]")),
        ("workflow WrittenStep.needs", LINE, step("needs: []")),
        ("workflow WrittenStep.if", LINE, step("if: \"size(steps.a.outputs.list) > 0\"")),
        ("workflow WrittenStep.approval", LINE, asked("approval: { from: [operator] }")),
        (
            "workflow WrittenApproval.from",
            LINE,
            asked_anew("approval: { from: [operator] }", "approval: { from: [operator, owner] }"),
        ),
        (
            "workflow WrittenApproval.count",
            LINE,
            asked_anew(
                "approval: { from: [operator, owner], count: 2 }",
                "approval: { from: [operator, owner] }",
            ),
        ),
        (
            "workflow WrittenApproval.timeout",
            LINE,
            asked_anew("approval: { from: [operator] }", "approval: { from: [operator], timeout: 2h }"),
        ),
        (
            "workflow WrittenApproval.on_timeout",
            LINE,
            asked_anew("approval: { from: [operator] }", "approval: { from: [operator], on_timeout: skip }"),
        ),
        ("workflow WrittenStep.secrets", LINE, step("secrets: [shop_api_token]")),
        ("workflow WrittenStep.with", LINE, step("with: { a: 1 }")),
        ("workflow WrittenStep.network", LINE, step("network: [b.example:443]")),
        ("workflow WrittenStep.resources", LINE, step("resources: { memory: 128MiB }")),
        ("workflow WrittenStep.retry", LINE, step("retry: { attempts: 2 }")),
        ("workflow WrittenStep.timeout", LINE, step("timeout: 1m")),
        ("workflow WrittenStep.outputs", LINE, step("outputs: { count: int }")),
        ("workflow WrittenStep.for_each", LINE, step("for_each: \"${{ steps.a.outputs.list }}\"")),
        (
            "workflow WrittenStep.item_key",
            LINE,
            stepped(
                "run: scripts/publish.sh, for_each: \"${{ steps.a.outputs.list }}\"",
                "run: scripts/publish.sh, for_each: \"${{ steps.a.outputs.list }}\", item_key: \"${{ item.id }}\"",
            ),
        ),
        (
            "workflow WrittenStep.max_parallel",
            LINE,
            stepped(
                "run: scripts/publish.sh, for_each: \"${{ steps.a.outputs.list }}\"",
                "run: scripts/publish.sh, for_each: \"${{ steps.a.outputs.list }}\", max_parallel: 2",
            ),
        ),
    ]
}

/// A line of tenantry.toml, put in front of `[limits]`.
fn toml(before: &str, after: &str) -> Edit {
    let text = |lines: &str| -> &'static str { format!("{lines}\n[limits]").leak() };
    In(TOML, "[limits]", text(before), text(after))
}

fn platform_rows() -> Vec<Row> {
    let dan = "dan: { name: Dan Lindqvist, email: dan@northwind.example, identities: { github: 1004 } }";
    let dans = |more: &str| -> Edit { In(PEOPLE, dan, dan, format!("dan: {{ {more} }}").leak()) };
    let key =
        |more: &str| -> &'static str { format!("dan: {{ keys: [{{ ssh: \"{KEY}\", {more} }}] }}").leak() };
    let bot = "ci-bot: { owner: group:platform, identities: { github: 9001 } }";
    vec![
        ("people WrittenPeople.users", LINE, In(PEOPLE, dan, dan, format!("{dan}\n  zoe: {{}}").leak())),
        (
            "people WrittenPeople.services",
            LINE,
            In(PEOPLE, bot, bot, format!("{bot}\n  other: {{ owner: alice }}").leak()),
        ),
        (
            "people WrittenPeople.groups",
            LINE,
            In(PEOPLE, "acme-owners: [carol]", "acme-owners: [carol]", "acme-owners: [carol, dan]"),
        ),
        (
            "people WrittenPerson.name",
            LINE,
            dans("name: Another, email: dan@northwind.example, identities: { github: 1004 }"),
        ),
        (
            "people WrittenPerson.email",
            LINE,
            dans("name: Dan Lindqvist, email: x@northwind.example, identities: { github: 1004 }"),
        ),
        ("people WrittenPerson.identities", LINE, dans("name: Dan Lindqvist, email: dan@northwind.example")),
        ("people WrittenPerson.keys", LINE, In(PEOPLE, dan, dan, key("use: [commit]"))),
        (
            "people WrittenKey.ssh",
            LINE,
            In(
                PEOPLE,
                dan,
                key("use: [commit]"),
                format!("dan: {{ keys: [{{ ssh: \"{KEY} laptop\", use: [commit] }}] }}").leak(),
            ),
        ),
        (
            "people WrittenKey.use",
            LINE,
            In(PEOPLE, dan, key("use: [commit]"), key("use: [commit, approval]")),
        ),
        (
            "people WrittenKey.revoked_at",
            LINE,
            In(PEOPLE, dan, key("use: [commit]"), key("use: [commit], revoked_at: 2026-11-01T00:00:00Z")),
        ),
        (
            "people WrittenIdentities.github",
            LINE,
            In(PEOPLE, "github: 1004", "github: 1004", "github: 1005000"),
        ),
        ("people WrittenIdentities.gitlab", LINE, In(PEOPLE, "github: 1004", "github: 1004", "gitlab: 1004")),
        ("people WrittenIdentities.gitea", LINE, In(PEOPLE, "github: 1004", "github: 1004", "gitea: 1004")),
        (
            "people WrittenIdentities.oidc",
            LINE,
            In(
                PEOPLE,
                "github: 1004",
                "github: 1004",
                "oidc: { issuer: \"https://login.example\", subject: \"x\" }",
            ),
        ),
        (
            "people WrittenService.owner",
            LINE,
            In(
                PEOPLE,
                "ci-bot: { owner: group:platform",
                "ci-bot: { owner: group:platform",
                "ci-bot: { owner: alice",
            ),
        ),
        (
            "people WrittenService.identities",
            LINE,
            In(PEOPLE, "github: 9001", "github: 9001", "github: 9002"),
        ),
        (
            "platform-roles WrittenPlatformRoles.admin",
            LINE,
            File(ADMINS, "admin: [group:platform]\n", "admin: [group:platform, bob]\n"),
        ),
        (
            "platform-roles WrittenPlatformRoles.shared",
            LINE,
            File(ADMINS, "admin: [group:platform]\n", "admin: [group:platform]\nshared: { probe: [bob] }\n"),
        ),
        ("platform-roles WrittenPlatformRoles.elevations", REFUSED, admin_elevation("")),
        ("platform-roles WrittenElevation.id", REFUSED, admin_elevation("id: two")),
        ("platform-roles WrittenElevation.user", REFUSED, admin_elevation("user: erin")),
        ("platform-roles WrittenElevation.role", REFUSED, admin_elevation("role: admin")),
        ("platform-roles WrittenElevation.for", REFUSED, admin_elevation("for: 3h")),
        (
            "platform-roles WrittenElevation.ask_until",
            REFUSED,
            admin_elevation("ask_until: 2026-12-02T00:00:00Z"),
        ),
        ("platform-roles WrittenElevation.from", REFUSED, admin_elevation("from: 2026-12-02T00:00:00Z")),
        ("platform-roles WrittenElevation.until", REFUSED, admin_elevation("until: 2026-12-02T00:00:00Z")),
        ("platform-roles WrittenElevation.reason", REFUSED, admin_elevation("reason: because")),
        (
            "daemon WrittenDaemon.keys",
            LINE,
            File(DAEMON, "keys: {}\n", format!("keys: {{ checkpoint: \"{KEY}\" }}\n").leak()),
        ),
        ("tenantry WrittenSettings.format", REFUSED, In(TOML, "format = 1", "format = 1", "format = 2")),
        ("tenantry WrittenSettings.id", LINE, In(TOML, "0192f1c2", "0192f1c2", "0192f1c3")),
        (
            "tenantry WrittenSettings.name",
            LINE,
            In(TOML, "northwind-automations", "northwind-automations", "other"),
        ),
        (
            "tenantry WrittenSettings.reconcile",
            LINE,
            In(TOML, "branch = \"main\"", "branch = \"main\"", "branch = \"trunk\""),
        ),
        (
            "tenantry WrittenReconcile.branch",
            LINE,
            In(TOML, "branch = \"main\"", "branch = \"main\"", "branch = \"trunk\""),
        ),
        (
            "tenantry WrittenReconcile.on_rewrite",
            LINE,
            In(TOML, "branch = \"main\"", "branch = \"main\"", "branch = \"main\"\non_rewrite = \"follow\""),
        ),
        (
            "tenantry WrittenSettings.change_control",
            LINE,
            In(TOML, "mode = \"open\"", "mode = \"open\"", "mode = \"signed\""),
        ),
        (
            "tenantry WrittenChangeControl.mode",
            LINE,
            In(TOML, "mode = \"open\"", "mode = \"open\"", "mode = \"pull-request\""),
        ),
        (
            "tenantry WrittenChangeControl.require",
            LINE,
            toml("", "[change_control.require]\ngrant = { from = [\"owner\"], count = 2 }\n"),
        ),
        (
            "tenantry WrittenChangeControl.environment",
            LINE,
            toml("", "[change_control.environment.dev]\ncode = { count = 0 }\n"),
        ),
        (
            "tenantry WrittenRequirement.count",
            LINE,
            toml(
                "[change_control.require]\ngrant = { count = 1 }\n",
                "[change_control.require]\ngrant = { count = 2 }\n",
            ),
        ),
        (
            "tenantry WrittenRequirement.from",
            LINE,
            toml(
                "[change_control.require]\ngrant = { count = 1 }\n",
                "[change_control.require]\ngrant = { from = [\"owner\"], count = 1 }\n",
            ),
        ),
        ("tenantry WrittenSettings.forge", LINE, toml("", "[forge]\nkind = \"github\"\n")),
        (
            "tenantry WrittenForge.kind",
            LINE,
            toml("[forge]\nkind = \"github\"\n", "[forge]\nkind = \"gitlab\"\n"),
        ),
        (
            "tenantry WrittenForge.repo",
            LINE,
            toml("[forge]\nkind = \"github\"\n", "[forge]\nkind = \"github\"\nrepo = \"a/b\"\n"),
        ),
        (
            "tenantry WrittenForge.url",
            LINE,
            toml("[forge]\nkind = \"gitea\"\n", "[forge]\nkind = \"gitea\"\nurl = \"https://git.example\"\n"),
        ),
        (
            "tenantry WrittenSettings.limits",
            LINE,
            In(TOML, "run_timeout = \"6h\"", "run_timeout = \"6h\"", ""),
        ),
        (
            "tenantry WrittenCeilings.run_timeout",
            LINE,
            In(TOML, "run_timeout = \"6h\"", "run_timeout = \"6h\"", "run_timeout = \"5h\""),
        ),
        (
            "tenantry WrittenCeilings.elevation_max",
            LINE,
            In(TOML, "elevation_max = \"8h\"", "elevation_max = \"8h\"", "elevation_max = \"7h\""),
        ),
        (
            "tenantry WrittenCeilings.tier",
            LINE,
            In(
                TOML,
                "elevation_max = \"8h\"",
                "elevation_max = \"8h\"",
                "elevation_max = \"8h\"\ntier = \"bubblewrap\"",
            ),
        ),
        (
            "tenantry WrittenCeilings.memory",
            LINE,
            In(TOML, "memory = \"2GiB\"", "memory = \"2GiB\"", "memory = \"3GiB\""),
        ),
        (
            "tenantry WrittenCeilings.concurrency",
            LINE,
            In(TOML, "memory = \"2GiB\"", "memory = \"2GiB\"", "memory = \"2GiB\"\nconcurrency = 9"),
        ),
        ("tenantry WrittenSettings.retention", LINE, In(TOML, "logs = \"7d\"", "logs = \"7d\"", "")),
        ("tenantry WrittenRetention.logs", LINE, In(TOML, "logs = \"7d\"", "logs = \"7d\"", "logs = \"8d\"")),
        (
            "tenantry WrittenRetention.runs",
            LINE,
            In(TOML, "runs = \"90d\"", "runs = \"90d\"", "runs = \"91d\""),
        ),
        (
            "tenantry WrittenRetention.payloads",
            LINE,
            In(TOML, "logs = \"7d\"", "logs = \"7d\"", "logs = \"7d\"\npayloads = \"7d\""),
        ),
        (
            "tenantry WrittenSettings.secrets",
            REFUSED,
            In(
                TOML,
                "[secrets]\nrecovery = [",
                "[secrets]\nrecovery = [",
                "[secrets]\nrecovery = [\"age1g44fx6pdehuttu73fn6gdu7y2ksrpzx4vgdh3chy7y06njv0ev3sp2n7g6\", ",
            ),
        ),
        (
            "tenantry WrittenRecovery.recovery",
            REFUSED,
            In(
                TOML,
                "recovery = [",
                "recovery = [",
                "recovery = [\"age1g44fx6pdehuttu73fn6gdu7y2ksrpzx4vgdh3chy7y06njv0ev3sp2n7g6\", ",
            ),
        ),
        (
            "tenantry WrittenSettings.network",
            LINE,
            toml("", "[network]\nprivate = [{ tenant = \"acme\", host = \"a\", port = 1 }]\n"),
        ),
        (
            "tenantry WrittenSettings.python",
            LINE,
            toml("", "[python]\nindexes = [\"https://pypi.org/simple\"]\n"),
        ),
        (
            "tenantry WrittenPython.indexes",
            LINE,
            toml("[python]\nindexes = []\n", "[python]\nindexes = [\"https://pypi.org/simple\"]\n"),
        ),
        (
            "tenantry WrittenNetwork.private",
            LINE,
            toml(
                "[network]\nprivate = []\n",
                "[network]\nprivate = [{ tenant = \"acme\", host = \"a\", port = 1 }]\n",
            ),
        ),
        ("tenantry WrittenPrivate.tenant", LINE, private("tenant = \"emea\", host = \"a\", port = 1")),
        ("tenantry WrittenPrivate.host", LINE, private("tenant = \"acme\", host = \"b\", port = 1")),
        ("tenantry WrittenPrivate.port", LINE, private("tenant = \"acme\", host = \"a\", port = 2")),
        (
            "tenantry WrittenSettings.smtp",
            LINE,
            toml("", "[smtp]\nserver = \"a:587\"\nfrom = \"a@a.example\"\n"),
        ),
        (
            "tenantry WrittenSmtp.server",
            LINE,
            toml(
                "[smtp]\nserver = \"a:587\"\nfrom = \"a@a.example\"\n",
                "[smtp]\nserver = \"b:587\"\nfrom = \"a@a.example\"\n",
            ),
        ),
        (
            "tenantry WrittenSmtp.from",
            LINE,
            toml(
                "[smtp]\nserver = \"a:587\"\nfrom = \"a@a.example\"\n",
                "[smtp]\nserver = \"a:587\"\nfrom = \"b@a.example\"\n",
            ),
        ),
        (
            "tenantry WrittenSettings.alerts",
            LINE,
            toml("", "[alerts]\nroutes = [{ webhook = \"https://a.example/\" }]\n"),
        ),
        (
            "tenantry WrittenPlatformAlerts.routes",
            LINE,
            toml("[alerts]\nroutes = []\n", "[alerts]\nroutes = [{ webhook = \"https://a.example/\" }]\n"),
        ),
    ]
}

fn private(after: &str) -> Edit {
    let one = |it: &str| format!("[network]\nprivate = [{{ {it} }}]\n");
    toml(&one("tenant = \"acme\", host = \"a\", port = 1"), &one(after))
}

fn admin_elevation(field: &str) -> Edit {
    let mut fields = BTreeMap::from([
        ("id", "one"),
        ("user", "dan"),
        ("role", "auditor"),
        ("reason", "why"),
        ("for", "2h"),
        ("ask_until", "2026-12-01T00:00:00Z"),
    ]);
    if let Some((key, value)) = field.split_once(": ") {
        fields.insert(key, value);
    }
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    let after = format!("admin: [group:platform]\nelevations:\n  - {{ {} }}\n", fields.join(", "));
    File(ADMINS, "admin: [group:platform]\n", after.leak())
}

// --- reading both sides ---

fn entry(text: &[u8], mode: Mode) -> Entry {
    use sha2::{Digest as _, Sha256};
    let id = hex::encode(&Sha256::digest(text)[..20]).parse().unwrap();
    Entry { mode, id, size: text.len() as u64, content: Some(Arc::from(text)), searched: None }
}

/// The files of the example repository, with a small shared workflow.
fn example() -> BTreeMap<String, Entry> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("example-repo");
    let mut files = BTreeMap::new();
    let mut todo = vec![root.clone()];
    while let Some(directory) = todo.pop() {
        for found in std::fs::read_dir(directory).unwrap().map(|found| found.unwrap().path()) {
            if found.is_dir() {
                todo.push(found);
                continue;
            }
            let path = found.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            let mode = if path.contains("/scripts/") && !path.contains("/data/") {
                Mode::Executable
            } else {
                Mode::File
            };
            files.insert(path, entry(&std::fs::read(&found).unwrap(), mode));
        }
    }
    let tenant = String::from_utf8(files[TENANT].content.as_ref().unwrap().to_vec()).unwrap();
    files.insert(TENANT.into(), entry(format!("{tenant}{EGRESS}\n").as_bytes(), Mode::File));
    files.insert("shared/probe/workflow.yaml".into(), entry(b"run: probe.sh\n", Mode::File));
    files.insert("shared/probe/probe.sh".into(), entry(b"#!/bin/sh\n", Mode::Executable));
    files
}

fn edited(files: &BTreeMap<String, Entry>, edit: &Edit, after: bool) -> BTreeMap<String, Entry> {
    let mut files = files.clone();
    let (path, text) = match edit {
        Beside(path, old, new, edit) => {
            let both = edited(&files, &In(path, old, new, new), after);
            return edited(&both, edit, after);
        }
        File(path, before, new) => (*path, if after { *new } else { *before }.to_owned()),
        In(path, old, before, new) => {
            let text = String::from_utf8(files[*path].content.as_ref().unwrap().to_vec()).unwrap();
            assert!(text.contains(old), "{path} has no {old:?}");
            (*path, text.replacen(old, if after { new } else { before }, 1))
        }
    };
    files.insert(path.to_owned(), entry(text.as_bytes(), Mode::File));
    files
}

struct Side {
    wide: Tree,
    tenant: Tree,
    listing: Listing,
}

fn side(files: &BTreeMap<String, Entry>) -> Side {
    let revision = Revision { commit: ObjectId::null(), branch: "main".into() };
    let tree = |keep: &dyn Fn(&str) -> bool| Tree {
        revision: revision.clone(),
        files: files
            .iter()
            .filter(|(path, _)| keep(path))
            .map(|(path, entry)| (path.clone(), entry.clone()))
            .collect(),
        misnamed: Vec::new(),
        truncated: None,
        pinned: BTreeMap::new(),
    };
    let listing = Listing {
        revision: revision.clone(),
        root: ObjectId::null(),
        settings: None,
        platform: None,
        shared: BTreeMap::new(),
        tenants: BTreeMap::new(),
        misplaced: Vec::new(),
    };
    let wide = |path: &str| path == TOML || path.starts_with("platform/") || path.starts_with("shared/");
    Side { wide: tree(&wide), tenant: tree(&|path| path.starts_with("tenants/acme/")), listing }
}

/// The plan from one side to the other, for the platform and the tenant `acme`.
fn planned(before: &Side, after: &Side) -> Result<Document, String> {
    let acme: TenantId = "acme".parse().unwrap();
    let (old, found) = desired::read_platform(&before.wide);
    let told = |found: &[tenantry::domain::Diagnostic]| {
        format!("before: {:?}", found.iter().map(|it| &it.message).collect::<Vec<_>>())
    };
    let Some(old) = old else { return Err(told(&found)) };
    let (base, found) = desired::read(&old, &before.listing, &before.wide, &before.tenant, &acme);
    let Some(base) = base else { return Err(told(&found)) };
    let at = Timestamp::from_millis(0);
    let applied = Applied {
        commit: ObjectId::null(),
        digest: base.state.digest(),
        keys: base.keys,
        at,
        authors: BTreeSet::new(),
        state: base.state,
    };
    let actual = ActualState { generation: 1, applied: Some(applied), ..ActualState::empty(acme.clone()) };
    let mut document = Document { mode: ChangeControlMode::Open, ..Document::default() };
    let (new, found) = desired::read_platform(&after.wide);
    let Some(new) = new else {
        let findings = found.iter().map(Into::into).collect();
        document.block(Blocked { tenant: None, stays_at: None, findings });
        return Ok(document);
    };
    let (from, to) = (desired::platform_facts(&before.wide), desired::platform_facts(&after.wide));
    document.add_platform(Some(&old), Some(&new), plan::wide(&from, &to, Some(&before.wide), &after.wide));
    match desired::read(&new, &after.listing, &after.wide, &after.tenant, &acme) {
        (Some(desired), _) => document.add(&plan::between(&desired, &actual), &actual),
        (None, found) => {
            let findings = found.iter().map(Into::into).collect();
            document.block(Blocked { tenant: Some(acme), stays_at: None, findings });
        }
    }
    Ok(document)
}

/// Every field of every schema, as `SCHEMA FORM.FIELD`.
fn fields() -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for file in std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap().trim_end_matches(".schema.json").to_owned();
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let mut take = |form: &str, value: &Value| {
            let names = value["properties"].as_object().into_iter().flat_map(|map| map.keys());
            fields.extend(names.map(|field| format!("{name} {form}.{field}")));
        };
        take("(root)", &schema);
        for (form, value) in schema["$defs"].as_object().into_iter().flatten() {
            take(form, value);
        }
    }
    fields
}

#[test]
fn every_field_of_every_schema_has_a_line_in_the_plan() {
    let rows: Vec<Row> =
        [tenant_rows(), secret_rows(), workflow_rows(), platform_rows()].into_iter().flatten().collect();
    let covered: BTreeSet<String> = rows.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let missing: Vec<_> = fields().difference(&covered).cloned().collect();
    assert!(missing.is_empty(), "these fields have no row here: {missing:#?}");
    let gone: Vec<_> = covered.difference(&fields()).cloned().collect();
    assert!(gone.is_empty(), "these rows are of no field: {gone:#?}");
    let files = example();
    let same = side(&files);
    assert!(
        planned(&same, &same).is_ok_and(|document| document.is_empty()),
        "nothing changes and there is a line"
    );
    let mut wrong = Vec::new();
    for (name, line, edit) in &rows {
        let (before, after) = (side(&edited(&files, edit, false)), side(&edited(&files, edit, true)));
        let document = match planned(&before, &after) {
            Ok(document) => document,
            Err(why) => {
                wrong.push(format!("{name}: {why}"));
                continue;
            }
        };
        let says = !document.changes.is_empty();
        if document.blocked.is_empty() != *line || (*line && !says) {
            let found: Vec<_> =
                document.blocked.iter().flat_map(|blocked| &blocked.findings).map(|it| &it.message).collect();
            wrong.push(format!("{name}: lines {}, blocked {found:?}", document.changes.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
