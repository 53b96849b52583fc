//! The loop over a real repository and the model of the store.

mod cell;
mod pins;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::authz::{self, Facts, Permit, action};
use crate::domain::{
    Actor, ActualState, AuditEntry, AuditRecord, CommitId, HeldReason, Listing, ObjectId, Revision, Role,
    Status, StatusRow, TenantId, Timestamp, Tree, UserId,
};
use crate::record::RunRecord;
use crate::source::fixture::{Fixture, Mirrored};
use crate::source::{CommitInfo, Contents, Watch};
use crate::store::{MemoryStore, RunFilter, SourceRow};

/// A repository with three tenants, a daemon's ports, and a clock that stands until it is moved.
struct World {
    repository: Fixture,
    ports: Ports,
    store: Arc<MemoryStore>,
    source: Arc<Guarded>,
    clock: Arc<AtomicI64>,
    cell: Arc<OneRegion>,
}

/// A worker of one region that has an identity for everybody, until told otherwise.
#[derive(Default)]
struct OneRegion {
    lost_identities: AtomicBool,
}

impl Cell for OneRegion {
    fn serves(&self, region: &str) -> Option<bool> {
        Some(region == "eu")
    }

    fn sealed(&self, _: &TenantId) -> Option<String> {
        self.lost_identities.load(Ordering::Relaxed).then(|| "no identity is here".to_owned())
    }
}

/// The real source, which fails for one tenant while told to.
struct Guarded {
    inner: Mirrored,
    fails_for_acme: AtomicBool,
    trees_read: AtomicU64,
}

const SETTINGS: &str = "\
format = 1
id = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"
name = \"northwind\"

[reconcile]
branch = \"main\"

[change_control]
mode = \"open\"
";
const PEOPLE: &str = "\
users:
  alice: { name: Alice }
  bob: { name: Bob }
  olga: { name: Olga }
groups:
  ops: [alice, bob]
";

impl World {
    fn new() -> Self {
        let repository = Fixture::new();
        repository
            .write("tenantry.toml", SETTINGS)
            .write("platform/people.yaml", PEOPLE)
            .write("platform/roles.yaml", "admin: [alice]\n");
        for tenant in ["acme", "globex", "initech"] {
            write_tenant(&repository, tenant);
        }
        repository.commit("three tenants");
        Self::over(repository)
    }

    fn over(repository: Fixture) -> Self {
        let source = Arc::new(Guarded {
            inner: repository.source(),
            fails_for_acme: AtomicBool::new(false),
            trees_read: AtomicU64::new(0),
        });
        let store = Arc::new(MemoryStore::new());
        let cell = Arc::new(OneRegion::default());
        let clock = Arc::new(AtomicI64::new(1_793_527_200_000));
        let (time, count) = (Arc::clone(&clock), AtomicU64::new(1));
        let ports = Ports {
            source: Arc::clone(&source) as Arc<dyn Source>,
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::new(move || Timestamp::from_millis(time.load(Ordering::Relaxed))),
            fresh: Arc::new(move || {
                uuid::Uuid::from_u64_pair(0x0192_f1c2_7c1e_7d3a, count.fetch_add(1, Ordering::Relaxed))
            }),
            cell: Arc::clone(&cell) as Arc<dyn Cell>,
            looked: Arc::default(),
        };
        Self { repository, ports, store, source, clock, cell }
    }

    fn wait(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    #[track_caller]
    fn now(&self) -> Timestamp {
        (self.ports.clock)()
    }

    /// A pass a minute after the last one.
    async fn pass(&self) -> Pass {
        self.wait(60);
        pass(&self.ports).await.unwrap()
    }

    async fn rows(&self) -> BTreeMap<String, StatusRow> {
        let heads = self.store.tenants().await.unwrap();
        heads.iter().map(|head| (head.tenant.to_string(), head.status.clone())).collect()
    }

    async fn statuses(&self) -> Vec<(String, Status)> {
        self.rows().await.into_iter().map(|(name, row)| (name, row.status)).collect()
    }

    async fn actual(&self, tenant: &str) -> ActualState {
        Arc::unwrap_or_clone(self.store.access(&tenant.parse().unwrap()).await.unwrap().unwrap())
    }

    /// Whether the person has the role in the applied state.
    async fn holds(&self, tenant: &str, role: Role, user: &str) -> bool {
        let state = self.actual(tenant).await.applied.unwrap().state;
        let user: UserId = user.parse().unwrap();
        state.holders(role).any(|principal| state.includes(principal, &user))
    }

    async fn permit<A: authz::Action>(&self, tenant: &str) -> Permit<A> {
        let actual = self.actual(tenant).await;
        let platform = self.store.platform().await.unwrap();
        let facts = Facts::of(&actual, platform.as_ref().map(|applied| &applied.platform));
        authz::decide(&Actor::Local(0), &facts, self.now()).unwrap()
    }

    async fn runs(&self, tenant: &str) -> Vec<RunRecord> {
        let permit = self.permit::<action::View>(tenant).await;
        self.store.runs(&permit, &RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap()
    }

    async fn audit(&self, tenant: &str) -> Vec<AuditRecord> {
        let permit = self.permit::<action::ViewAccess>(tenant).await;
        self.store.audit(&permit, 0, 1_000).await.unwrap()
    }

    /// `tenantry release T`.
    async fn release(&self, tenant: &str) {
        let permit = self.permit::<action::Release>(tenant).await;
        let entry = AuditEntry {
            at: self.now(),
            tenant: Some(tenant.parse().unwrap()),
            actor: Actor::Local(0),
            action: "tenant.released".into(),
            resource: format!("tenant:{tenant}"),
            allowed: true,
            reason: "meant so".into(),
            commit: None,
            run: None,
        };
        self.store.release(&permit, entry).await.unwrap();
    }

    /// `tenantry release source`.
    async fn release_source(&self) {
        let row = self.store.source().await.unwrap();
        assert!(row.held.is_some(), "nothing is held: {row:?}");
        self.store.set_source(&SourceRow { released: row.held.clone(), ..row }, &[]).await.unwrap();
    }
}

fn write_tenant(repository: &Fixture, tenant: &str) {
    let at = |path: &str| format!("tenants/{tenant}/{path}");
    repository
        .write(&at("tenant.yaml"), "owner: olga\n")
        .write(&at("roles.yaml"), "operator: [alice]\ndeveloper: [bob]\n")
        .write(&at("workflows/sync.yaml"), "on: commit\nrun: scripts/sync.sh\nfiles: [scripts/sync.sh]\n")
        .write(&at("scripts/sync.sh"), "#!/bin/sh\necho one\n")
        .executable(&at("scripts/sync.sh"));
}

fn looked_at(pass: &Pass) -> Vec<&str> {
    pass.looked_at.iter().map(|row| row.tenant.as_ref().unwrap().as_str()).collect()
}

#[async_trait]
impl Contents for Guarded {
    async fn blob(&self, id: &ObjectId) -> Result<Arc<[u8]>, SourceError> {
        self.inner.blob(id).await
    }
}

#[async_trait]
impl Source for Guarded {
    fn address(&self) -> String {
        self.inner.address()
    }
    async fn fetch(&self) -> Result<Revision, SourceError> {
        self.inner.fetch().await
    }
    async fn head(&self) -> Result<Option<Revision>, SourceError> {
        self.inner.head().await
    }
    async fn listing(&self, revision: &Revision) -> Result<Arc<Listing>, SourceError> {
        self.inner.listing(revision).await
    }
    async fn tenant_tree(&self, revision: &Revision, tenant: &TenantId) -> Result<Tree, SourceError> {
        if tenant.as_str() == "acme" && self.fails_for_acme.load(Ordering::Relaxed) {
            let source = git2::Error::from_str("object not found");
            return Err(SourceError::Unreadable { what: "directory `tenants/acme`".into(), source });
        }
        self.trees_read.fetch_add(1, Ordering::Relaxed);
        self.inner.tenant_tree(revision, tenant).await
    }
    async fn platform_tree(&self, revision: &Revision) -> Result<Tree, SourceError> {
        self.trees_read.fetch_add(1, Ordering::Relaxed);
        self.inner.platform_tree(revision).await
    }
    async fn is_ancestor(&self, one: &CommitId, other: &CommitId) -> Result<bool, SourceError> {
        self.inner.is_ancestor(one, other).await
    }
    async fn first_parent_range(
        &self,
        base: &CommitId,
        head: &CommitId,
    ) -> Result<Vec<CommitId>, SourceError> {
        self.inner.first_parent_range(base, head).await
    }
    async fn commit_info(&self, id: &CommitId) -> Result<CommitInfo, SourceError> {
        self.inner.commit_info(id).await
    }
    async fn authors(
        &self,
        head: &CommitId,
        below: Vec<crate::source::Known>,
    ) -> Result<std::collections::BTreeSet<String>, SourceError> {
        self.inner.authors(head, below).await
    }
    async fn keep(&self, scope: &str, commit: &CommitId) -> Result<(), SourceError> {
        self.inner.keep(scope, commit).await
    }
    async fn annotate(&self, commit: &CommitId, text: &str, now: Timestamp) -> Result<(), SourceError> {
        self.inner.annotate(commit, text, now).await
    }
}

#[tokio::test]
async fn a_commit_is_applied_to_every_tenant_and_then_nothing_is_left_to_do() {
    let world = World::new();
    let first = world.pass().await;
    assert_eq!(looked_at(&first), ["acme", "globex", "initech"]);
    let findings: Vec<_> = first.looked_at.iter().flat_map(|row| &row.findings).collect();
    assert!(first.looked_at.iter().all(|row| row.status == Status::Applied), "{findings:#?}");
    let row = &first.looked_at[0];
    assert_eq!(row.last_applied_commit, Some(world.repository.head()));
    assert_eq!((row.applied_generation, row.failures, row.retry_at), (1, 0, None));
    assert_eq!(first.source.state, "current");
    assert!(world.holds("acme", Role::Operator, "alice").await);
    let second = world.pass().await;
    assert!(second.looked_at.is_empty(), "{:?}", looked_at(&second));
}

#[tokio::test]
async fn only_what_changed_is_looked_at() {
    let world = World::new();
    world.pass().await;
    world.repository.write("tenants/globex/roles.yaml", "operator: [alice, olga]\n").commit("more");
    let pass = world.pass().await;
    assert_eq!(looked_at(&pass), ["globex"]);
    assert!(world.holds("globex", Role::Operator, "olga").await);
    assert!(!world.holds("globex", Role::Developer, "bob").await);
    let row = &world.rows().await["globex"];
    assert_eq!(row.restricted_commit, Some(world.repository.head()), "bob's role went first and apart");
    world.repository.write("docs/readme.md", "nobody reads it\n").commit("docs");
    assert!(looked_at(&world.pass().await).is_empty());
    world.repository.write("tenants/acme/tenant.yaml", "# a comment\nowner: olga\n").commit("comment");
    let pass = world.pass().await;
    assert_eq!(pass.looked_at[0].status, Status::Unchanged);
    assert_ne!(pass.looked_at[0].last_applied_commit, Some(world.repository.head()));
}

#[tokio::test]
async fn an_invalid_tenant_stays_at_its_last_good_commit_and_stops_nobody() {
    let world = World::new();
    world.pass().await;
    let good = world.repository.head();
    world
        .repository
        .write("tenants/acme/workflows/sync.yaml", "on: commit\nrun: [\n")
        .write("tenants/globex/roles.yaml", "operator: [olga]\n");
    world.repository.commit("acme breaks");
    world.pass().await;
    let rows = world.rows().await;
    assert_eq!(rows["acme"].status, Status::Invalid);
    assert_eq!(rows["acme"].last_applied_commit, Some(good));
    assert_eq!(rows["acme"].last_attempted_commit, Some(world.repository.head()));
    assert!(!rows["acme"].findings.is_empty());
    assert_eq!(rows["globex"].status, Status::Applied);
    assert!(world.actual("acme").await.applied.unwrap().state.workflows.contains_key("sync"));
    write_tenant(&world.repository, "acme");
    world.repository.commit("mended");
    world.pass().await;
    let row = &world.rows().await["acme"];
    assert_eq!((row.status, row.findings.len()), (Status::Unchanged, 0));
}

#[tokio::test]
async fn what_the_platform_takes_binds_a_broken_tenant_at_once() {
    let world = World::new();
    world.pass().await;
    assert!(world.holds("acme", Role::Developer, "bob").await);
    world
        .repository
        .write("platform/people.yaml", PEOPLE.replace("  bob: { name: Bob }\n", "").replace(", bob", ""))
        .write("tenants/acme/workflows/sync.yaml", "run: [\n");
    world.repository.commit("bob leaves, acme breaks");
    world.pass().await;
    let row = &world.rows().await["acme"];
    assert_eq!(row.status, Status::Invalid);
    assert_eq!(row.restricted_commit, Some(world.repository.head()));
    assert!(!world.holds("acme", Role::Developer, "bob").await);
    assert!(world.holds("acme", Role::Operator, "alice").await);
}

#[tokio::test]
async fn a_grant_removed_beside_a_broken_file_is_removed() {
    let world = World::new();
    world.pass().await;
    world
        .repository
        .write("tenants/acme/roles.yaml", "operator: [alice]\n")
        .write("tenants/acme/workflows/sync.yaml", "run: [\n");
    world.repository.commit("bob leaves acme, which breaks");
    world.pass().await;
    let row = &world.rows().await["acme"];
    assert_eq!(
        (row.status, row.restricted_commit.as_ref()),
        (Status::Invalid, Some(&world.repository.head()))
    );
    assert!(!world.holds("acme", Role::Developer, "bob").await);
    world.repository.write("tenants/globex/roles.yaml", "operator: [\n");
    world.repository.commit("a roles file that does not parse");
    world.pass().await;
    assert!(world.holds("globex", Role::Developer, "bob").await, "a broken file removes nothing");
}

#[tokio::test]
async fn rewritten_history_holds_the_source_until_it_is_released() {
    let world = World::new();
    let first = world.repository.head();
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice, olga]\n").commit("second");
    world.pass().await;
    let second = world.repository.head();
    world.repository.git(&["reset", "--quiet", "--hard", first.as_str()]);
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice, bob]\n");
    let rewritten = world.repository.commit("another second");
    for _ in 0..2 {
        let pass = world.pass().await;
        assert_eq!(pass.source.state, "rewritten");
        assert_eq!((pass.source.head, pass.source.held), (Some(second.clone()), Some(rewritten.clone())));
        assert!(pass.source.message.unwrap().contains("tenantry release source"));
        assert!(pass.looked_at.is_empty());
    }
    assert!(!world.holds("acme", Role::Operator, "bob").await);
    let entries = world.store.platform_audit(0, 100).await.unwrap();
    let told = entries.iter().filter(|record| record.entry.action == "source.rewritten").count();
    assert_eq!(told, 1, "told once, not every minute");
    world.release_source().await;
    let pass = world.pass().await;
    assert_eq!((pass.source.state.as_str(), pass.source.head), ("current", Some(rewritten)));
    assert!(world.holds("acme", Role::Operator, "bob").await);
}

#[tokio::test]
async fn one_removed_tenant_goes_and_its_name_returns_as_another() {
    let world = World::new();
    world.pass().await;
    // One of three, and one at a time.
    world.repository.remove("tenants/acme").commit("acme leaves");
    world.pass().await;
    assert!(world.actual("acme").await.removed.is_some());
    assert!(world.actual("globex").await.removed.is_none());
    assert!(world.pass().await.looked_at.is_empty(), "a removed tenant is not looked at again");
    write_tenant(&world.repository, "acme");
    world.repository.commit("acme returns");
    world.pass().await;
    let actual = world.actual("acme").await;
    assert_eq!((actual.incarnation, actual.removed, actual.generation), (2, None, 1));
}

#[tokio::test]
async fn too_many_removed_tenants_are_held_until_released() {
    let world = World::new();
    world.pass().await;
    world.repository.remove("tenants/acme").remove("tenants/globex").commit("a bad merge");
    for _ in 0..2 {
        let pass = world.pass().await;
        assert_eq!(pass.source.held, Some(world.repository.head()));
    }
    let rows = world.rows().await;
    assert_eq!((rows["acme"].status, rows["globex"].status), (Status::Held, Status::Held));
    assert_eq!(rows["acme"].held[0].reason, HeldReason::PruneGuard);
    assert!(world.actual("acme").await.removed.is_none());
    world.release("acme").await;
    world.pass().await;
    assert!(world.actual("acme").await.removed.is_some(), "released by its own name");
    world.repository.write("docs/more.md", "x\n").commit("something else");
    world.pass().await;
    assert!(world.actual("globex").await.removed.is_none(), "nobody has let this one go");
    world.release_source().await;
    world.pass().await;
    assert!(world.actual("globex").await.removed.is_some());
}

#[tokio::test]
async fn an_empty_listing_removes_nobody_until_the_source_is_released() {
    let world = World::new();
    world.pass().await;
    world.repository.remove("tenants").commit("all gone");
    world.pass().await;
    for tenant in ["acme", "globex", "initech"] {
        assert!(world.actual(tenant).await.removed.is_none(), "{tenant}");
    }
    world.release_source().await;
    world.pass().await;
    for tenant in ["acme", "globex", "initech"] {
        assert!(world.actual(tenant).await.removed.is_some(), "{tenant}");
    }
}

#[tokio::test]
async fn a_pass_without_a_change_opens_no_file() {
    let world = World::new();
    world.pass().await;
    let before = world.source.trees_read.load(Ordering::Relaxed);
    world.pass().await;
    world.repository.write("docs/readme.md", "nobody reads it\n").commit("docs");
    world.pass().await;
    assert_eq!(world.source.trees_read.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn what_lies_in_a_tenants_place_breaks_it_and_removes_nothing() {
    let world = World::new();
    world.pass().await;
    world.repository.remove("tenants/acme").write("tenants/acme", "a file\n").commit("a file");
    world.pass().await;
    assert_eq!(world.rows().await["acme"].status, Status::Invalid);
    assert!(world.actual("acme").await.removed.is_none());
}

#[tokio::test]
async fn losing_half_of_the_workflows_is_held_until_released() {
    let world = World::new();
    for name in ["one", "two", "three"] {
        world.repository.write(&format!("tenants/acme/workflows/{name}.yaml"), "run: scripts/sync.sh\n");
    }
    world.repository.commit("four workflows");
    world.pass().await;
    world.repository.remove("tenants/acme/workflows/one.yaml").remove("tenants/acme/workflows/two.yaml");
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice]\n");
    world.repository.commit("two go, and bob");
    world.pass().await;
    let row = &world.rows().await["acme"];
    assert_eq!((row.status, row.held[0].edge.as_str()), (Status::Held, "would remove one, two"));
    assert!(world.actual("acme").await.applied.unwrap().state.workflows.contains_key("one"));
    assert!(!world.holds("acme", Role::Developer, "bob").await, "removals go through");
    assert!(world.pass().await.looked_at.is_empty(), "it waits");
    world.release("acme").await;
    world.pass().await;
    let row = &world.rows().await["acme"];
    assert_eq!(row.status, Status::Applied);
    assert!(!world.actual("acme").await.applied.unwrap().state.workflows.contains_key("one"));
}

#[tokio::test]
async fn an_unreachable_source_changes_nothing() {
    let world = World::new();
    assert_eq!(world.pass().await.source.state, "current");
    let away = world.repository.path().join("away");
    std::fs::rename(world.repository.path().join(".git"), &away).unwrap();
    let pass = world.pass().await;
    assert_eq!(pass.source.state, "unreachable");
    assert!(pass.source.message.unwrap().contains("there is no repository"));
    assert!(pass.looked_at.is_empty());
    assert!(world.statuses().await.iter().all(|(_, status)| *status == Status::Applied));
    std::fs::rename(&away, world.repository.path().join(".git")).unwrap();
    let pass = world.pass().await;
    assert_eq!((pass.source.state.as_str(), pass.source.message), ("current", None));
}

#[tokio::test]
async fn a_source_that_was_never_read_is_no_empty_one() {
    let world = World::over(Fixture::new());
    let pass = world.pass().await;
    assert_eq!((pass.source.state.as_str(), pass.revision), ("unreachable", None));
    assert!(world.statuses().await.is_empty());
}

#[tokio::test]
async fn another_change_control_than_open_is_refused_with_a_sentence() {
    let world = World::new();
    world.repository.write("tenantry.toml", SETTINGS.replace("\"open\"", "\"signed\""));
    world.repository.commit("signed from the start");
    let pass = world.pass().await;
    let platform = pass.platform.unwrap();
    assert_eq!(platform.status, Status::Held);
    assert!(platform.held[0].edge.contains("`signed` is not supported yet"), "{:?}", platform.held);
    assert!(world.statuses().await.is_empty(), "nothing is applied");
    world.repository.write("tenantry.toml", SETTINGS);
    world.repository.commit("open");
    world.pass().await;
    assert_eq!(world.rows().await["acme"].status, Status::Applied);
    world.repository.write("tenantry.toml", SETTINGS.replace("\"open\"", "\"pull-request\""));
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice, olga]\n");
    world.repository.commit("a mode this program cannot judge by");
    let pass = world.pass().await;
    assert_eq!(pass.platform.unwrap().status, Status::Held);
    assert!(world.holds("acme", Role::Operator, "olga").await, "tenants go on against the applied platform");
}

#[tokio::test]
async fn another_repository_is_refused() {
    let world = World::new();
    world.pass().await;
    world.repository.write("tenantry.toml", SETTINGS.replace("0192f1c2", "0192ffff"));
    world.repository.commit("another id");
    let platform = world.pass().await.platform.unwrap();
    assert_eq!(platform.status, Status::Held);
    assert!(platform.held[0].edge.contains("0192ffff"), "{:?}", platform.held);
}

#[tokio::test]
async fn while_the_platform_is_invalid_tenants_go_on_against_the_last_one() {
    let world = World::new();
    world.pass().await;
    world
        .repository
        .write("platform/people.yaml", "users: [\n")
        .write("tenants/acme/roles.yaml", "operator: [alice, olga]\n");
    world.repository.commit("the platform breaks");
    let pass = world.pass().await;
    assert_eq!(pass.platform.as_ref().unwrap().status, Status::Invalid);
    assert_eq!(looked_at(&pass), ["acme"]);
    assert!(world.holds("acme", Role::Operator, "olga").await);
    assert!(world.pass().await.looked_at.is_empty());
}

#[tokio::test]
async fn a_commit_trigger_starts_one_run_for_one_change() {
    let world = World::new();
    world.pass().await;
    assert!(world.runs("acme").await.is_empty(), "the first apply fires nothing without `first: true`");
    world.repository.write("tenants/acme/scripts/sync.sh", "#!/bin/sh\necho two\n");
    world.repository.commit("two");
    world.pass().await;
    world.pass().await;
    assert_eq!(world.runs("acme").await.len(), 1);
    assert!(world.runs("globex").await.is_empty());
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice]\n").commit("only roles");
    world.repository.write("platform/people.yaml", format!("{PEOPLE}\n  more: [olga]\n")).commit("a group");
    world.pass().await;
    assert_eq!(world.runs("acme").await.len(), 1, "neither roles nor the platform start anything");
}

#[tokio::test]
async fn the_latest_commit_wins_and_the_others_are_recorded() {
    let world = World::new();
    world.pass().await;
    for text in ["two", "three", "four"] {
        world.repository.write("tenants/acme/scripts/sync.sh", format!("#!/bin/sh\necho {text}\n"));
        world.repository.commit(text);
    }
    world.pass().await;
    assert_eq!(world.runs("acme").await.len(), 1);
    let entries = world.store.platform_audit(0, 100).await.unwrap();
    let superseded: Vec<_> =
        entries.iter().filter(|record| record.entry.action == "commit.superseded").collect();
    assert_eq!(superseded.len(), 2);
}

#[tokio::test]
async fn a_workflow_that_asks_for_each_gets_every_commit() {
    let world = World::new();
    let path = "tenants/acme/workflows/sync.yaml";
    world.repository.write(path, "on: { commit: { each: true } }\nrun: scripts/sync.sh\n");
    world.repository.commit("each");
    world.pass().await;
    for text in ["two", "three"] {
        world.repository.write("tenants/acme/scripts/sync.sh", format!("#!/bin/sh\necho {text}\n"));
        world.repository.commit(text);
    }
    world.repository.write(path, "run: [\n").commit("broken in between");
    world.repository.write(path, "on: { commit: { each: true } }\nrun: scripts/sync.sh\n");
    world.repository.write("tenants/acme/scripts/sync.sh", "#!/bin/sh\necho four\n");
    world.repository.commit("four");
    world.pass().await;
    assert_eq!(world.runs("acme").await.len(), 3, "two, three and four; the broken one is passed over");
    assert_eq!(world.rows().await["acme"].status, Status::Applied);
}

#[tokio::test]
async fn what_cannot_be_read_is_tried_again_and_removes_nothing() {
    let world = World::new();
    world.pass().await;
    world.source.fails_for_acme.store(true, Ordering::Relaxed);
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice, olga]\n");
    world.repository.write("tenants/globex/roles.yaml", "operator: [alice, olga]\n");
    world.repository.commit("both");
    let pass = world.pass().await;
    let rows = world.rows().await;
    assert_eq!((rows["acme"].status, rows["globex"].status), (Status::Failed, Status::Applied));
    assert_eq!(rows["acme"].failures, 1);
    let again = rows["acme"].retry_at.unwrap();
    assert_eq!(pass.next, Some(again));
    assert!(again.since(world.now()).as_millis() <= 5_000);
    world.pass().await;
    assert_eq!(world.rows().await["acme"].failures, 2);
    world.source.fails_for_acme.store(false, Ordering::Relaxed);
    world.pass().await;
    let row = &world.rows().await["acme"];
    assert_eq!((row.status, row.failures, row.retry_at), (Status::Applied, 0, None));
    assert!(world.holds("acme", Role::Operator, "olga").await);
}

#[tokio::test]
async fn ended_at_any_instant_a_pass_is_done_by_the_next_one() {
    let world = World::new();
    world.pass().await;
    for (round, micros) in (0..30).map(|n| n * 700).enumerate() {
        for tenant in ["acme", "globex"] {
            let text = format!("#!/bin/sh\necho {round}\n");
            world.repository.write(&format!("tenants/{tenant}/scripts/sync.sh"), text);
        }
        world.repository.commit("next");
        // Dropped in the middle, wherever that is.
        let _ = tokio::time::timeout(Duration::from_micros(micros), pass(&world.ports)).await;
        world.pass().await;
        for tenant in ["acme", "globex"] {
            let applied = world.actual(tenant).await.applied.unwrap();
            assert_eq!(applied.commit, world.repository.head(), "{tenant} in round {round}");
        }
        assert!(world.pass().await.looked_at.is_empty(), "round {round}");
    }
    assert_eq!(world.runs("acme").await.len(), 30, "one run for each change, none twice");
}

#[tokio::test]
async fn the_note_of_a_commit_says_what_came_of_it() {
    let world = World::new();
    world.repository.write("tenants/acme/workflows/sync.yaml", "run: [\n").commit("broken");
    world.pass().await;
    let mirror = git2::Repository::open_bare(&world.source.inner.mirror).unwrap();
    let id = git2::Oid::from_str(world.repository.head().as_str()).unwrap();
    let note = mirror.find_note(Some("refs/notes/tenantry"), id).unwrap();
    let text = note.message().unwrap();
    assert!(text.starts_with("applied: 3, unchanged: 0\nacme: invalid (Y"), "{text}");
}

#[tokio::test]
async fn an_applied_commit_is_kept() {
    let world = World::new();
    world.pass().await;
    let mirror = git2::Repository::open_bare(&world.source.inner.mirror).unwrap();
    for scope in ["acme", "globex", "initech", "platform"] {
        let id = mirror.refname_to_id(&format!("refs/tenantry/applied/{scope}")).unwrap();
        assert_eq!(id.to_string(), world.repository.head().as_str());
    }
}

#[tokio::test]
async fn the_audit_says_who_and_that_nobody_proved_it() {
    let world = World::new();
    world.pass().await;
    let audit = world.audit("acme").await;
    let entry = &audit[0].entry;
    assert_eq!(
        (entry.action.as_str(), entry.actor.to_string().as_str()),
        ("tenant.created", "daemon:reconcile")
    );
    assert!(entry.reason.contains("Dana <dana@acme.example>") && entry.reason.contains("without proof"));
    assert_eq!(entry.commit, Some(world.repository.head()));
}

#[tokio::test]
async fn the_loop_wakes_for_a_commit_and_stops_when_told() {
    let world = World::new();
    let watch = Watch::new(Some(world.repository.path()), Duration::from_secs(3600));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (told, mut passes) = tokio::sync::mpsc::unbounded_channel();
    let ports = world.ports.clone();
    let serving = tokio::spawn(async move {
        serve(&ports, watch, stopped, |passed| {
            let _ = told.send(passed.as_ref().map(|pass| pass.looked_at.len()).unwrap_or(usize::MAX));
        })
        .await;
    });
    let soon = Duration::from_secs(20);
    assert_eq!(tokio::time::timeout(soon, passes.recv()).await.unwrap(), Some(3));
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice, olga]\n").commit("next");
    loop {
        match tokio::time::timeout(soon, passes.recv()).await.unwrap() {
            Some(0) => {}
            looked_at => break assert_eq!(looked_at, Some(1)),
        }
    }
    stop.send(true).unwrap();
    tokio::time::timeout(soon, serving).await.unwrap().unwrap();
}
