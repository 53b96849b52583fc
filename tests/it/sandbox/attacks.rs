//! Every way out of the sandbox that we know, tried: no script may print `REACHED` from inside. The same script
//! runs once more without a sandbox and must print it there, so that a broken script does not pass for a wall.

use super::harness::outside;
use tenantry::domain::Tier;

/// Who can show that a script works where there are no walls.
#[derive(PartialEq)]
enum Shown {
    /// Any user.
    All,
    /// Only root may do such things at all.
    Root,
    /// Nobody on every machine: the kernel may be built without it, or it would do harm.
    Nobody,
}

#[track_caller]
fn attack(interpreter: &str, shown: &Shown, script: &str) {
    let ways = [Tier::Sandbox, Tier::Bubblewrap].map(|tier| [(tier, false), (tier, true)]);
    for (tier, in_runtime) in ways.into_iter().flatten() {
        // Who reads it may be missing in the runtime, which has a shell and Python.
        if in_runtime && !["sh", "python3"].contains(&interpreter) {
            continue;
        }
        let Some(inside) = outside().attack(tier, in_runtime, interpreter, script) else { continue };
        let told =
            format!("{tier}, runtime {in_runtime}: {:?}\n{}{}", inside.ended, inside.stdout, inside.stderr);
        assert_eq!(inside.ended.usage.tier, tier);
        assert!(!inside.stdout.contains("REACHED"), "it got out of the sandbox: {told}");
        assert!(
            !inside.stderr.contains("not installed here") && !inside.stderr.contains("not in this runtime"),
            "{told}"
        );
        assert!(!inside.stderr.contains("SyntaxError") && !inside.stderr.contains("NameError"), "{told}");
    }
    let root = rustix::process::geteuid().is_root();
    if *shown == Shown::All || (*shown == Shown::Root && root) {
        let seen = outside().attack(Tier::UnsafeNone, false, interpreter, script).unwrap();
        assert!(seen.stdout.contains("REACHED"), "the script does not work at all: {seen:?}");
    }
}

macro_rules! attacks {
    ($($name:ident: $interpreter:literal, $shown:ident, $script:literal;)*) => {
        $(#[test] fn $name() { attack($interpreter, &Shown::$shown, $script); })*
    };
}

attacks! {
    // files
    reads_a_file_of_the_host: "sh", All, "cat @DIR@/file";
    reads_a_file_of_the_host_through_a_link: "sh", All, "ln -s @DIR@/file /tmp/l-$$ && cat /tmp/l-$$; rm -f /tmp/l-$$";
    climbs_out_with_dots: "sh", All, "cat ../../../../../../../../../../../../..@DIR@/file";
    lists_homes_and_data: "sh", All, "ls -d /root /home /var /srv /mnt /boot /sys 2>/dev/null | grep -q . && echo REACHED";
    reads_password_hashes: "sh", Root, "test -s /etc/shadow && cat /etc/shadow >/dev/null && echo REACHED";
    writes_a_file_of_the_host: "sh", All, "echo x > @DIR@/written-$$ && echo REACHED";
    writes_the_systems_files: "sh", Nobody, "for d in / /usr /usr/bin /etc /opt /run /dev /proc /repo /run/tenantry; do touch $d/x 2>/dev/null && echo REACHED; done";
    changes_a_script: "sh", All, "chmod u+w scripts/hello.sh; echo x >> scripts/hello.sh && echo REACHED";
    adds_a_script: "sh", All, "echo x > scripts/new.sh && echo REACHED";
    replaces_the_brokers_socket: "sh", All, "s=$(readlink -f $TENANTRY_SOCKET); rm -f $s && echo REACHED; mv $s $s.old && echo REACHED";
    swaps_the_directory_of_its_output: "sh", All, "d=$(dirname $(readlink -f $TENANTRY_OUTPUT)); mv $d /tmp/swapped-$$ && ln -s /etc $d && echo REACHED; rm -rf /tmp/swapped-$$ $d";
    writes_beside_its_own_directories: "sh", Nobody, "for d in /scratch /scratch/door /run /run/tenantry/secrets /opt/tenantry /opt/tenantry/lib /root; do (: > $d/x) 2>/dev/null && echo REACHED; mkdir $d/y 2>/dev/null && echo REACHED; done";
    makes_its_root_writable_again: "python3", Nobody, "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for place in (b'/', b'/usr', b'/etc', b'/run/tenantry', b'/opt/tenantry'):
    if libc.mount(None, place, None, 32, None) == 0 or libc.umount2(place, 2) == 0: print('REACHED')
    attributes = (ctypes.c_uint64 * 4)(0, 1, 0, 0)
    if libc.syscall(442, -100, place, 0, attributes, 32) == 0: print('REACHED')
";
    finds_what_its_directories_are_parts_of: "sh", Nobody, "for d in /tmp/work /tmp/tmp /tmp/output /tmp/shm /run/repo /run/run /run/hosts /tmp/../tmp/work /run/tenantry/../repo /run/tenantry/../../run/repo /proc/self/root/run/repo; do ls -d $d 2>/dev/null && echo REACHED; done; ls /run | grep -vx tenantry && echo REACHED; ls -A /tmp | grep -q . && echo REACHED";
    uses_the_hosts_shared_memory: "sh", Nobody, "ls /dev/shm | grep -q . && echo REACHED";
    opens_a_file_by_handle: "python3", Root, "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(136); ctypes.c_uint.from_buffer(buffer).value = 128
mount = ctypes.c_int()
if libc.name_to_handle_at(-100, b'/usr', buffer, ctypes.byref(mount), 0) == 0: print('REACHED')
";
    // processes
    sees_processes_of_the_host: "sh", All, "test -d /proc/@SLEEPER@ && echo REACHED";
    reads_the_daemons_environment: "sh", All, "tr '\\0' '\\n' < /proc/@DAEMON@/environ | grep -q . && echo REACHED";
    signals_a_process_of_the_host: "sh", All, "kill -0 @SLEEPER@ && echo REACHED";
    looks_into_its_first_process: "sh", Root, "for f in environ mem maps fd root/etc cwd/.; do { cat /proc/$PPID/$f || ls /proc/$PPID/$f/; } 2>/dev/null | head -c1 | grep -q . && echo REACHED; done";
    traces_another_process: "python3", All, "
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
child = os.fork()
if child == 0:
    time.sleep(5); os._exit(0)
if libc.ptrace(16, child, 0, 0) == 0: print('REACHED', flush=True)
os.kill(child, 9)
";
    reads_another_processs_memory: "python3", All, "
import ctypes, os, time
libc = ctypes.CDLL(None, use_errno=True)
text = ctypes.create_string_buffer(b'secret'); copy = ctypes.create_string_buffer(6)
class Part(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
child = os.fork()
if child == 0:
    time.sleep(5); os._exit(0)
to, from_ = Part(ctypes.addressof(copy), 6), Part(ctypes.addressof(text), 6)
if libc.process_vm_readv(child, ctypes.byref(to), 1, ctypes.byref(from_), 1, 0) == 6: print('REACHED', flush=True)
os.kill(child, 9)
";
    // mounts, roots, namespaces
    mounts_a_file_system: "python3", Root, "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
place = os.environ['HOME'].encode()
if libc.mount(b'x', place, b'tmpfs', 0, None) == 0:
    print('REACHED'); libc.umount2(place, 2)
";
    makes_its_scripts_writable_again: "python3", Nobody, "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(None, b'/repo', None, 32 | 4096, None) == 0: print('REACHED')
if libc.umount2(b'/proc/sys', 2) == 0: print('REACHED')
";
    opens_a_tree_of_mounts: "python3", Root, "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(428, -100, b'/', 1) >= 0: print('REACHED')
if libc.syscall(430, b'tmpfs', 0) >= 0: print('REACHED')
";
    makes_a_user_namespace: "python3", Root, "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000) == 0: print('REACHED')
";
    clones_into_a_user_namespace: "python3", Root, "
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
number = 56 if platform.machine() == 'x86_64' else 220
made = libc.syscall(number, 0x10000000 | 17, 0, 0, 0, 0)
if made == 0: os._exit(0)
if made > 0: print('REACHED')
";
    clones_by_the_newer_call: "python3", Root, "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
made = libc.syscall(435, arguments, 88)
if made == 0: os._exit(0)
if made > 0: print('REACHED')
";
    enters_a_namespace: "python3", Root, "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for kind in ('uts', 'ipc', 'net'):
    if libc.setns(os.open('/proc/self/ns/' + kind, 0), 0) == 0: print('REACHED')
";
    changes_its_root: "python3", Root, "
import os
os.chroot(os.environ['HOME']); print('REACHED')
";
    changes_the_hosts_name: "python3", Root, "
import socket
socket.sethostname(socket.gethostname()); print('REACHED')
";
    knows_the_hosts_name: "sh", All, "test \"$(uname -n)\" != sandbox && echo REACHED";
    // rights
    becomes_root: "python3", Root, "
import os
for become in (os.setuid, os.seteuid, os.setgid):
    try:
        become(0); print('REACHED')
    except OSError: pass
";
    has_a_capability: "sh", Root, "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | grep -qv 0000000000000000 && echo REACHED";
    gains_rights_by_a_program: "sh", All, "grep -q '^NoNewPrivs:.0' /proc/self/status && echo REACHED";
    makes_a_device: "python3", Root, "
import os, stat
os.mknod(os.environ['HOME'] + '/null', 0o600 | stat.S_IFCHR, os.makedev(1, 3)); print('REACHED')
";
    finds_a_device_of_the_machine: "sh", All, "cd /dev; for d in *; do case $d in fd|full|null|random|shm|stderr|stdin|stdout|urandom|zero) ;; *) echo REACHED ;; esac; done";
    changes_the_kernels_settings: "sh", Root, "v=$(cat /proc/sys/vm/swappiness) && echo $v > /proc/sys/vm/swappiness && echo REACHED";
    reads_the_kernels_log: "python3", Root, "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.klogctl(3, ctypes.create_string_buffer(4096), 4096) >= 0: print('REACHED')
";
    sets_the_clock: "python3", Root, "
import time
time.clock_settime(time.CLOCK_REALTIME, time.time()); print('REACHED')
";
    // parts of the kernel
    keeps_a_key_in_the_kernel: "python3", All, "
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
number = 248 if platform.machine() == 'x86_64' else 217
if libc.syscall(number, b'user', b'tenantry-test', b'x', 1, -3) >= 0: print('REACHED')
";
    loads_a_program_into_the_kernel: "python3", Nobody, "
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
number = 321 if platform.machine() == 'x86_64' else 280
attributes = (ctypes.c_uint32 * 32)(2, 4, 4, 1)
if libc.syscall(number, 0, attributes, 128) >= 0 or ctypes.get_errno() not in (1, 38): print('REACHED')
";
    uses_io_uring: "python3", Nobody, "
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(425, 1, ctypes.create_string_buffer(120)) >= 0 or ctypes.get_errno() not in (1, 38): print('REACHED')
";
    handles_its_own_page_faults: "python3", Nobody, "
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
number = 323 if platform.machine() == 'x86_64' else 282
if libc.syscall(number, 1) >= 0: print('REACHED')
";
    counts_the_processors_events: "python3", Nobody, "
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
number = 298 if platform.machine() == 'x86_64' else 241
attributes = (ctypes.c_uint32 * 32)(1, 128, 0)
if libc.syscall(number, attributes, 0, -1, -1, 0) >= 0 or ctypes.get_errno() not in (1, 38): print('REACHED')
";
    // network
    connects_to_the_hosts_loopback: "python3", All, "
import socket
print(socket.create_connection(('127.0.0.1', @PORT@), 3).recv(16).decode())
";
    connects_to_an_abstract_socket: "python3", All, "
import socket
one = socket.socket(socket.AF_UNIX); one.connect('\\0@ABSTRACT@'); print(one.recv(16).decode())
";
    connects_to_a_socket_of_the_host: "python3", All, "
import socket
one = socket.socket(socket.AF_UNIX); one.connect('@DIR@/socket'); print(one.recv(16).decode())
";
    sees_the_hosts_interfaces: "sh", Nobody, "tail -n +3 /proc/net/dev | grep -v '^ *lo:' | grep -q . && echo REACHED; tail -n +2 /proc/net/route | grep -q . && echo REACHED";
    opens_a_socket_to_the_hypervisor: "python3", Nobody, "
import socket
socket.socket(40, socket.SOCK_STREAM); print('REACHED')
";
    opens_a_packet_socket: "python3", Root, "
import socket
socket.socket(socket.AF_PACKET, socket.SOCK_RAW); print('REACHED')
";
    opens_a_netlink_socket: "python3", All, "
import socket
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); print('REACHED')
";
    opens_the_kernels_cryptography: "python3", Nobody, "
import socket
socket.socket(38, socket.SOCK_SEQPACKET); print('REACHED')
";
    opens_a_raw_socket: "python3", Root, "
import socket
socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); print('REACHED')
";
    // leaks
    finds_the_daemons_variables: "sh", Nobody, "env | grep -E '^(CARGO|USER|LOGNAME|SHELL|SSH|RUST)' && echo REACHED";
    finds_a_descriptor_of_the_daemon: "python3", Nobody, "
import os
for number in os.listdir('/proc/self/fd'):
    try: target = os.readlink('/proc/self/fd/' + number)
    except OSError: continue
    if int(number) > 2 and target != '/run/tenantry/script': print('REACHED', target)
";
    finds_its_control_group: "sh", Root, "grep -q tenantry /proc/self/cgroup && echo REACHED";
    writes_to_control_groups: "sh", Root, "ls /sys/fs/cgroup | grep -q . && echo REACHED";
    leaves_a_core: "sh", Nobody, "ulimit -c unlimited && echo REACHED";
    runs_on_a_terminal: "sh", Nobody, "echo x > /dev/tty && echo REACHED";
}

/// The interfaces of older processors go round every list of calls by number.
#[test]
#[cfg(target_arch = "x86_64")]
fn calls_the_kernel_in_another_tongue() {
    // `int 0x80` with the number of getpid in the old table, and unshare with the x32 bit.
    let script = "
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex('b814000000cd80c3'))
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(0x40000000 | 39) >= 0: print('REACHED', flush=True)
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
if call() > 0: print('REACHED', flush=True)
";
    attack("python3", &Shown::Nobody, script);
}

/// Two attempts at one time share nothing, also when they are of one tenant.
fn an_attempt_sees_nothing_of_another(tier: Tier) {
    let one = std::thread::spawn(move || {
        outside().attack(tier, false, "sh", "echo REACHED > /work/x; echo REACHED > /tmp/x; sleep 2")
    });
    std::thread::sleep(std::time::Duration::from_millis(700));
    let script = "cat /work/x /tmp/x /proc/*/root/work/x; ls /proc | grep -c '^[0-9]'";
    let Some(two) = outside().attack(tier, false, "sh", script) else { return };
    assert!(!two.stdout.contains("REACHED"), "{two:?}");
    // Its first process, the shell, and the pipeline's two.
    let processes: u32 = two.stdout.trim().parse().unwrap();
    assert!(processes <= 5, "{two:?}");
    one.join().unwrap();
}

#[test]
fn an_attempt_in_a_sandbox_sees_nothing_of_another() {
    an_attempt_sees_nothing_of_another(Tier::Sandbox);
}

#[test]
fn an_attempt_in_bubblewrap_sees_nothing_of_another() {
    an_attempt_sees_nothing_of_another(Tier::Bubblewrap);
}

/// The control above writes into the host's directory; nothing from inside has.
#[test]
fn nothing_was_written_outside_from_inside() {
    for tier in [Tier::Sandbox, Tier::Bubblewrap] {
        let Some(_) = outside().attack(tier, false, "sh", "echo x > @DIR@/from-inside; true") else {
            continue;
        };
        assert!(!outside().directory().join("from-inside").exists());
    }
}
