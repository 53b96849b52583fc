//! R: who may do what, until when.

use super::family;

family! {
    UNKNOWN_PRINCIPAL = "R401" "unknown-principal" Error
        what: "A user, group or service does not stand in platform/people.yaml."
        why: "A right for somebody unknown would go to whoever takes the name later."
        wrong: "operator: [alicia]"
        right: "operator: [alice]"
    UNKNOWN_ROLE = "R402" "unknown-role" Error
        what: "A role is not one of operator, developer and auditor."
        why: "Roles are a closed list; each action says which of them may."
        wrong: "reader: [bob]"
        right: "auditor: [bob]"
    ELEVATION_WITHOUT_END = "R403" "elevation-without-end" Error
        what: "An elevation has neither `for` and `ask_until` nor `from` and `until`."
        why: "An elevation is a right with an end; without one it is a grant and belongs to the grants."
        wrong: "- { id: inc-42, user: bob, role: operator, reason: INC-42 }"
        right: "- { id: inc-42, user: bob, role: operator, for: 2h, ask_until: 2026-11-23T14:00:00Z, reason: INC-42 }"
    ELEVATION_TOO_LONG = "R404" "elevation-too-long" Error
        what: "An elevation lasts longer than `limits.elevation_max` of tenantry.toml, or 8 hours."
        why: "A long elevation is a grant that nobody reviews again."
        wrong: "for: 30d"
        right: "for: 2h"
    ELEVATION_INVERTED = "R405" "elevation-inverted" Error
        what: "An elevation ends before it begins."
        why: "It would never count, and its writer means it to."
        wrong: "from: 2026-12-05T23:00:00Z\nuntil: 2026-12-05T20:00:00Z"
        right: "from: 2026-12-05T20:00:00Z\nuntil: 2026-12-05T23:00:00Z"
    TIME_WITHOUT_ZONE = "R406" "time-without-zone" Error
        what: "A time has no zone."
        why: "It would be another instant for each reader."
        wrong: "until: 2026-12-05T23:00:00"
        right: "until: 2026-12-05T23:00:00Z"
    NOBODY_IN_CHARGE = "R407" "nobody-in-charge" Warning
        what: "A tenant has no operator, or an owner that is an empty group."
        why: "Nobody could start, cancel or agree to anything there."
        wrong: "developer: [bob]"
        right: "operator: [alice]\ndeveloper: [bob]"
    DUPLICATE_GRANT = "R408" "duplicate-grant" Error
        what: "A role names the same principal twice, or two elevations have one id."
        why: "Whoever takes one of them away believes that the right has ended."
        wrong: "operator: [alice, user:alice]"
        right: "operator: [alice]"
    WILDCARD = "R409" "wildcard-principal" Error
        what: "A principal is a wildcard."
        why: "Who has a right must be known from the commit alone."
        wrong: "auditor: [\"*\"]"
        right: "auditor: [group:compliance]"
    ADMIN_IN_TENANT = "R410" "admin-in-tenant" Error
        what: "A tenant's roles name a platform admin's role."
        why: "Admins stand in platform/roles.yaml only and have no role in a tenant by being admin."
        wrong: "admin: [bob]"
        right: "operator: [bob]"
    OWNER_AS_ROLE = "R411" "owner-as-role" Error
        what: "roles.yaml gives the role of owner."
        why: "The owner agrees to changes of access and stands in tenant.yaml alone, in one place."
        wrong: "owner: [bob]"
        right: "# in tenant.yaml\nowner: bob"
    SERVICE_IN_CHARGE = "R412" "service-in-charge" Error
        what: "A service is named where a person has to decide."
        why: "Services never approve, so a service cannot own a tenant or administer the platform."
        wrong: "owner: service:ci-bot"
        right: "owner: group:acme-owners"
}
