//! S: which fields a file has and what stands in them.

use super::family;

family! {
    UNKNOWN_FIELD = "S101" "unknown-field" Error
        what: "A mapping has a field that its file does not know."
        why: "A misspelled field would leave its default in force without a word."
        wrong: "timout: 5m"
        right: "timeout: 5m"
    MISSING_FIELD = "S102" "missing-field" Error
        what: "A field that has no default is missing."
        why: "Nothing could be assumed in its place."
        wrong: "kind: customer"
        right: "kind: customer\nowner: group:acme-owners"
    WRONG_TYPE = "S103" "wrong-type" Error
        what: "A value is of another type than its field."
        why: "The message says how the value was read, which is often not what its writer meant."
        wrong: "args: [8080]"
        right: "args: [\"8080\"]"
    UNKNOWN_WORD = "S104" "unknown-word" Error
        what: "A field that takes one of a few words has another."
        why: "The words are a closed list."
        wrong: "isolation: strong"
        right: "isolation: hard"
    MISSING_UNIT = "S105" "missing-unit" Error
        what: "A length of time or a size has no unit."
        why: "`timeout: 30` is half a minute to one reader and half an hour to the next."
        wrong: "timeout: 30"
        right: "timeout: 30m"
    BAD_NAME = "S106" "bad-name" Error
        what: "A name holds a character that its kind of name does not have, is too long or reserved."
        why: "Names become paths, keys and metric labels; those that look alike but differ are refused with the rest."
        wrong: "tenants/Acme/"
        right: "tenants/acme/"
    UNSUPPORTED_FORMAT = "S107" "unsupported-format" Error
        what: "tenantry.toml has no `format = 1`."
        why: "A later format changes the meaning of files, so it is never guessed."
        wrong: "format = 2"
        right: "format = 1"
    BAD_VALUE = "S108" "bad-value" Error
        what: "A value has the right type and cannot be what its field holds."
        why: "It is refused where it is written, not where it would fail later."
        wrong: "network: [api.stripe.com]"
        right: "network: [api.stripe.com:443]"
    CONFLICTING_FIELDS = "S109" "conflicting-fields" Error
        what: "Two fields stand together that exclude each other, or one that needs another stands alone."
        why: "Only one of them could be meant."
        wrong: "run: scripts/a.sh\nscript: echo a"
        right: "run: scripts/a.sh"
    MISSING_FILE = "S110" "missing-file" Error
        what: "A file that must exist does not."
        why: "A tenant without tenant.yaml has no owner, a repository without tenantry.toml no limits."
        wrong: "tenants/acme/workflows/sync.yaml alone"
        right: "tenants/acme/tenant.yaml with `owner:`"
    NOT_SUPPORTED = "S111" "not-supported-yet" Error
        what: "The file asks for something that this version cannot do."
        why: "It is refused, since ignoring it would pretend that it is in force."
        wrong: "isolation: hard"
        right: "isolation: soft"
}
