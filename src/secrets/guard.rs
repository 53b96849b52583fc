//! Keeps values in memory from other processes and from the disk.

use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Closes this process's memory to other processes of its user, and keeps it out of core files. Called before any
/// identity is read.
///
/// Programs that it starts open their own memory again, as the kernel does on every start, and write no cores
/// either. Root can look into every process, and no program can change that.
pub fn guard_memory() {
    // Neither fails for a process that asks it for itself; if one did, the other would still hold.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).ok();
}

/// Words of stack that are overwritten: opening a file uses less than half of them.
const STACK_WORDS: usize = 8 << 10;

/// Does some work, and overwrites what it left on this thread's stack: hashes and ciphers copy what they are given
/// into blocks of their own. The work's result has to keep its values elsewhere.
pub(super) fn with_clean_stack<T>(work: impl FnOnce() -> T) -> T {
    // Both are calls of their own, so that the second covers what the first one and all below it have used.
    #[inline(never)]
    fn call<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    #[inline(never)]
    fn clean() {
        let mut words = zeroize::Zeroizing::new([0_u64; STACK_WORDS]);
        std::hint::black_box(&mut words);
    }
    let result = call(work);
    clean();
    result
}
