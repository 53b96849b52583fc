//! S: which fields a file has and what stands in them.

use super::family;

family! {
    UNKNOWN_FIELD = "S101" "unknown-field" Error
        what: "A mapping has a field that its file does not know."
        why: "A misspelled field would leave its default in force without a word."
        wrong: "run: scripts/pull.py\ntimout: 5m"
        right: "run: scripts/pull.py\ntimeout: 5m"
    MISSING_FIELD = "S102" "missing-field" Error
        what: "A field that has no default is missing."
        why: "Nothing could be assumed in its place."
        wrong: "# tenants/acme/tenant.yaml\nkind: customer"
        right: "# tenants/acme/tenant.yaml\nkind: customer\nowner: group:acme-owners"
    WRONG_TYPE = "S103" "wrong-type" Error
        what: "A value is of another type than its field."
        why: "The message says how the value was read, which is often not what its writer meant."
        wrong: "run: scripts/pull.py\nargs: [--port, 8080]"
        right: "run: scripts/pull.py\nargs: [--port, \"8080\"]"
    UNKNOWN_WORD = "S104" "unknown-word" Error
        what: "A field that takes one of a few words has another."
        why: "The words are a closed list."
        wrong: "run: scripts/pull.py\nalert: pager"
        right: "run: scripts/pull.py\nalert: page"
    MISSING_UNIT = "S105" "missing-unit" Error
        what: "A length of time or a size has no unit."
        why: "`timeout: 30` is half a minute to one reader and half an hour to the next. `validate --fix` takes it for seconds, as sleep, systemd and Kubernetes do, and says so."
        wrong: "run: scripts/pull.py\ntimeout: 30"
        right: "run: scripts/pull.py\ntimeout: 30s"
    BAD_NAME = "S106" "bad-name" Error
        what: "A name holds a character that its kind of name does not have, is too long or reserved."
        why: "Names become paths, keys and metric labels; those that look alike but differ are refused with the rest."
        wrong: "# tenants/acme/workflows/Sync.yaml\nrun: scripts/pull.py"
        right: "# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
    UNSUPPORTED_FORMAT = "S107" "unsupported-format" Error
        what: "tenantry.toml has no `format = 1`."
        why: "A later format changes the meaning of files, so it is never guessed."
        wrong: "# tenantry.toml\nformat = 2\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"northwind\""
        right: "# tenantry.toml\nformat = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"northwind\""
    BAD_VALUE = "S108" "bad-value" Error
        what: "A value has the right type and cannot be what its field holds."
        why: "It is refused where it is written, not where it would fail later."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\negress: [api.stripe.com]"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\negress: [api.stripe.com:443]"
    CONFLICTING_FIELDS = "S109" "conflicting-fields" Error
        what: "Two fields stand together that exclude each other, or one that needs another stands alone."
        why: "Only one of them could be meant."
        wrong: "run: scripts/pull.py\nscript: echo pull"
        right: "run: scripts/pull.py"
    MISSING_FILE = "S110" "missing-file" Error
        what: "A file that must exist does not."
        why: "A tenant without tenant.yaml has no owner, a repository without tenantry.toml no limits."
        wrong: "# tenants/acme/tenant.yaml, removed"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners"
    NOT_SUPPORTED = "S111" "not-supported-yet" Error
        what: "The file asks for something that this version cannot do."
        why: "It is refused, since ignoring it would pretend that it is in force."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nisolation: hard"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nisolation: soft"
    RENAMED_FIELD = "S112" "renamed-field" Error
        what: "A field has a name that it had in a draft or has in other programs."
        why: "Only one spelling is read: two would let a file say the same thing twice and mean it differently. `validate --fix` writes the name that is read."
        wrong: "steps:\n  pull: { run: scripts/pull.py }\n  load: { depends_on: [pull], run: scripts/load.sh }"
        right: "steps:\n  pull: { run: scripts/pull.py }\n  load: { needs: [pull], run: scripts/load.sh }"
    CONFUSABLE_NAME = "S113" "confusable-name" Warning
        what: "Two names of one kind look alike: they differ only in `0` and `o`, `1` and `l`, `rn` and `m`, `vv` and `w`, or `-` and `_`."
        why: "A reviewer takes one for the other, and a right or a secret goes where nobody meant it to."
        wrong: "# platform/people.yaml\nusers: { alice: {}, bob: {}, carol: {}, caro1: {} }\ngroups: { acme-owners: [alice], acme-ops: [alice, bob], compliance: [carol] }"
        right: "# platform/people.yaml\nusers: { alice: {}, bob: {}, carol: {}, caroline: {} }\ngroups: { acme-owners: [alice], acme-ops: [alice, bob], compliance: [carol] }"
}
