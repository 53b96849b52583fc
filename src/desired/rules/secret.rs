//! K: the index of secrets and the encrypted files, judged without any key.

use super::family;

family! {
    UNDECLARED_SECRET = "K301" "undeclared-secret" Error
        what: "A step asks for a secret that the tenant's secrets.yaml does not list."
        why: "A step can only get what its own tenant has."
        wrong: "secrets: [stripe_key]"
        right: "secrets: [stripe_api_key]"
    UNUSED_SECRET = "K302" "unused-secret" Warning
        what: "No workflow uses a secret."
        why: "A credential that nobody needs can only leak."
        wrong: "secrets: { old_token: { versions: [{ id: v1, state: current }] } }"
        right: "secrets: {}"
    NOT_ENCRYPTED = "K303" "not-encrypted" Error
        what: "A file of secrets is not a SOPS file."
        why: "Its content stands readable in Git's history for ever. Take the value for leaked and make a new one."
        wrong: "stripe_api_key: { v1: (the value itself) }"
        right: "stripe_api_key: { v1: ENC[AES256_GCM,…] }"
    PLAINTEXT_VALUE = "K304" "plaintext-value" Error
        what: "A value of a SOPS file is not encrypted."
        why: "It stands readable in Git's history for ever. Take the value for leaked and make a new one."
        wrong: "stripe_api_key: { v1: (the value itself) }\nsops: { … }"
        right: "stripe_api_key: { v1: ENC[AES256_GCM,…] }\nsops: { … }"
    EXTRA_RECIPIENT = "K305" "extra-recipient" Error
        what: "A SOPS file names a recipient that is neither the tenant's nor the platform's recovery key."
        why: "Whoever holds that key reads the secret."
        wrong: "a recipient that tenant.yaml does not list"
        right: "sops updatekeys, with exactly the recipients of tenant.yaml and tenantry.toml"
    MISSING_RECIPIENT = "K306" "missing-recipient" Error
        what: "A SOPS file lacks a recipient of the tenant, or the platform's recovery key."
        why: "Who should open it cannot: the tenant's runs, or the recovery after a lost key."
        wrong: "only the tenant's key"
        right: "the tenant's key and the platform's recovery key"
    HIDDEN_STANZA = "K307" "hidden-stanza" Error
        what: "An entry of a SOPS file wraps its data key for more or other readers than it names."
        why: "sops does not check it: a second stanza lets somebody read the secret whom no review has seen."
        wrong: "one `recipient:` whose `enc:` has two stanzas"
        right: "one stanza for each named recipient"
    BAD_METADATA = "K308" "bad-metadata" Error
        what: "A SOPS file has no usable `mac` or `lastmodified`, or metadata that cannot be read."
        why: "Without them nobody can tell whether values were exchanged or removed."
        wrong: "sops: { age: […] }"
        right: "sops: { age: […], lastmodified: \"…\", mac: ENC[…] }"
    INDEX_DISAGREES = "K309" "index-disagrees" Error
        what: "secrets.yaml lists a version whose file does not exist or does not hold it."
        why: "A step that asks for it would get nothing."
        wrong: "version v3, and no file secrets/stripe_api_key.v3.sops.yaml"
        right: "tenantry secrets set acme/stripe_api_key"
    TWO_CURRENT = "K310" "two-current-versions" Error
        what: "A secret has two current versions, or one version twice."
        why: "Which of them a step gets would be chance."
        wrong: "versions: [{ id: v2, state: current }, { id: v1, state: current }]"
        right: "versions: [{ id: v2, state: current }, { id: v1, state: previous, accept_until: 2026-12-01T00:00:00Z }]"
    NO_CURRENT = "K311" "no-current-version" Error
        what: "A secret that steps use has no current version."
        why: "The steps could only fail. After a revocation this is a warning, since revoking must never wait."
        wrong: "versions: [{ id: v1, state: pending }]"
        right: "versions: [{ id: v1, state: current }]"
    SHARED_RECIPIENT = "K312" "shared-recipient" Warning
        what: "Two tenants name the same recipient."
        why: "Whoever holds that key reads the secrets of both: they are not isolated from each other."
        wrong: "one age1… in tenants/acme and in tenants/globex"
        right: "a key of its own for each tenant: tenantry secrets init"
    PRIVATE_KEY = "K313" "private-key" Error
        what: "A private key stands in the repository."
        why: "Everybody who can clone has it, now and from the history. Take it for leaked."
        wrong: "AGE-SECRET-KEY-1…, or a PEM block with PRIVATE KEY"
        right: "the public half: age1…"
    REFUSED_KEY = "K314" "refused-key" Error
        what: "A SOPS file can be opened by something other than an age X25519 or ssh-ed25519 key, or has several key groups."
        why: "PGP, cloud key services and plugins widen who can read it to places that nobody here reviews."
        wrong: "sops: { kms: [{ arn: … }] }"
        right: "sops: { age: [{ recipient: age1… }] }"
    UNINDEXED_FILE = "K315" "unindexed-file" Error
        what: "A file below `secrets/` is listed by no version of secrets.yaml."
        why: "Nobody could tell who owns it, whether it is in use or when it should go."
        wrong: "secrets/old_token.v1.sops.yaml alone"
        right: "remove it, or list the version"
    WRONG_PURPOSE = "K316" "wrong-purpose" Error
        what: "A secret is used for something that its `use` does not name."
        why: "It is opened for nothing else."
        wrong: "use: [webhook], and a step that asks for it"
        right: "use: [step, webhook]"
    BAD_RECIPIENT = "K317" "bad-recipient" Error
        what: "A recipient is not the public half of an age X25519 or ssh-ed25519 key, or stands twice."
        why: "Files could not be encrypted to it."
        wrong: "recipients: [age1abc]"
        right: "recipients: [age1wz553qwvhqpufqc4hw46ymd2n20hdk7kxvujyym9rpqr6t4pj5yschzdqe]"
    NO_RECIPIENTS = "K318" "no-recipients" Error
        what: "A tenant has secrets and no recipients."
        why: "Nobody could open them."
        wrong: "owner: alice"
        right: "owner: alice\nsecrets: { recipients: [age1…] }"
    NOT_REDACTED = "K319" "not-redacted" Warning
        what: "A secret is marked `redact: false`."
        why: "Its value may appear in logs and outputs."
        wrong: "pin: { redact: false, versions: […] }"
        right: "pin: { versions: […] }"
    SIGNING_KEY_AS_RECIPIENT = "K320" "signing-key-as-recipient" Error
        what: "A recipient is a key that signs for a person of people.yaml."
        why: "A key in use for one thing should not be exposed by another; a leaked one would give both."
        wrong: "recipients: [ssh-ed25519 AAAA…] with the same key in people.yaml"
        right: "recipients: [age1…]"
    BAD_VERSION = "K321" "bad-version" Error
        what: "A version lacks the end that its state needs, or has one that its state does not."
        why: "`previous` ends at `accept_until`; without it an old credential would be accepted for ever."
        wrong: "{ id: v1, state: previous }"
        right: "{ id: v1, state: previous, accept_until: 2026-12-01T00:00:00Z }"
}
