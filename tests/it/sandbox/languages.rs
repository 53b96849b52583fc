//! Scripts in other languages than the shell's, as their first lines name them.

use std::sync::Arc;

use tenantry::domain::Mode;
use tenantry::sandbox::{Program, StepSpec};

use super::egress::{PUBLIC, World, into, reaching};
use super::harness::{block_on, can_sandbox, file, open, run, spec, tier_of_this_run};

fn is_here(program: &str, package: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).exists());
    if !found {
        println!("missing: {package}");
    }
    found
}

#[test]
fn a_first_line_says_who_reads_a_script() {
    if !is_here("node", "nodejs") || !is_here("perl", "perl") {
        return;
    }
    block_on(async {
        let executor = open(tier_of_this_run()).await;
        if !can_sandbox(&executor) {
            return;
        }
        for (name, text, want) in [
            (
                "a.js",
                "#!/usr/bin/env node\nconsole.log('node', process.argv[2], process.cwd())\n",
                "node one /repo\n",
            ),
            (
                "a.py",
                "#!/usr/bin/env -S python3 -u\nimport sys; print('python', sys.argv[1])\n",
                "python one\n",
            ),
            ("a.pl", "#!/usr/bin/perl\nprint \"perl $ARGV[0]\\n\";\n", "perl one\n"),
            ("a.sh", "#! /bin/sh -e\nfalse\necho not here\n", ""),
            ("a.bash", "#!/usr/bin/env bash\nwords=(\"$@\"); echo \"bash ${words[0]}\"\n", "bash one\n"),
        ] {
            for mode in [Mode::Executable, Mode::File] {
                // Without its bit a script is handed to the program of its first line, whose one argument is all there
                // may be, as the kernel has it.
                if mode == Mode::File && name == "a.py" {
                    continue;
                }
                let step = StepSpec {
                    program: Program::File(name.to_owned()),
                    args: vec!["one".to_owned()],
                    files: vec![file(name, mode, text)],
                    ..spec("")
                };
                let seen = run(&executor, step).await;
                assert_eq!(seen.stdout, want, "{name} {mode:?}: {seen:?}");
            }
        }
    });
}

/// Node knows nothing of the proxy's variables; the host is where its name says.
#[test]
fn node_reaches_a_declared_host() {
    if !is_here("node", "nodejs") {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for mut stream in listener.incoming().flatten() {
            let mut heard = [0u8; 4096];
            drop(stream.read(&mut heard));
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"));
        }
    });
    let world = Arc::new(World::default().named("api.example", &[PUBLIC]).place("93.184.216.34:8080", at));
    block_on(async {
        let executor = into(&world).await;
        if !can_sandbox(&executor) {
            return;
        }
        let text = "require('http').get('http://api.example:8080/', answer => answer.on('data', it => console.log(String(it))))";
        let program = Program::Inline { interpreter: vec!["node".to_owned()], text: text.to_owned() };
        let step = StepSpec { program, ..reaching(spec(""), &[("api.example:8080", false)]) };
        let seen = run(&executor, step).await;
        assert_eq!(seen.stdout, "hello\n", "{seen:?}");
        assert_eq!(world.went(), ["93.184.216.34:8080"]);
    });
}
