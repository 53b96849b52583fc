//! K: the index of secrets and the encrypted files, judged without any key.

use super::family;

family! {
    UNDECLARED_SECRET = "K301" "undeclared-secret" Error
        what: "A step asks for a secret that the tenant's secrets.yaml does not list."
        why: "A step can only get what its own tenant has."
        wrong: "# tenants/acme/workflows/billing.yaml\nrun: scripts/pull.py\nsecrets: [warehouse_uri, warehouse_url]"
        right: "# tenants/acme/workflows/billing.yaml\nrun: scripts/pull.py\nsecrets: [warehouse_url]"
    UNUSED_SECRET = "K302" "unused-secret" Warning
        what: "No workflow uses a secret."
        why: "A credential that nobody needs can only leak."
        wrong: "# tenants/acme/workflows/billing.yaml\nrun: scripts/pull.py # and nothing else asks for warehouse_url"
        right: "# tenants/acme/workflows/billing.yaml\nrun: scripts/pull.py\nsecrets: [warehouse_url]"
    NOT_ENCRYPTED = "K303" "not-encrypted" Error
        what: "A file of secrets is not a SOPS file."
        why: "Its content stands readable in Git's history for ever. Take the value for leaked and make a new one."
        wrong: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"(the value itself)\" }"
        right: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    PLAINTEXT_VALUE = "K304" "plaintext-value" Error
        what: "A value of a SOPS file is not encrypted."
        why: "It stands readable in Git's history for ever. Take the value for leaked and make a new one."
        wrong: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"(the value itself)\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
        right: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    EXTRA_RECIPIENT = "K305" "extra-recipient" Error
        what: "A SOPS file names a recipient that is neither the tenant's nor the platform's recovery key."
        why: "Whoever holds that key reads the secret."
        wrong: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n    - { recipient: age1other…, enc: \"…for other…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
        right: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    MISSING_RECIPIENT = "K306" "missing-recipient" Error
        what: "A SOPS file lacks a recipient of the tenant, or the platform's recovery key."
        why: "Who should open it cannot: the tenant's runs, or the recovery after a lost key."
        wrong: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
        right: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    HIDDEN_STANZA = "K307" "hidden-stanza" Error
        what: "An entry of a SOPS file wraps its data key for more or other readers than it names."
        why: "sops does not check it: a second stanza lets somebody read the secret whom no review has seen."
        wrong: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme and somebody else…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
        right: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    BAD_METADATA = "K308" "bad-metadata" Error
        what: "A SOPS file has no usable `mac` or `lastmodified`, or metadata that cannot be read."
        why: "Without them nobody can tell whether values were exchanged or removed."
        wrong: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  version: 3.11.0"
        right: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    INDEX_DISAGREES = "K309" "index-disagrees" Error
        what: "secrets.yaml lists a version whose file does not exist or does not hold it."
        why: "A step that asks for it would get nothing."
        wrong: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }, { id: v2, state: pending }] } # and no secrets/warehouse_url.v2.sops.yaml"
        right: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }] }"
    TWO_CURRENT = "K310" "two-current-versions" Error
        what: "A secret has two current versions, or one version twice."
        why: "Which of them a step gets would be chance."
        wrong: "# tenants/acme/secrets/warehouse_url.v2.sops.yaml, as sops writes it\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v2, state: current }, { id: v1, state: current }] }"
        right: "# tenants/acme/secrets/warehouse_url.v2.sops.yaml, as sops writes it\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v2, state: current }, { id: v1, state: previous, accept_until: 2026-12-01T00:00:00Z }] }"
    NO_CURRENT = "K311" "no-current-version" Error
        what: "A secret that steps use has no current version."
        why: "The steps could only fail. After a revocation this is a warning, since revoking must never wait."
        wrong: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: pending }] }"
        right: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }] }"
    SHARED_RECIPIENT = "K312" "shared-recipient" Warning
        what: "Two tenants name the same recipient."
        why: "Whoever holds that key reads the secrets of both: they are not isolated from each other."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }\n# tenants/globex/roles.yaml\noperator: [bob]\n# tenants/globex/tenant.yaml\nowner: alice\nsecrets: { recipients: [age1acme…] }"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }\n# tenants/globex/roles.yaml\noperator: [bob]\n# tenants/globex/tenant.yaml\nowner: alice\nsecrets: { recipients: [age1other…] }"
    PRIVATE_KEY = "K313" "private-key" Error
        what: "A private key stands in the repository."
        why: "Everybody who can clone has it, now and from the history. Take it for leaked."
        wrong: "# tenants/acme/scripts/key.txt\nAGE-SECRET-KEY-1…"
        right: "# tenants/acme/scripts/key.txt\nage1acme…"
    REFUSED_KEY = "K314" "refused-key" Error
        what: "A SOPS file can be opened by something other than an age X25519 or ssh-ed25519 key, or has several key groups."
        why: "PGP, cloud key services and plugins widen who can read it to places that nobody here reviews."
        wrong: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  kms: [{ arn: \"arn:aws:kms:eu-west-1:1:key/x\" }]\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
        right: "# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    UNINDEXED_FILE = "K315" "unindexed-file" Error
        what: "A file below `secrets/` is listed by no version of secrets.yaml."
        why: "Nobody could tell who owns it, whether it is in use or when it should go."
        wrong: "# tenants/acme/secrets/warehouse_url.v2.sops.yaml, as sops writes it\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }] }"
        right: "# tenants/acme/secrets/warehouse_url.v2.sops.yaml, as sops writes it\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }, { id: v2, state: pending }] }"
    WRONG_PURPOSE = "K316" "wrong-purpose" Error
        what: "A secret is used for something that its `use` does not name."
        why: "It is opened for nothing else."
        wrong: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { use: [webhook], versions: [{ id: v1, state: current }] }"
        right: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { use: [step, webhook], versions: [{ id: v1, state: current }] }"
    BAD_RECIPIENT = "K317" "bad-recipient" Error
        what: "A recipient is not the public half of an age X25519 or ssh-ed25519 key, or stands twice."
        why: "Files could not be encrypted to it."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1abc] }"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }"
    NO_RECIPIENTS = "K318" "no-recipients" Error
        what: "A tenant has secrets and no recipients."
        why: "Nobody could open them."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners # and secrets.yaml with warehouse_url"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }"
    NOT_REDACTED = "K319" "not-redacted" Warning
        what: "A secret is marked `redact: false`."
        why: "Its value may appear in logs and outputs."
        wrong: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { redact: false, versions: [{ id: v1, state: current }] }"
        right: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }] }"
    SIGNING_KEY_AS_RECIPIENT = "K320" "signing-key-as-recipient" Error
        what: "A recipient is a key that signs for a person of people.yaml."
        why: "A key in use for one thing should not be exposed by another; a leaked one would give both."
        wrong: "# platform/people.yaml\nusers:\n  alice: { keys: [{ ssh: \"ssh-ed25519 AAAA…of-alice alice@laptop\", use: [commit] }] }\n  bob: {}\n  carol: {}\ngroups: { acme-owners: [alice], acme-ops: [alice, bob], compliance: [carol] }\n# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [\"ssh-ed25519 AAAA…of-alice\"] }"
        right: "# platform/people.yaml\nusers:\n  alice: { keys: [{ ssh: \"ssh-ed25519 AAAA…of-alice alice@laptop\", use: [commit] }] }\n  bob: {}\n  carol: {}\ngroups: { acme-owners: [alice], acme-ops: [alice, bob], compliance: [carol] }\n# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }"
    BAD_VERSION = "K321" "bad-version" Error
        what: "A version lacks the end that its state needs, or has one that its state does not."
        why: "`previous` ends at `accept_until`; without it an old credential would be accepted for ever."
        wrong: "# tenants/acme/secrets/warehouse_url.v2.sops.yaml, as sops writes it\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v2, state: current }, { id: v1, state: previous }] }"
        right: "# tenants/acme/secrets/warehouse_url.v2.sops.yaml, as sops writes it\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v2, state: current }, { id: v1, state: previous, accept_until: 2026-12-01T00:00:00Z }] }"
    ROTATION_OVERDUE = "K322" "rotation-overdue" Warning, clock
        what: "The current version of a secret is older than its `rotate_every`."
        why: "Whoever leaves, and whatever leaks, takes what was true then: a value that never changes is known for ever."
        wrong: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { rotate_every: 30d, versions: [{ id: v1, state: current, created: 2025-01-01T00:00:00Z }] }"
        right: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { rotate_every: 30d, versions: [{ id: v1, state: current, created: 2026-01-01T00:00:00Z }] }"
    MASKED_VALUE = "K323" "masked-value" Error
        what: "A value is the mask that stands in a log in place of a secret."
        why: "Somebody copied it from a log: what uses it gets the mask and fails in a way that is hard to see. A mask in a comment is left alone, since nothing uses it."
        wrong: "run: scripts/pull.py\nargs: [\"[redacted:warehouse_url]\"]"
        right: "run: scripts/pull.py\nsecrets: [warehouse_url]"
    PLAIN_SECRET = "K324" "plain-secret" Error
        what: "A token of a known kind stands readable in a file."
        why: "Everybody who can clone has it, now and from the history. Take it for leaked, make a new one and put that into secrets/."
        wrong: "# tenants/acme/scripts/pull.sh, executable\n#!/bin/sh\ncurl -H \"Authorization: Bearer ghp_…\" https://api.github.com/user"
        right: "# tenants/acme/scripts/pull.sh, executable\n#!/bin/sh\ncurl -H \"Authorization: Bearer $(tenantry-secret get github_token)\" https://api.github.com/user"
    PASSWORD_IN_URL = "K325" "password-in-url" Warning
        what: "A URL holds a user and a password."
        why: "Everybody who can clone has it, and URLs are printed in errors. Put it into secrets/, and let the script ask for it."
        wrong: "run: scripts/pull.py\nargs: [\"https://sync:…password…@ftp.acme.example/\"]"
        right: "run: scripts/pull.py\nargs: [\"https://ftp.acme.example/\"]\nsecrets: [warehouse_url]"
    RETIRED_RECIPIENT = "K326" "retired-recipient" Error, change
        what: "A file of secrets is new or changed and can be opened by a recipient that the tenant had and has no longer."
        why: "The recipient was removed so that it reads nothing more."
        wrong: "# before: tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…, age1other…] }\n# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }\n# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n    - { recipient: age1other…, enc: \"…for other…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
        right: "# before: tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }\n# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    DATA_KEY_KEPT = "K327" "data-key-not-rotated" Error, change
        what: "A recipient left a file of secrets, and the file still has the values it was encrypted with before."
        why: "The recipient knows the data key from the old file: taking its entry out takes nothing away. The values have to be encrypted anew, and should be replaced."
        wrong: "# before: tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…, age1other…] }\n# before: tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n    - { recipient: age1other…, enc: \"…for other…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0\n# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }\n# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
        right: "# before: tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…] }\n# tenants/acme/secrets/warehouse_url.v1.sops.yaml\nwarehouse_url: { v1: \"ENC[…]\" }\nsops:\n  age:\n    - { recipient: age1acme…, enc: \"…for acme…\" }\n    - { recipient: age1recovery…, enc: \"…for recovery…\" }\n  lastmodified: \"2026-11-24T00:22:04Z\"\n  mac: ENC[…mac…]\n  version: 3.11.0"
    STATE_BACKWARDS = "K328" "state-backwards" Error, change
        what: "The state of a version goes back."
        why: "States only move forward: a revoked version never returns, whatever a commit says."
        wrong: "# before: tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: revoked }] }\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }] }"
        right: "# before: tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: pending }] }\n# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { versions: [{ id: v1, state: current }] }"
    KNOWN_SINCE_LEAK = "K329" "known-since-leak" Warning
        what: "The current version of a secret was made before an identity that opens it leaked."
        why: "Whoever holds that identity reads what Git's history holds, this value among it. `rekey --leaked` writes `leaked_at`; a newer version ends the warning."
        wrong: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { leaked_at: 2026-02-01T09:00:00Z, versions: [{ id: v1, state: current, created: 2026-01-01T00:00:00Z }] }"
        right: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { leaked_at: 2026-02-01T09:00:00Z, versions: [{ id: v1, state: current, created: 2026-02-02T00:00:00Z }] }"
    ALERT_NOT_SENT = "K330" "alert-not-sent" Warning
        what: "A secret is for alerts, which this version does not send."
        why: "Routes are read and checked, and nothing calls them: whoever relies on the alert waits for nothing, and the value stands in Git for nobody."
        wrong: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { use: [step, alert], versions: [{ id: v1, state: current }] }"
        right: "# tenants/acme/secrets.yaml\nsecrets:\n  warehouse_url: { use: [step], versions: [{ id: v1, state: current }] }"
    NOT_SEARCHED = "K331" "not-searched" Warning
        what: "A file is too large to be searched for keys and tokens."
        why: "What stands in a repository stands in every clone of it. Files of up to 16 MiB are searched, and 64 MiB of a tenant's files of more than 1 MiB together."
        wrong: "# tenants/acme/scripts/data.csv, 20 MiB of data\nid,name"
        right: "# tenants/acme/scripts/data.csv\nid,name"
}
