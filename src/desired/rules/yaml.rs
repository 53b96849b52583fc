//! Y: what a file is before it means anything.

use super::family;

family! {
    SYNTAX = "Y001" "syntax" Error
        what: "The text is not YAML (or, for tenantry.toml, not TOML)."
        why: "A reader that guesses what was meant applies what nobody wrote."
        wrong: "steps:\n  load: [a, b"
        right: "steps:\n  load: [a, b]"
    TAB = "Y002" "tab-indentation" Error
        what: "A tab stands in the indentation."
        why: "YAML forbids it, since editors disagree on how far a tab indents."
        wrong: "steps:\n\tload: {}"
        right: "steps:\n  load: {}"
    DUPLICATE_KEY = "Y003" "duplicate-key" Error
        what: "A mapping has the same key twice."
        why: "Most readers take the last one without a word, so a reviewer and the machine read different files."
        wrong: "timeout: 5m\ntimeout: 5h"
        right: "timeout: 5m"
    AMBIGUOUS_SCALAR = "Y004" "ambiguous-scalar" Error
        what: "A plain scalar reads as one thing to some YAML readers and as another to others."
        why: "`no` is a text here and false elsewhere, `014` is 14 or 12, `22:22` is a text or 1342, and `3.10` loses its zero."
        wrong: "environment: no"
        right: "environment: \"no\""
    TOO_MANY_ALIASES = "Y005" "alias-budget" Error
        what: "The file uses more aliases than a configuration needs."
        why: "A few lines of aliases can stand for gigabytes."
        wrong: "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]   # and so on"
        right: "a: [x, x]"
    SEVERAL_DOCUMENTS = "Y006" "several-documents" Error
        what: "The file holds several YAML documents, or none."
        why: "One file says one thing; what stands behind `---` is easily missed in a review."
        wrong: "run: a.sh\n---\nrun: b.sh"
        right: "run: a.sh"
    CUSTOM_TAG = "Y007" "custom-tag" Error
        what: "A value carries a tag that is not one of YAML's own."
        why: "Such tags name types of some program; here they would mean nothing."
        wrong: "owner: !person alice"
        right: "owner: alice"
    MERGE_KEY = "Y008" "merge-key" Error
        what: "The merge key `<<` stands in a mapping."
        why: "It is no part of YAML 1.2 and hides which fields a mapping has."
        wrong: "load: { <<: *defaults, run: a.sh }"
        right: "load: { timeout: 5m, run: a.sh }"
    NOT_UTF8 = "Y009" "not-utf-8" Error
        what: "The file is not UTF-8."
        why: "Its text would depend on who reads it."
        wrong: "description: caf\\xe9"
        right: "description: café"
    BYTE_ORDER_MARK = "Y010" "byte-order-mark" Error
        what: "The file starts with a byte order mark."
        why: "It is invisible, and some readers take it for a part of the first key."
        wrong: "\\u{feff}run: a.sh"
        right: "run: a.sh"
    CONTROL_CHARACTER = "Y011" "control-character" Error
        what: "The file holds NUL or another control character."
        why: "It is invisible in a review and can hide or move text in a terminal."
        wrong: "description: a\\u{0}b"
        right: "description: ab"
    BIDI_CONTROL = "Y012" "bidirectional-control" Error
        what: "The file holds a character that changes the order in which text is shown."
        why: "A reviewer would read another text than the machine does (CVE-2021-42574)."
        wrong: "run: \\u{202e}hs.a"
        right: "run: a.sh"
    TOO_LARGE = "Y013" "too-large" Error
        what: "The file has more than 1 MiB, or 4 MiB for a secret file."
        why: "Nobody reviews such a configuration, and reading it would slow down everybody else."
        wrong: "a workflow of 50 MB"
        right: "data in `scripts/`, configuration in a file of its own"
    TOO_DEEP = "Y014" "too-deep" Error
        what: "The file nests deeper than 64 levels."
        why: "No field of tenantry needs it; such files are made to exhaust a reader."
        wrong: "a: [[[[[[ … ]]]]]]"
        right: "a: []"
    CONFLICT_MARKER = "Y015" "conflict-marker" Error
        what: "A marker of an unresolved merge stands in the file."
        why: "Both sides of the merge are still there."
        wrong: "<<<<<<< HEAD\ntimeout: 5m\n=======\ntimeout: 5h\n>>>>>>> topic"
        right: "timeout: 5m"
    YML_EXTENSION = "Y016" "yml-extension" Error
        what: "A file ends in `.yml`."
        why: "Only `.yaml` is read: two spellings would let two files claim one name."
        wrong: "tenants/acme/workflows/sync.yml"
        right: "tenants/acme/workflows/sync.yaml"
    UNKNOWN_PLACE = "Y017" "unknown-place" Error
        what: "A file lies where nothing is read."
        why: "Where a file lies says what it is; one that is silently skipped looks as if it were in force."
        wrong: "tenants/acme/workflow/sync.yaml"
        right: "tenants/acme/workflows/sync.yaml"
    TOO_MANY_VALUES = "Y018" "too-many-values" Error
        what: "The file, its aliases expanded, holds more values or bytes than a configuration needs."
        why: "A few lines can stand for gigabytes."
        wrong: "a: &a [x, x, x]\nb: &b [*a, *a, *a]   # and so on"
        right: "a: [x, x, x]"
    BAD_SUPPRESSION = "Y019" "bad-suppression" Warning
        what: "An `ignore` comment has no reason, names no rule, or names one that cannot be ignored."
        why: "A warning is set aside for a reason that the next reader can judge; an error is never set aside."
        wrong: "# tenantry: ignore[W203]"
        right: "# tenantry: ignore[W203] the upstream is slow by contract"
}
