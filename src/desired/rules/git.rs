//! G: Git's own traps, and what the platform allows a tenant.

use super::family;

family! {
    CASE_COLLISION = "G501" "case-collision" Error
        what: "Two paths differ only in the case of their letters."
        why: "On a file system that folds case one of them disappears."
        wrong: "scripts/Load.sh\nscripts/load.sh"
        right: "scripts/load.sh"
    EXECUTABLE_DATA = "G502" "executable-data" Warning
        what: "A file of configuration or secrets has the executable bit."
        why: "It is never run; the bit came by accident and shows as a change in every review."
        wrong: "100755 tenants/acme/tenant.yaml"
        right: "100644 tenants/acme/tenant.yaml"
    LIMIT_ABOVE_CEILING = "G503" "limit-above-ceiling" Error
        what: "A tenant sets a limit above the platform's."
        why: "No tenant can raise what the platform caps; a lower value in force than the one written would mislead."
        wrong: "# tenantry.toml: run_timeout = \"6h\"\nlimits: { run_timeout: 12h }"
        right: "limits: { run_timeout: 6h }"
    RETENTION_BELOW_FLOOR = "G504" "retention-below-floor" Error
        what: "A tenant keeps something for a shorter time than the platform demands."
        why: "Records that the platform promises to auditors would be gone."
        wrong: "# tenantry.toml: runs = \"90d\"\nretention: { runs: 30d }"
        right: "retention: { runs: 90d }"
    TREE_TRUNCATED = "G505" "tree-truncated" Error
        what: "The directory has more files or bytes than are read."
        why: "What was not read must not be taken for deleted, so nothing of it is applied."
        wrong: "tenants/acme/ with 100,000 files"
        right: "tenants/acme/ with what its workflows need"
    PATH_NOT_UTF8 = "G506" "path-not-utf-8" Error
        what: "The name of a file is not UTF-8."
        why: "It could not be written into a plan, a record or a sandbox without change."
        wrong: "scripts/caf\\xe9.sh"
        right: "scripts/cafe.sh"
    LINK = "G507" "link" Error
        what: "An entry is a symbolic link or a submodule."
        why: "A link can point out of the tenant, a submodule to code that no commit here contains."
        wrong: "120000 tenants/acme/scripts/load.sh"
        right: "100755 tenants/acme/scripts/load.sh"
}
