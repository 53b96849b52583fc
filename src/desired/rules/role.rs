//! R: who may do what, until when.

use super::family;

family! {
    UNKNOWN_PRINCIPAL = "R401" "unknown-principal" Error
        what: "A user, group or service does not stand in platform/people.yaml."
        why: "A right for somebody unknown would go to whoever takes the name later."
        wrong: "# tenants/acme/roles.yaml\noperator: [alicia]"
        right: "# tenants/acme/roles.yaml\noperator: [alice]"
    UNKNOWN_ROLE = "R402" "unknown-role" Error
        what: "A role is not one of operator, developer and auditor."
        why: "Roles are a closed list; each action says which of them may."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nreader: [bob]"
        right: "# tenants/acme/roles.yaml\noperator: [alice]\nauditor: [bob]"
    ELEVATION_WITHOUT_END = "R403" "elevation-without-end" Error
        what: "An elevation has neither `for` and `ask_until` nor `from` and `until`."
        why: "An elevation is a right with an end; without one it is a grant and belongs to the grants."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: inc-42, user: bob, role: operator, reason: INC-42 }"
        right: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: inc-42, user: bob, role: operator, for: 2h, ask_until: 2026-11-23T14:00:00Z, reason: INC-42 }"
    ELEVATION_TOO_LONG = "R404" "elevation-too-long" Error
        what: "An elevation lasts longer than `limits.elevation_max` of tenantry.toml, or 8 hours."
        why: "A long elevation is a grant that nobody reviews again."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: inc-42, user: bob, role: operator, for: 30d, ask_until: 2026-11-23T14:00:00Z, reason: INC-42 }"
        right: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: inc-42, user: bob, role: operator, for: 2h, ask_until: 2026-11-23T14:00:00Z, reason: INC-42 }"
    ELEVATION_INVERTED = "R405" "elevation-inverted" Error
        what: "An elevation ends before it begins."
        why: "It would never count, and its writer means it to."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: move, user: bob, role: operator, from: 2026-12-05T23:00:00Z, until: 2026-12-05T20:00:00Z, reason: move }"
        right: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: move, user: bob, role: operator, from: 2026-12-05T20:00:00Z, until: 2026-12-05T23:00:00Z, reason: move }"
    TIME_WITHOUT_ZONE = "R406" "time-without-zone" Error
        what: "A time has no zone."
        why: "It would be another instant for each reader."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: move, user: bob, role: operator, from: 2026-12-05T20:00:00Z, until: 2026-12-05T23:00:00, reason: move }"
        right: "# tenants/acme/roles.yaml\noperator: [alice]\nelevations:\n  - { id: move, user: bob, role: operator, from: 2026-12-05T20:00:00Z, until: 2026-12-05T23:00:00Z, reason: move }"
    NOBODY_IN_CHARGE = "R407" "nobody-in-charge" Warning
        what: "A tenant has no operator, or an owner that is an empty group."
        why: "Nobody could start, cancel or agree to anything there."
        wrong: "# tenants/acme/roles.yaml\ndeveloper: [bob]"
        right: "# tenants/acme/roles.yaml\noperator: [alice]\ndeveloper: [bob]"
    DUPLICATE_GRANT = "R408" "duplicate-grant" Error
        what: "A role names the same principal twice, or two elevations have one id."
        why: "Whoever takes one of them away believes that the right has ended."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice, user:alice]"
        right: "# tenants/acme/roles.yaml\noperator: [alice]"
    WILDCARD = "R409" "wildcard-principal" Error
        what: "A principal is a wildcard."
        why: "Who has a right must be known from the commit alone."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nauditor: [\"*\"]"
        right: "# tenants/acme/roles.yaml\noperator: [alice]\nauditor: [group:compliance]"
    ADMIN_IN_TENANT = "R410" "admin-in-tenant" Error
        what: "A tenant's roles name a platform admin's role."
        why: "Admins stand in platform/roles.yaml only and have no role in a tenant by being admin."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nadmin: [bob]"
        right: "# tenants/acme/roles.yaml\noperator: [alice, bob]"
    OWNER_AS_ROLE = "R411" "owner-as-role" Error
        what: "roles.yaml gives the role of owner."
        why: "The owner agrees to changes of access and stands in tenant.yaml alone, in one place."
        wrong: "# tenants/acme/roles.yaml\noperator: [alice]\nowner: [bob]"
        right: "# tenants/acme/tenant.yaml\nowner: bob"
    SERVICE_IN_CHARGE = "R412" "service-in-charge" Error
        what: "A service is named where a person has to decide."
        why: "Services never approve, so a service cannot own a tenant or administer the platform."
        wrong: "# tenants/acme/tenant.yaml\nowner: service:ci-bot"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners"
    POLICY_PERMITS = "R413" "policy-permits" Error
        what: "A policy has a `permit`."
        why: "Policies only forbid: what a role gives stands in one place, and a policy can take away, never give."
        wrong: "# tenants/acme/policies/night.cedar\npermit (principal, action, resource);"
        right: "# tenants/acme/roles.yaml\noperator: [alice]"
    SELF_APPROVAL = "R414" "self-approval" Warning, change
        what: "A change gives its author a right, or agrees to what only its author may agree to."
        why: "Nobody agrees to a right of his own: somebody else has to, or the change is held."
        wrong: "# before: tenants/acme/tenant.yaml\nowner: alice\n# before: tenants/acme/roles.yaml\noperator: [bob]\n# tenants/acme/roles.yaml, by alice\noperator: [bob, alice]"
        right: "# before: tenants/acme/tenant.yaml\nowner: group:acme-owners\n# before: tenants/acme/roles.yaml\noperator: [bob]\n# tenants/acme/roles.yaml, by bob\noperator: [bob]\nauditor: [carol]"
    NOBODY_COULD_APPROVE = "R415" "nobody-could-approve" Warning, change
        what: "A change needs the agreement of somebody, and nobody but its author could give it."
        why: "It would wait for ever. The help names the roles that lack a second person."
        wrong: "# before: tenants/acme/tenant.yaml\nowner: alice\n# before: tenants/acme/roles.yaml\noperator: [bob]\n# tenants/acme/roles.yaml, by alice\noperator: [bob]\nauditor: [carol]"
        right: "# before: tenants/acme/tenant.yaml\nowner: alice\n# before: tenants/acme/roles.yaml\noperator: [bob]\n# tenants/acme/roles.yaml, by bob\noperator: [bob]\nauditor: [carol]"
    AUTHORITY_IN_SAME_CHANGE = "R416" "authority-in-same-change" Warning, change
        what: "A change that needs agreement also gives somebody the role to agree."
        why: "Who agrees is judged by the roles before the change: a commit cannot appoint its own approver."
        wrong: "# before: tenants/acme/tenant.yaml\nowner: alice\n# before: tenants/acme/roles.yaml\noperator: [alice, dave]\n# tenants/acme/roles.yaml, by dave\noperator: [alice, dave, bob]\n# tenants/acme/tenant.yaml, by dave\nowner: alice\negress: [api.stripe.com:443]"
        right: "# before: tenants/acme/tenant.yaml\nowner: alice\n# before: tenants/acme/roles.yaml\noperator: [alice, dave]\n# tenants/acme/tenant.yaml, by dave\nowner: alice\negress: [api.stripe.com:443]"
}
