//! The system calls that a step is refused.
//!
//! A list of what is refused, not of what is allowed, since any language's interpreter must run. What a step
//! needs no namespace, capability or debugger for stays open; everything that has let code out of a container,
//! or that reaches parts of the kernel which nobody here needs, is refused even where missing capabilities
//! refuse it already.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// The compiled filters, applied in order.
pub(super) struct Filters(Vec<BpfProgram>);

/// Refused with `EPERM`, whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // mounts and roots
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // namespaces
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_perf_event_open,
    // parts of the kernel that are attacked more than used
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_vmsplice,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_set_mempolicy,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    // the machine
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];

/// The socket families that a step may use: local ones and the internet's, which end at its own loopback.
const FAMILIES: [libc::c_int; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// The namespaces that `clone` may not make.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWNET,
];

impl Filters {
    /// Compiles the filters, once per helper.
    ///
    /// # Errors
    /// On a processor that the compiler of filters does not know.
    pub(super) fn compile() -> Result<Self, seccompiler::Error> {
        let architecture: TargetArch = std::env::consts::ARCH.try_into()?;
        let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
            REFUSED.iter().map(|number| (*number, Vec::new())).collect();
        refused.insert(
            libc::SYS_clone,
            NAMESPACES.iter().map(|flag| when(0, has(*flag), *flag)).collect::<Result<_, _>>()?,
        );
        // Typing into a terminal that somebody else reads.
        refused.insert(
            libc::SYS_ioctl,
            vec![
                when_small(1, SeccompCmpOp::Eq, libc::TIOCSTI)?,
                when_small(1, SeccompCmpOp::Eq, libc::TIOCLINUX)?,
            ],
        );
        // Old personalities switch protections off; asking (all ones) and the ordinary one stay.
        refused.insert(
            libc::SYS_personality,
            vec![SeccompRule::new(vec![
                SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?,
                SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0xffff_ffff)?,
            ])?],
        );
        // A program learns of the missing family as on a kernel that was built without it.
        let other_family = || -> Result<Vec<SeccompRule>, seccompiler::Error> {
            let conditions: Result<Vec<_>, _> = FAMILIES
                .iter()
                .map(|family| {
                    let family = u64::from(family.cast_unsigned());
                    SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
                })
                .collect();
            Ok(vec![SeccompRule::new(conditions?)?])
        };
        let families =
            BTreeMap::from([(libc::SYS_socket, other_family()?), (libc::SYS_socketpair, other_family()?)]);
        // `clone3` hides its flags behind a pointer; without it, libraries use `clone`.
        let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let compile = |rules, error: i32| -> Result<BpfProgram, seccompiler::Error> {
            let action = SeccompAction::Errno(error.cast_unsigned());
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture)?;
            Ok(BpfProgram::try_from(filter)?)
        };
        let mut filters = vec![
            compile(refused, libc::EPERM)?,
            compile(families, libc::EAFNOSUPPORT)?,
            compile(unknown, libc::ENOSYS)?,
        ];
        if cfg!(target_arch = "x86_64") {
            filters.push(without_x32());
        }
        Ok(Self(filters))
    }

    /// No filter at all, for a machine whose steps are refused anyway.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Applies them to this process and all it starts, for good. Needs no-new-privileges.
    ///
    /// # Errors
    /// On a kernel without seccomp.
    pub(super) fn apply(&self) -> Result<(), seccompiler::Error> {
        self.0.iter().try_for_each(|program| seccompiler::apply_filter(program))
    }
}

/// Matches when the bits of `flag` are set.
fn has(flag: libc::c_int) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned()))
}

fn when(argument: u8, how: SeccompCmpOp, value: libc::c_int) -> Result<SeccompRule, seccompiler::Error> {
    let value = u64::from(value.cast_unsigned());
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, how, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn when_small(
    argument: u8,
    how: SeccompCmpOp,
    value: libc::Ioctl,
) -> Result<SeccompRule, seccompiler::Error> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, u64::from(value as u32))?;
    Ok(SeccompRule::new(vec![condition])?)
}

/// Refuses the calls of the x32 interface, whose numbers carry a high bit and would pass every list.
fn without_x32() -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const X32_BIT: u32 = 0x4000_0000;
    let answer_no = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    vec![
        step(LOAD_WORD, 0, 0), // the number is the first word of `seccomp_data`
        step(JUMP_IF_AT_LEAST, 1, X32_BIT),
        step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        step(RETURN, 0, answer_no),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_compile() {
        Filters::compile().unwrap();
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        assert!(REFUSED.iter().all(|number| seen.insert(number)));
    }
}
