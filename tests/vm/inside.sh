#!/bin/bash
# What is tried inside the machine of tests/vm/run. Says `ok` or `not ok` and what, a line each.
settings=$(sed -n 's/.*vm_settings=\([^ ]*\).*/\1/p' /proc/cmdline)
# shellcheck disable=SC1090
. "$settings"
export PATH=$path HOME=/tmp RUST_BACKTRACE=0
cd "$root" || exit 1
program=$root/target/debug/tenantry
judge() { if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; fi; }
parser() {
    "$system"/usr/lib64/ld-linux-x86-64.so.2 --library-path "$system/usr/lib/x86_64-linux-gnu" "$system/usr/sbin/apparmor_parser" \
        --skip-cache --base "$system/etc/apparmor.d" --Include "$system/etc/apparmor.d" "$@" 2>&1 | grep -v '^Cache' | sed 's/^/# /' || true
}

echo "# $(uname -r), controllers $(cat /sys/fs/cgroup/cgroup.controllers), $(cat /sys/kernel/security/lsm)"
echo "+memory +pids +cpu" >/sys/fs/cgroup/cgroup.subtree_control

# Doctor as a unit of an ordinary user: a group of its own that it may write, under a profile that denies user namespaces.
unit=0
cat >/tmp/unit.sh <<'X'
echo $$ >"$1/cgroup.procs"; shift
exec setpriv --reuid 65534 --regid 65534 --clear-groups bash -c "echo 'exec denied' >/proc/self/attr/apparmor/exec; exec $*"
X
doctor() {
    unit=$((unit + 1)) group=/sys/fs/cgroup/unit-$unit
    mkdir "$group" && chown -R 65534:65534 "$group"
    bash /tmp/unit.sh "$group" "$program" doctor "$@" >/tmp/said 2>&1 || true
}
says() { grep -qF "$1" /tmp/said; judge $? "$2: $1"; grep -qF "$1" /tmp/said || sed 's/^/# /' /tmp/said; }

for profile in tests/vm/denied.apparmor docs/apparmor/tenantry; do
    sed "s#/usr/local/bin/tenantry#$program#" "$profile" >"/tmp/$(basename "$profile")"
done
parser --replace /tmp/denied.apparmor
doctor --tier sandbox
says "steps are refused on this machine" "no user namespace"
says "user namespace: Permission denied" "no user namespace"
says "AppArmor profile in \`docs/apparmor/\`" "no user namespace"
parser --replace /tmp/tenantry
doctor --tier sandbox
says "steps run in the sandbox, their limits enforced" "with the profile in docs"
parser --remove /tmp/tenantry
parser --replace "$root/tests/vm/bwrap.apparmor"
doctor --tier bubblewrap
says "steps run in the sandbox of \`bwrap\`, their limits enforced" "bwrap alone has a profile"
says "reached through \`HTTPS_PROXY\` alone" "bwrap alone has a profile"
doctor --tier auto
says "steps run in the sandbox of \`bwrap\`, their limits enforced" "the default tier is not to be had"
says "not in the tier \`sandbox\`: mount namespace: user namespace: Permission denied" "the default tier is not to be had"
[ "$(find /sys/fs/cgroup/unit-$unit -name tenantry-daemon | wc -l)" = 1 ]
judge $? "two helpers, one after the other, have one leaf for the daemon"

# The tests of the suite, as root. An emulated processor takes longer to start `bwrap` than a fifth of it allows.
"$tests" --test-threads 2 "$filter" --skip the_processor_is_shared_out >/tmp/tests 2>&1
grep -E '^test .* (ok|FAILED)$' /tmp/tests | sed -E 's/^test (.*) \.\.\. ok$/ok \1/; s/^test (.*) \.\.\. FAILED$/not ok \1/'
grep -qE '^test result: ok\. [1-9][0-9]* passed' /tmp/tests
judge $? "there are tests of $filter, and all were run to their end"
sed -n '/^failures:/,$p' /tmp/tests | sed 's/^/# /'
echo "# all was tried"
sync
echo o >/proc/sysrq-trigger
sleep 10
