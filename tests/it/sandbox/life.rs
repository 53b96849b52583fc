//! What a step sees, how it starts, how it ends.

use super::harness::*;
use tenantry::domain::{ExitKind, Tier};
use tenantry::sandbox::StepOutput;

#[test]
fn a_script_says_hello() {
    block_on(async {
        let executor = open(Tier::Sandbox).await;
        if !can_sandbox(&executor) {
            return;
        }
        let seen = run(&executor, spec("echo '{\"a\":1}' > $TENANTRY_OUTPUT; scripts/hello.sh x")).await;
        assert_eq!((seen.stdout.as_str(), seen.stderr.as_str()), ("hello x\n", ""));
        assert_eq!(seen.ended.exit.kind, ExitKind::Exited);
        assert_eq!(seen.ended.output, StepOutput::Bytes(b"{\"a\":1}\n".to_vec()));
    });
}
