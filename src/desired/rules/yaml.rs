//! Y: what a file is before it means anything.

use super::family;

family! {
    SYNTAX = "Y001" "syntax" Error
        what: "The text is not YAML (or, for tenantry.toml, not TOML)."
        why: "A reader that guesses what was meant applies what nobody wrote."
        wrong: "run: scripts/pull.py\nargs: [--all, --fast"
        right: "run: scripts/pull.py\nargs: [--all, --fast]"
    TAB = "Y002" "tab-indentation" Error
        what: "A tab stands in the indentation."
        why: "YAML forbids it, since editors disagree on how far a tab indents."
        wrong: "steps:\n\tload: { run: scripts/load.sh }"
        right: "steps:\n  load: { run: scripts/load.sh }"
    DUPLICATE_KEY = "Y003" "duplicate-key" Error
        what: "A mapping has the same key twice."
        why: "Most readers take the last one without a word, so a reviewer and the machine read different files."
        wrong: "run: scripts/pull.py\ntimeout: 5m\ntimeout: 50m"
        right: "run: scripts/pull.py\ntimeout: 5m"
    AMBIGUOUS_SCALAR = "Y004" "ambiguous-scalar" Error
        what: "A plain scalar reads as one thing to some YAML readers and as another to others."
        why: "`no` is a text here and false elsewhere, `014` is 14 or 12, `22:22` is a text or 1342, `1e3` a number or a text, and `3.10` loses its zero."
        wrong: "run: scripts/pull.py\nargs: [no, 22:22, 3.10, 1e3, 014]"
        right: "run: scripts/pull.py\nargs: [\"no\", \"22:22\", \"3.10\", \"1e3\", \"014\"]"
    TOO_MANY_ALIASES = "Y005" "alias-budget" Error
        what: "The file uses more aliases than a configuration needs."
        why: "A few lines of aliases can stand for gigabytes."
        wrong: "# tenants/acme/workflows/sync.yaml, last line 120 times\nrun: scripts/pull.py\ndescription: &a nightly\nargs:\n- *a"
        right: "run: scripts/pull.py\ndescription: nightly\nargs: [nightly]"
    SEVERAL_DOCUMENTS = "Y006" "several-documents" Error
        what: "The file holds several YAML documents, or none."
        why: "One file says one thing; what stands behind `---` is easily missed in a review."
        wrong: "run: scripts/pull.py\n---\nrun: scripts/load.sh"
        right: "run: scripts/pull.py"
    CUSTOM_TAG = "Y007" "custom-tag" Error
        what: "A value carries a tag that is not one of YAML's own."
        why: "Such tags name types of some program; here they would mean nothing."
        wrong: "run: !script scripts/pull.py"
        right: "run: scripts/pull.py"
    MERGE_KEY = "Y008" "merge-key" Error
        what: "The merge key `<<` stands in a mapping."
        why: "It is no part of YAML 1.2 and hides which fields a mapping has."
        wrong: "steps:\n  pull: &all { run: scripts/pull.py, timeout: 5m }\n  load: { <<: *all, run: scripts/load.sh }"
        right: "steps:\n  pull: { run: scripts/pull.py, timeout: 5m }\n  load: { run: scripts/load.sh, timeout: 5m }"
    NOT_UTF8 = "Y009" "not-utf-8" Error
        what: "The file is not UTF-8."
        why: "Its text would depend on who reads it."
        wrong: "description: caf\\xe9\nrun: scripts/pull.py"
        right: "description: café\nrun: scripts/pull.py"
    BYTE_ORDER_MARK = "Y010" "byte-order-mark" Error
        what: "The file starts with a byte order mark."
        why: "It is invisible, and some readers take it for a part of the first key."
        wrong: "\\u{feff}run: scripts/pull.py"
        right: "run: scripts/pull.py"
    CONTROL_CHARACTER = "Y011" "control-character" Error
        what: "The file holds NUL or another control character."
        why: "It is invisible in a review and can hide or move text in a terminal."
        wrong: "description: \"clean\\u{1b}[2K\"\nrun: scripts/pull.py"
        right: "description: clean\nrun: scripts/pull.py"
    BIDI_CONTROL = "Y012" "bidirectional-control" Error
        what: "The file holds a character that changes the order in which text is shown."
        why: "A reviewer would read another text than the machine does (CVE-2021-42574)."
        wrong: "run: scripts/\\u{202e}yp.llup"
        right: "run: scripts/pull.py"
    TOO_LARGE = "Y013" "too-large" Error
        what: "The file has more than 1 MiB, or 4 MiB for a secret file."
        why: "Nobody reviews such a configuration, and reading it would slow down everybody else."
        wrong: "# tenants/acme/workflows/sync.yaml, last line 50000 times\nrun: scripts/pull.py\n# data that belongs below scripts/"
        right: "run: scripts/pull.py"
    TOO_DEEP = "Y014" "too-deep" Error
        what: "The file nests deeper than 64 levels."
        why: "No field of tenantry needs it; such files are made to exhaust a reader."
        wrong: "run: scripts/pull.py\nargs: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
        right: "run: scripts/pull.py\nargs: []"
    CONFLICT_MARKER = "Y015" "conflict-marker" Error
        what: "A marker of an unresolved merge stands in the file."
        why: "Both sides of the merge are still there; a script with one would end in its middle."
        wrong: "run: scripts/pull.py\n<<<<<<< HEAD\ntimeout: 5m\n=======\ntimeout: 50m\n>>>>>>> topic"
        right: "run: scripts/pull.py\ntimeout: 5m"
    YML_EXTENSION = "Y016" "yml-extension" Error
        what: "A file ends in `.yml`."
        why: "Only `.yaml` is read: two spellings would let two files claim one name."
        wrong: "# tenants/acme/workflows/sync.yml\nrun: scripts/pull.py"
        right: "# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
    UNKNOWN_PLACE = "Y017" "unknown-place" Error
        what: "A file lies where nothing is read."
        why: "Where a file lies says what it is; one that is silently skipped looks as if it were in force."
        wrong: "# tenants/acme/workflow/sync.yaml\nrun: scripts/pull.py"
        right: "# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
    TOO_MANY_VALUES = "Y018" "too-many-values" Error
        what: "The file, its aliases expanded, holds more values or bytes than a configuration needs."
        why: "A few lines can stand for gigabytes."
        wrong: "a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\nargs: [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]"
        right: "run: scripts/pull.py\nargs: [x, x]"
    BAD_SUPPRESSION = "Y019" "bad-suppression" Warning
        what: "An `ignore` comment has no reason, names no rule or one that cannot be ignored, or finds nothing to ignore."
        why: "A warning is set aside for a reason that the next reader can judge; an error is never set aside, and a comment that does nothing hides what comes later."
        wrong: "run: scripts/pull.py\ntimeout: 5m # tenantry: ignore[W203] the upstream is slow by contract"
        right: "run: scripts/pull.py\ntimeout: 5m\nretry: { attempts: 9, backoff: 1m } # tenantry: ignore[W203] the upstream is slow by contract"
    HIDDEN_CHARACTER = "Y020" "hidden-character" Warning
        what: "A file holds a character that shows nothing, or a script one that changes the order in which text is shown."
        why: "Two names that differ only in such a character look alike, and a script that is reviewed is not the script that runs (CVE-2021-42574)."
        wrong: "# tenants/acme/scripts/load.sh, executable\n#!/bin/sh\nif [ \"$role\" != \"user\\u{202e} \\u{2066}# admins only\\u{2069} \\u{2066}\" ]; then psql; fi"
        right: "# tenants/acme/scripts/load.sh, executable\n#!/bin/sh\nif [ \"$role\" != \"user\" ]; then psql; fi"
}
