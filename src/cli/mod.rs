//! Commands.

pub mod demo;
pub mod init;
pub mod new;
pub mod scaffold;
pub mod secrets;

/// Runs the command line and gives the process's exit code.
pub fn main() -> std::process::ExitCode {
    // The sandbox's helper is this program too. It must stay one small thread, so it turns off here, before
    // anything is read, started or allocated that it does not need.
    if crate::sandbox::is_helper(std::env::args_os()) {
        return crate::sandbox::helper::main();
    }
    std::process::ExitCode::SUCCESS
}
