# What a step's script asks of tenantry, in any shell of POSIX.
#
#     . /opt/tenantry/lib/tenantry.sh
#
#     key=$(secret stripe_api_key) || exit         # masked in the logs from now on
#     old=$(secret stripe_api_key v1) || exit      # a version by its id
#     with_secrets DATABASE_URL=db_url -- psql …   # given to one command only
#     mask "$derived"                              # a value made out of a secret
#     output rows 17                               # `${{ steps.ID.outputs.rows }}` of later steps
#
# Values are asked for when they are needed and kept nowhere. Each function prints why it was refused and gives 1 for
# a refusal, 2 for a wrong call, 3 for a broker that does not answer. In `$(…)` a shell drops line breaks at the end.

secret() {
    tenantry-secret get "$@"
}

secrets() {
    tenantry-secret list
}

with_secrets() {
    tenantry-secret exec "$@"
}

# A value is no argument of a process: others could read it there. `printf` is part of the shell.
mask() {
    printf '%s' "$1" | tenantry-secret mask
}

output() {
    tenantry-output "$@"
}
