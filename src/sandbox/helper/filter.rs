//! The system calls that a step is refused.
//!
//! A list of what is refused, not of what is allowed, since any language's interpreter must run. What a step
//! needs no namespace, capability or debugger for stays open; everything that has let code out of a container,
//! or that reaches parts of the kernel which nobody here needs, is refused even where missing capabilities
//! refuse it already.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{BpfProgram, sock_filter};

/// The compiled filter; empty for none.
pub(super) struct Filter(BpfProgram);

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

/// What a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// It goes on.
    Allow,
    /// `EPERM`.
    Refuse,
    /// `ENOSYS`, as on a kernel without it.
    Unknown,
    /// `EPERM` where it makes a namespace.
    Clone,
    /// `EPERM` where it types into a terminal that somebody else reads.
    Ioctl,
    /// `EPERM` but for the ordinary one and the question: old personalities switch protections off.
    Personality,
    /// `EAFNOSUPPORT` for other families, as on a kernel that was built without them.
    Socket,
}

impl Verdict {
    const ALL: [Self; 7] =
        [Self::Allow, Self::Refuse, Self::Unknown, Self::Clone, Self::Ioctl, Self::Personality, Self::Socket];
}

/// Every call that is not simply allowed.
fn verdicts() -> BTreeMap<u32, Verdict> {
    let refused = REFUSED.iter().map(|number| (*number, Verdict::Refuse));
    let judged = [
        (libc::SYS_clone, Verdict::Clone),
        // It hides its flags behind a pointer; without it, libraries use `clone`.
        (libc::SYS_clone3, Verdict::Unknown),
        (libc::SYS_ioctl, Verdict::Ioctl),
        (libc::SYS_personality, Verdict::Personality),
        (libc::SYS_socket, Verdict::Socket),
        (libc::SYS_socketpair, Verdict::Socket),
    ];
    let all = refused.chain(judged);
    // INVARIANT: numbers of calls are small.
    let mut all: BTreeMap<u32, Verdict> =
        all.filter_map(|(number, verdict)| Some((u32::try_from(number).ok()?, verdict))).collect();
    if cfg!(target_arch = "x86_64") {
        // Calls of the x32 interface carry a high bit and would pass every list. Everything from here on is refused.
        all.insert(X32_BIT, Verdict::Unknown);
    }
    all
}

/// The bit in the numbers of the x32 interface.
const X32_BIT: u32 = 0x4000_0000;

/// Instructions of the kernel's filter language. Source: linux/bpf_common.h.
mod code {
    pub(super) const LOAD: u16 = 0x20;
    pub(super) const JUMP: u16 = 0x05;
    pub(super) const IF_EQUAL: u16 = 0x15;
    pub(super) const IF_AT_LEAST: u16 = 0x35;
    pub(super) const IF_ANY_BIT: u16 = 0x45;
    pub(super) const RETURN: u16 = 0x06;
}

/// Places in what a filter looks at, the lower halves of arguments. Source: `struct seccomp_data`.
mod place {
    pub(super) const NUMBER: u32 = 0;
    pub(super) const ARCHITECTURE: u32 = 4;
    pub(super) const FIRST: u32 = 16;
    pub(super) const SECOND: u32 = 24;
}

/// The name of this processor in `seccomp_data`. Source: linux/audit.h.
const ARCHITECTURE: Option<u32> = if cfg!(all(target_arch = "x86_64", target_endian = "little")) {
    Some(0xc000_003e)
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    Some(0xc000_00b7)
} else {
    None
};

fn refusal(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | error.cast_unsigned()
}

/// A program that is put together: jumps to verdicts are filled in at its end.
#[derive(Default)]
struct Assembly {
    program: BpfProgram,
    /// Where a jump leads to a verdict.
    open: Vec<(usize, Verdict)>,
}

impl Assembly {
    fn add(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.program.push(sock_filter { code, jt, jf, k });
    }

    fn go_to(&mut self, verdict: Verdict) {
        self.open.push((self.program.len(), verdict));
        self.add(code::JUMP, 0, 0, 0);
    }

    /// Looks among ranges of numbers, each with the first number of it, in halves: the kernel tries a new filter with
    /// every number there is, which takes a long time where it has to go through a list.
    fn search(&mut self, ranges: &[(u32, Verdict)]) -> io::Result<()> {
        let [(_, verdict)] = ranges else {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let Some((first, _)) = upper.first() else { return Ok(()) };
            let jump = self.program.len();
            self.add(code::IF_AT_LEAST, *first, 0, 0);
            self.search(lower)?;
            let over = self.program.len() - jump - 1;
            let over = u8::try_from(over).map_err(|_| io::Error::other("the filter is too long"))?;
            self.program[jump].jt = over;
            return self.search(upper);
        };
        self.go_to(*verdict);
        Ok(())
    }

    /// What is done for a verdict, all of which ends the program.
    fn judge(&mut self, verdict: Verdict) {
        let (allow, refuse) = (libc::SECCOMP_RET_ALLOW, refusal(libc::EPERM));
        match verdict {
            Verdict::Allow => self.add(code::RETURN, allow, 0, 0),
            Verdict::Refuse => self.add(code::RETURN, refuse, 0, 0),
            Verdict::Unknown => self.add(code::RETURN, refusal(libc::ENOSYS), 0, 0),
            Verdict::Clone => {
                let any = NAMESPACES.iter().fold(0, |all, flag| all | flag.cast_unsigned());
                self.add(code::LOAD, place::FIRST, 0, 0);
                self.add(code::IF_ANY_BIT, any, 0, 1);
                self.add(code::RETURN, refuse, 0, 0);
                self.add(code::RETURN, allow, 0, 0);
            }
            // Typing into a terminal, in two ways.
            Verdict::Ioctl => {
                self.choose(place::SECOND, &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32], refuse, allow);
            }
            Verdict::Personality => self.choose(place::FIRST, &[0, u32::MAX], allow, refuse),
            Verdict::Socket => {
                let families = FAMILIES.map(libc::c_int::cast_unsigned);
                self.choose(place::FIRST, &families, allow, refusal(libc::EAFNOSUPPORT));
            }
        }
    }

    /// One answer where the word at `place` is one of `words`, another elsewhere.
    fn choose(&mut self, place: u32, words: &[u32], one: u32, other: u32) {
        self.add(code::LOAD, place, 0, 0);
        for word in words {
            self.add(code::IF_EQUAL, *word, 0, 1);
            self.add(code::RETURN, one, 0, 0);
        }
        self.add(code::RETURN, other, 0, 0);
    }

    /// Puts the verdicts behind the search and leads its jumps there.
    fn finish(mut self) -> BpfProgram {
        for verdict in Verdict::ALL {
            let at = self.program.len();
            self.judge(verdict);
            for (from, _) in self.open.iter().filter(|(_, wanted)| *wanted == verdict) {
                self.program[*from].k = u32::try_from(at - from - 1).unwrap_or(u32::MAX);
            }
        }
        self.program
    }
}

/// Ranges of numbers with the same verdict, by the first number of each; the first begins at zero.
fn ranges(verdicts: &BTreeMap<u32, Verdict>) -> Vec<(u32, Verdict)> {
    let mut ranges = vec![(0, Verdict::Allow)];
    let mut set = |first: u32, verdict: Verdict| match ranges.last_mut() {
        Some((start, before)) if *start == first => *before = verdict,
        Some((_, before)) if *before == verdict => {}
        _ => ranges.push((first, verdict)),
    };
    for (number, verdict) in verdicts {
        set(*number, *verdict);
        // What stands from the high bit on stands for all that follows.
        if *number != X32_BIT && !verdicts.contains_key(&(number + 1)) {
            set(number + 1, Verdict::Allow);
        }
    }
    ranges
}

impl Filter {
    /// Compiles the filter, once per helper.
    ///
    /// # Errors
    /// On a processor whose numbers of calls are not known here.
    pub(super) fn compile() -> io::Result<Self> {
        let unknown =
            || io::Error::other("there is no filter for this processor: x86_64 and aarch64 have one");
        let architecture = ARCHITECTURE.ok_or_else(unknown)?;
        let mut assembly = Assembly::default();
        assembly.add(code::LOAD, place::ARCHITECTURE, 0, 0);
        assembly.add(code::IF_EQUAL, architecture, 1, 0);
        // Numbers of another interface mean other calls.
        assembly.add(code::RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0);
        assembly.add(code::LOAD, place::NUMBER, 0, 0);
        assembly.search(&ranges(&verdicts()))?;
        Ok(Self(assembly.finish()))
    }

    /// No filter at all, for a machine whose steps are refused anyway.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Applies it to this process and all it starts, for good. Needs no-new-privileges.
    ///
    /// # Errors
    /// On a kernel without seccomp.
    pub(super) fn apply(&self) -> Result<(), seccompiler::Error> {
        if self.0.is_empty() { Ok(()) } else { seccompiler::apply_filter(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    use super::*;

    /// What the kernel gives a filter.
    #[derive(Clone, Copy, Debug)]
    struct Call {
        number: u32,
        architecture: u32,
        arguments: [u64; 6],
    }

    /// Carries a program out as the kernel does, for the instructions that occur.
    fn answer(program: &[sock_filter], call: Call) -> u32 {
        let mut data = [0u8; 64];
        data[..4].copy_from_slice(&call.number.to_le_bytes());
        data[4..8].copy_from_slice(&call.architecture.to_le_bytes());
        for (place, argument) in call.arguments.iter().enumerate() {
            data[16 + 8 * place..24 + 8 * place].copy_from_slice(&argument.to_le_bytes());
        }
        let (mut at, mut word) = (0usize, 0u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                0x20 => word = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
                0x05 => at += k as usize,
                0x15 => at += jump(word == k),
                0x25 => at += jump(word > k),
                0x35 => at += jump(word >= k),
                0x45 => at += jump(word & k != 0),
                0x54 => word &= k,
                0x06 => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    /// The same lists in the library's words, one filter for each answer.
    fn of_the_library() -> Vec<BpfProgram> {
        let word = |argument: u8, how: SeccompCmpOp, value: u64| {
            SeccompCondition::new(argument, SeccompCmpArgLen::Dword, how, value).unwrap()
        };
        let rule = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions).unwrap();
        let mut refused: BTreeMap<i64, Vec<SeccompRule>> =
            REFUSED.iter().map(|number| (*number, Vec::new())).collect();
        let flags = NAMESPACES.map(|flag| u64::from(flag.cast_unsigned()));
        refused.insert(
            libc::SYS_clone,
            flags.map(|flag| rule(vec![word(0, SeccompCmpOp::MaskedEq(flag), flag)])).to_vec(),
        );
        let typing = [libc::TIOCSTI, libc::TIOCLINUX];
        refused
            .insert(libc::SYS_ioctl, typing.map(|one| rule(vec![word(1, SeccompCmpOp::Eq, one)])).to_vec());
        refused.insert(
            libc::SYS_personality,
            vec![rule([0, 0xffff_ffff].map(|one| word(0, SeccompCmpOp::Ne, one)).to_vec())],
        );
        let families = || {
            let other = FAMILIES.map(|family| word(0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned())));
            vec![rule(other.to_vec())]
        };
        let families = BTreeMap::from([(libc::SYS_socket, families()), (libc::SYS_socketpair, families())]);
        let unknown = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        [(refused, libc::EPERM), (families, libc::EAFNOSUPPORT), (unknown, libc::ENOSYS)]
            .map(|(rules, error)| {
                let action = SeccompAction::Errno(error.cast_unsigned());
                let architecture = std::env::consts::ARCH.try_into().unwrap();
                let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, architecture).unwrap();
                BpfProgram::try_from(filter).unwrap()
            })
            .to_vec()
    }

    #[test]
    fn the_tree_says_what_the_librarys_lists_say() {
        let ours = Filter::compile().unwrap().0;
        let theirs = of_the_library();
        let architecture = ARCHITECTURE.unwrap();
        let words = [
            0,
            1,
            2,
            10,
            16,
            17,
            u64::from(u32::MAX),
            u64::MAX,
            1 << 32,
            (1 << 32) | 2,
            libc::TIOCSTI,
            libc::TIOCLINUX,
            libc::TIOCGWINSZ,
            0x0011_0000,
        ];
        let flags = NAMESPACES.map(|flag| u64::from(flag.cast_unsigned()) | 17);
        let mut refused = 0;
        for number in (0..1000).chain([i32::MAX.cast_unsigned() >> 1, X32_BIT - 1]) {
            for word in words.iter().chain(&flags) {
                let call = Call { number, architecture, arguments: [*word; 6] };
                let wanted = theirs.iter().map(|program| answer(program, call));
                let wanted = wanted.min_by_key(|answer| *answer == libc::SECCOMP_RET_ALLOW).unwrap();
                assert_eq!(answer(&ours, call), wanted, "{call:?}");
                refused += usize::from(wanted != libc::SECCOMP_RET_ALLOW);
            }
        }
        assert!(refused > REFUSED.len() * words.len(), "{refused}");
    }

    #[test]
    fn another_interface_is_the_end_or_unknown() {
        let ours = Filter::compile().unwrap().0;
        let architecture = ARCHITECTURE.unwrap();
        let call = Call { number: 1, architecture: architecture ^ 1, arguments: [0; 6] };
        assert_eq!(answer(&ours, call), libc::SECCOMP_RET_KILL_PROCESS);
        if cfg!(target_arch = "x86_64") {
            for number in [X32_BIT, X32_BIT + 1, X32_BIT + 165, X32_BIT + 10_000, u32::MAX] {
                let call = Call { number, architecture, arguments: [0; 6] };
                assert_eq!(answer(&ours, call), refusal(libc::ENOSYS), "{number:#x}");
            }
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        assert!(REFUSED.iter().all(|number| seen.insert(number)));
    }
}
