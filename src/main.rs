//! Arguments in, exit code out.

fn main() -> std::process::ExitCode {
    tenantry::cli::main()
}
