//! Arguments in, exit code out.

/// Overwrites all memory that is given back: values pass through buffers of libraries that know nothing of secrets.
#[global_allocator]
static MEMORY: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    tenantry::cli::main()
}
