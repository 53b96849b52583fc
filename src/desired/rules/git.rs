//! G: Git's own traps, and what the platform allows a tenant.

use super::family;

family! {
    CASE_COLLISION = "G501" "case-collision" Error
        what: "Two paths differ only in the case of their letters."
        why: "On a file system that folds case one of them disappears."
        wrong: "# tenants/acme/scripts/Load.sh, executable\n#!/bin/sh\n# tenants/acme/scripts/load.sh, executable\n#!/bin/sh"
        right: "# tenants/acme/scripts/load.sh, executable\n#!/bin/sh"
    EXECUTABLE_DATA = "G502" "executable-data" Warning
        what: "A file of configuration or secrets has the executable bit."
        why: "It is never run; the bit came by accident and shows as a change in every review."
        wrong: "# tenants/acme/tenant.yaml, executable\nowner: group:acme-owners"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners"
    LIMIT_ABOVE_CEILING = "G503" "limit-above-ceiling" Error
        what: "A tenant sets a limit above the platform's."
        why: "No tenant can raise what the platform caps; a lower value in force than the one written would mislead."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nlimits: { run_timeout: 12h } # tenantry.toml: run_timeout = \"6h\""
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nlimits: { run_timeout: 6h }"
    RETENTION_BELOW_FLOOR = "G504" "retention-below-floor" Error
        what: "A tenant keeps something for a shorter time than the platform demands."
        why: "Records that the platform promises to auditors would be gone."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nretention: { runs: 30d } # tenantry.toml: runs = \"90d\""
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nretention: { runs: 90d }"
    TREE_TRUNCATED = "G505" "tree-truncated" Error
        what: "The directory has more files or bytes than are read."
        why: "What was not read must not be taken for deleted, so nothing of it is applied."
        wrong: "# tenants/acme/scripts/data, more files than are read"
        right: "# tenants/acme/scripts/data.csv\na,b"
    PATH_NOT_UTF8 = "G506" "path-not-utf-8" Error
        what: "The name of a file is not UTF-8."
        why: "It could not be written into a plan, a record or a sandbox without change."
        wrong: "# tenants/acme/scripts/caf\\xe9.sh, executable\n#!/bin/sh"
        right: "# tenants/acme/scripts/cafe.sh, executable\n#!/bin/sh"
    LINK = "G507" "link" Error
        what: "An entry is a symbolic link or a submodule."
        why: "A link can point out of the tenant, a submodule to code that no commit here contains."
        wrong: "# tenants/acme/scripts/load.sh, a link\n../../globex/scripts/load.sh"
        right: "# tenants/acme/scripts/load.sh, executable\n#!/bin/sh"
    ALERT_ROUTE = "G508" "alert-route" Error
        what: "An alert route cannot work: its secret does not exist or is not for alerts, its address is none, or the platform has no way there."
        why: "An alert that reaches nobody is worse than none: everybody believes that somebody knows."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nalerts: { routes: [{ slack: { webhook: { secret: slack_webhook } } }] }"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nalerts: { routes: [{ alertmanager: \"https://alerts.acme.example:9093\" }] }"
    AUTHOR_WITHOUT_ROLE = "G509" "author-without-role" Warning, change
        what: "The author of a change has no role in a tenant that it touches."
        why: "Anybody with a role may propose a change below a tenant's directory; what somebody else proposes is held until a person of that tenant takes it over."
        wrong: "# before: tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py\n# tenants/acme/workflows/sync.yaml, by dave\nrun: scripts/load.sh"
        right: "# before: tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py\n# tenants/acme/workflows/sync.yaml, by bob\nrun: scripts/load.sh"
    TENANT_REMOVED = "G510" "tenant-removed" Warning, change
        what: "A change removes a tenant's directory."
        why: "Its workflows, roles and secrets end with it, and a tenant of the same name begins anew. A platform admin agrees to it."
        wrong: "# before: tenants/globex/tenant.yaml\nowner: alice\n# before: tenants/globex/roles.yaml\noperator: [bob]\n# tenants/globex/tenant.yaml, removed\n# tenants/globex/roles.yaml, removed"
        right: "# before: tenants/globex/tenant.yaml\nowner: alice\n# before: tenants/globex/roles.yaml\noperator: [bob]\n# tenants/globex/tenant.yaml\nowner: alice\nsuspend: { reason: \"contract ended\" }"
    UNSIGNED = "G511" "unsigned" Warning, change
        what: "A commit of the change is not signed, or signed with a key that people.yaml does not have, where change control is `signed`."
        why: "Without a signature nobody knows whose change it is: each path needs one approver more."
        wrong: "# before: tenantry.toml\nformat = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"northwind\"\n[change_control]\nmode = \"signed\"\n# tenants/acme/workflows/sync.yaml, by an unsigned commit\nrun: scripts/load.sh"
        right: "# before: tenantry.toml\nformat = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"northwind\"\n[change_control]\nmode = \"open\"\n# tenants/acme/workflows/sync.yaml, by an unsigned commit\nrun: scripts/load.sh"
    WEAKER_TIER = "G512" "weaker-tier" Error
        what: "A tenant or a step asks for a weaker tier than the platform or its tenant demands."
        why: "It may ask for stronger walls around its steps, never for weaker ones; what is written would mislead about those in force."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nlimits: { tier: sandbox }\n# tenants/acme/workflows/sync.yaml\nrun: scripts/load.sh\nresources: { tier: bubblewrap }"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nlimits: { tier: sandbox }\n# tenants/acme/workflows/sync.yaml\nrun: scripts/load.sh"
}
