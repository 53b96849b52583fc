//! `tenantry lsp`: the language server on standard input and output.

use std::io::BufReader;
use std::process::ExitCode;

/// Arguments of `lsp`.
#[derive(Debug, clap::Args)]
pub struct LspArgs {
    /// Speak over standard input and output, which is the only way; editors pass it
    #[arg(long)]
    stdio: bool,
}

/// Serves one editor. Exit code 0 after a proper end, 1 where the editor just hung up.
pub fn run(args: &LspArgs) -> ExitCode {
    let LspArgs { stdio: _ } = args;
    ExitCode::from(crate::lsp::serve(BufReader::new(std::io::stdin()), std::io::stdout()))
}
