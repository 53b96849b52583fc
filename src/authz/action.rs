//! The actions: one row of the table in design page `access.md` each, as a value and as a type.

/// What somebody wants to do in one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    /// See [`View`].
    View,
    /// See [`ViewHealth`].
    ViewHealth,
    /// See [`ViewMetadata`].
    ViewMetadata,
    /// See [`ViewAccess`].
    ViewAccess,
    /// See [`Start`].
    Start,
    /// See [`Cancel`].
    Cancel,
    /// See [`ApproveStep`].
    ApproveStep,
    /// See [`Steer`].
    Steer,
    /// See [`Probe`].
    Probe,
    /// See [`Suspend`].
    Suspend,
    /// See [`Wake`].
    Wake,
    /// See [`Release`].
    Release,
    /// See [`ShowRaw`].
    ShowRaw,
    /// See [`WriteCode`].
    WriteCode,
    /// See [`WriteSettings`].
    WriteSettings,
    /// See [`WriteSecret`].
    WriteSecret,
    /// See [`Revoke`].
    Revoke,
    /// See [`ApproveAccess`].
    ApproveAccess,
    /// See [`ReadSecret`].
    ReadSecret,
    /// See [`Execute`].
    Execute,
    /// See [`Reconcile`].
    Reconcile,
    /// See [`Schedule`].
    Schedule,
    /// See [`Receive`].
    Receive,
    /// See [`Alert`].
    Alert,
}

/// An action that can be permitted. The types that implement it stand here; no others can.
pub trait Action: sealed::Sealed + Send + Sync + 'static {
    /// The same as a value.
    const KIND: ActionKind;
    /// Its name as in audit records and messages.
    const NAME: &'static str = Self::KIND.as_str();
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! actions {
    ($($(#[$doc:meta])* $type:ident = $name:literal;)*) => {
        impl ActionKind {
            /// Every action.
            pub const ALL: &'static [Self] = &[$(Self::$type),*];
            /// Its name as in audit records and messages.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$type => $name,)*
                }
            }
        }
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $type;
            impl sealed::Sealed for $type {}
            impl Action for $type {
                const KIND: ActionKind = ActionKind::$type;
            }
        )*
    };
}

actions! {
    /// Reads tenant, workflows, runs and redacted logs.
    View = "view";
    /// Reads state, since, counts, cause class and owner.
    ViewHealth = "view-health";
    /// Reads names, versions and states of secrets.
    ViewMetadata = "view-metadata";
    /// Reads access and audit.
    ViewAccess = "view-access";
    /// Starts or reruns a workflow.
    Start = "start";
    /// Cancels a run.
    Cancel = "cancel";
    /// Agrees to a step going on.
    ApproveStep = "approve-step";
    /// Pauses, resumes, pins.
    Steer = "steer";
    /// Tries once what failed, to learn why.
    Probe = "probe";
    /// Suspends the tenant or lifts a suspension.
    Suspend = "suspend";
    /// Asks the loop to look at the tenant now.
    Wake = "reconcile";
    /// Lets go what is held.
    Release = "release";
    /// Reads unredacted inputs and outputs.
    ShowRaw = "show-raw";
    /// Changes workflows and scripts without another's agreement for their paths.
    WriteCode = "write-code";
    /// Changes `tenant.yaml` below the ceilings without another's agreement for the path.
    WriteSettings = "write-settings";
    /// Adds a secret or a version, as ciphertext.
    WriteSecret = "write-secret";
    /// Revokes a version.
    Revoke = "revoke";
    /// Agrees to changes of the tenant's access.
    ApproveAccess = "approve-access";
    /// Opens secrets for one leased attempt; nobody has it but by a lease.
    ReadSecret = "read-secret";
    /// Executes one leased attempt; nobody has it but by a lease.
    Execute = "execute";
    /// Brings a tenant to a revision; the daemon's loop only.
    Reconcile = "apply";
    /// Makes runs whose time has come; the daemon's scheduler only.
    Schedule = "schedule";
    /// Opens the secret of a hook that came in and starts its workflow; the daemon's door for hooks only.
    Receive = "receive-hook";
    /// Calls the alert routes that a tenant names; the daemon only.
    Alert = "alert";
}
