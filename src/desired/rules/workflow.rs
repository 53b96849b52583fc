//! W: workflows, their steps and scripts.

use super::family;

family! {
    UNKNOWN_NEEDS = "W201" "unknown-needs" Error
        what: "A step needs a step that the workflow does not have."
        why: "It would wait for something that never ends."
        wrong: "steps:\n  fetch: { run: scripts/pull.py }\n  load: { needs: [fecth], run: scripts/load.sh }"
        right: "steps:\n  fetch: { run: scripts/pull.py }\n  load: { needs: [fetch], run: scripts/load.sh }"
    NEEDS_CYCLE = "W202" "needs-cycle" Error
        what: "Steps wait for each other in a circle."
        why: "None of them could ever start; the message shows the shortest such circle."
        wrong: "steps:\n  pull: { needs: load, run: scripts/pull.py }\n  load: { needs: pull, run: scripts/load.sh }"
        right: "steps:\n  pull: { run: scripts/pull.py }\n  load: { needs: pull, run: scripts/load.sh }"
    RETRIES_OUTLAST_TIMEOUT = "W203" "retries-outlast-timeout" Warning
        what: "The waits between a step's retries are longer than the workflow's timeout."
        why: "The last attempts can never start."
        wrong: "run: scripts/pull.py\ntimeout: 5m\nretry: { attempts: 10, backoff: 1m }"
        right: "run: scripts/pull.py\ntimeout: 30m\nretry: { attempts: 3, backoff: 1m }"
    TIMEOUT_ABOVE_LIMIT = "W204" "timeout-above-limit" Error
        what: "A workflow's or step's timeout is above the tenant's or the workflow's."
        why: "It could never be used up, and its writer counts on it."
        wrong: "run: scripts/pull.py\ntimeout: 2h # tenant.yaml: limits: { run_timeout: 1h }"
        right: "run: scripts/pull.py\ntimeout: 1h"
    BAD_CRON = "W205" "bad-cron" Error
        what: "A schedule is not five fields of cron."
        why: "It would never fire, or at another time than its writer means."
        wrong: "run: scripts/pull.py\non: { schedule: \"0 25 * * *\" }"
        right: "run: scripts/pull.py\non: { schedule: \"0 4 * * *\" }"
    CRON_NEVER = "W206" "cron-never-fires" Error
        what: "No date has the day and month of a schedule."
        why: "A schedule that never fires looks like one that works."
        wrong: "run: scripts/pull.py\non: { schedule: \"0 4 30 2 *\" }"
        right: "run: scripts/pull.py\non: { schedule: \"0 4 28 2 *\" }"
    UNKNOWN_ZONE = "W207" "unknown-zone" Error
        what: "A time zone is none of the IANA database."
        why: "Abbreviations such as CEST mean different offsets to different readers."
        wrong: "run: scripts/pull.py\non: { schedule: [{ cron: \"0 4 * * *\", timezone: Europe/Berln }] }"
        right: "run: scripts/pull.py\non: { schedule: [{ cron: \"0 4 * * *\", timezone: Europe/Berlin }] }"
    SCRIPT_MISSING = "W208" "script-missing" Error
        what: "The script of a step is not in the tenant's directory, or `files` leaves it out."
        why: "The step could only fail; letters of the wrong case are the usual reason."
        wrong: "run: scripts/Pull.py"
        right: "run: scripts/pull.py"
    SCRIPT_NOT_EXECUTABLE = "W209" "script-not-executable" Error
        what: "The script of a step does not have the executable bit."
        why: "Whether a file is a program is what its mode says, in Git as on a disk."
        wrong: "# tenants/acme/scripts/sum.sh\n#!/bin/sh\n# tenants/acme/workflows/sync.yaml\nrun: scripts/sum.sh"
        right: "# tenants/acme/scripts/sum.sh, executable\n#!/bin/sh\n# tenants/acme/workflows/sync.yaml\nrun: scripts/sum.sh"
    UNKNOWN_SHEBANG = "W210" "unknown-shebang" Error
        what: "The script of a step does not start with a shebang line that the sandbox can follow."
        why: "Without `#!` and an interpreter the system cannot start it; behind CRLF line ends the interpreter's name ends in an invisible character."
        wrong: "# tenants/acme/scripts/sum.sh, executable\n#!/bin/sh\\r\necho hello\\r\n# tenants/acme/workflows/sync.yaml\nrun: scripts/sum.sh"
        right: "# tenants/acme/scripts/sum.sh, executable\n#!/bin/sh\necho hello\n# tenants/acme/workflows/sync.yaml\nrun: scripts/sum.sh"
    PATH_ESCAPE = "W211" "path-escape" Error
        what: "A path is absolute, or leaves the tenant's directory by `..`."
        why: "What a step runs and sees belongs to its tenant alone."
        wrong: "run: ../globex/scripts/pull.py"
        right: "run: scripts/pull.py"
    UNDEFINED_INPUT = "W212" "undefined-input" Error
        what: "An expression or a trigger names an input that the workflow does not declare."
        why: "It would have no value."
        wrong: "run: scripts/pull.py\ninputs: { day: { default: today } }\nwith: { day: \"${{ inputs.dya }}\" }"
        right: "run: scripts/pull.py\ninputs: { day: { default: today } }\nwith: { day: \"${{ inputs.day }}\" }"
    UNDEFINED_OUTPUT = "W213" "undefined-output" Error
        what: "An expression names a step or an output that does not exist, or a step that may not have ended by then."
        why: "It would have no value; only what a step waits for has ended for certain."
        wrong: "steps:\n  pull: { run: scripts/pull.py, outputs: { count: int } }\n  load: { if: \"steps.pull.outputs.cuont > 0\", run: scripts/load.sh }"
        right: "steps:\n  pull: { run: scripts/pull.py, outputs: { count: int } }\n  load: { if: \"steps.pull.outputs.count > 0\", run: scripts/load.sh }"
    MISPLACED_EXPRESSION = "W214" "misplaced-expression" Error
        what: "`${{` stands in a field that takes no expression."
        why: "Expressions stand only in `with`, `if`, `for_each`, `default` and `concurrency.key`, so that every secret, host and path is known from the commit alone."
        wrong: "run: scripts/pull.py\ninputs: { day: { default: today } }\nargs: [\"${{ inputs.day }}\"]"
        right: "run: scripts/pull.py\ninputs: { day: { default: today } }\nwith: { day: \"${{ inputs.day }}\" }"
    SECRET_EXPRESSION = "W215" "secret-in-expression" Error
        what: "An expression reads `secrets`."
        why: "No expression reads a secret: the step declares it, and its script asks for it or gets it in a variable or file."
        wrong: "run: scripts/pull.py\nwith: { key: \"${{ secrets.warehouse_url }}\" }"
        right: "run: scripts/pull.py\nsecrets: [warehouse_url]"
    EGRESS_ABOVE_TENANT = "W216" "egress-above-tenant" Error
        what: "A step asks for a host that the tenant's `egress` does not list."
        why: "`egress` in tenant.yaml is the most that any of its workflows may reach."
        wrong: "run: scripts/pull.py\nnetwork: [api.strpe.com:443] # tenant.yaml: egress: [api.stripe.com:443]"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\negress: [api.stripe.com:443]\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py\nnetwork: [api.stripe.com:443]"
    COMMAND_LINE_IN_RUN = "W217" "command-line-in-run" Error
        what: "`run` holds a command line."
        why: "`run` names one script of the repository; its arguments stand in `args`, and a line of shell is a `script`."
        wrong: "run: scripts/load.sh --all"
        right: "run: scripts/load.sh\nargs: [--all]"
    BAD_EXPRESSION = "W218" "bad-expression" Error
        what: "An expression cannot be read, or starts from an unknown name."
        why: "It would fail in the middle of a run."
        wrong: "steps:\n  pull: { run: scripts/pull.py, outputs: { count: int } }\n  load: { if: \"steps.pull.outputs.count >\", run: scripts/load.sh }"
        right: "steps:\n  pull: { run: scripts/pull.py, outputs: { count: int } }\n  load: { if: \"steps.pull.outputs.count > 0\", run: scripts/load.sh }"
    INPUT_WITHOUT_VALUE = "W219" "input-without-value" Error
        what: "A trigger that no person fills in leaves a required input without a value."
        why: "Its runs could not start."
        wrong: "run: scripts/pull.py\non: { schedule: \"0 4 * * *\" }\ninputs: { day: { type: string } }"
        right: "run: scripts/pull.py\non: { schedule: \"0 4 * * *\" }\ninputs: { day: { type: string, default: \"${{ day(trigger.time, -1) }}\" } }"
    ILL_TYPED_VALUE = "W220" "ill-typed-value" Error
        what: "A default, or the value that a trigger gives, is not of the input's type."
        why: "The script would get another type than it declares."
        wrong: "run: scripts/pull.py\ninputs: { count: { type: int, default: \"3\" } }"
        right: "run: scripts/pull.py\ninputs: { count: { type: int, default: 3 } }"
    UNEVEN_SCHEDULE = "W221" "uneven-schedule" Warning
        what: "A schedule's time is skipped or comes twice when the clock changes."
        why: "It fires once either way, but late on one day of the year; a time outside 02:00 to 03:00 avoids it."
        wrong: "run: scripts/pull.py\non: { schedule: [{ cron: \"30 2 * * *\", timezone: Europe/Berlin }] }"
        right: "run: scripts/pull.py\non: { schedule: [{ cron: \"30 4 * * *\", timezone: Europe/Berlin }] }"
    RESOURCE_ABOVE_LIMIT = "W222" "resource-above-limit" Error
        what: "A step asks for more memory than the tenant has."
        why: "It could never be started."
        wrong: "run: scripts/pull.py\nresources: { memory: 2GiB } # tenant.yaml: limits: { memory: 512MiB }"
        right: "run: scripts/pull.py\nresources: { memory: 512MiB }"
    DELIVERY_FORBIDDEN = "W223" "delivery-forbidden" Error
        what: "A step wants a secret in a way that its tenant does not allow."
        why: "`secrets.delivery` of tenant.yaml says how secrets may arrive."
        wrong: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…], delivery: [socket] }\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py\nsecrets: [{ name: warehouse_url, file: WAREHOUSE_URL_FILE }]"
        right: "# tenants/acme/tenant.yaml\nowner: group:acme-owners\nsecrets: { recipients: [age1acme…], delivery: [socket] }\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py\nsecrets: [warehouse_url]"
    SECRET_IN_ENVIRONMENT = "W224" "secret-in-environment" Warning
        what: "A secret arrives in an environment variable."
        why: "Every process that the step starts inherits it, and crash reports print it; `tenantry-secret exec` gives it to one command only."
        wrong: "run: scripts/pull.py\nsecrets: [{ name: warehouse_url, env: DATABASE_URL }]"
        right: "run: scripts/pull.py\nsecrets: [warehouse_url] # and in the script: tenantry-secret exec DATABASE_URL=warehouse_url -- psql"
    BAD_VARIABLE = "W225" "bad-variable" Error
        what: "The name of an environment variable is malformed, belongs to tenantry or changes how programs are loaded."
        why: "A secret in `LD_PRELOAD` or `PATH` would decide what runs."
        wrong: "run: scripts/pull.py\nsecrets: [{ name: warehouse_url, file: LD_PRELOAD }]"
        right: "run: scripts/pull.py\nsecrets: [{ name: warehouse_url, file: WAREHOUSE_URL_FILE }]"
    SHARED_MAPPING = "W226" "shared-mapping" Error
        what: "A use of a shared workflow lacks a secret or gives one that the shared workflow does not ask for, or the shared workflow does not exist."
        why: "Nothing is inherited: a tenant names each of its secrets that a shared workflow gets."
        wrong: "# shared/invoices/workflow.yaml\nscript: tenantry-secret get warehouse_url\nsecrets: [warehouse_url]\n# tenants/acme/workflows/sync.yaml\nuses: shared/invoices"
        right: "# shared/invoices/workflow.yaml\nscript: tenantry-secret get warehouse_url\nsecrets: [warehouse_url]\n# tenants/acme/workflows/sync.yaml\nuses: shared/invoices\nsecrets: { warehouse_url: warehouse_url }"
    NOTHING_MATCHES = "W227" "nothing-matches" Warning
        what: "A glob of `files` or `paths` matches no file."
        why: "It is most often misspelled, and then a script lacks a file or a commit starts nothing."
        wrong: "run: scripts/pull.py\nfiles: [scripts/**, scirpts/lib/**]"
        right: "run: scripts/pull.py\nfiles: [scripts/**]"
    SENSITIVE_MISUSED = "W228" "sensitive-misused" Error
        what: "A sensitive input is used outside `with`, or there as a part of something longer; or it is given in a file; or it is no text."
        why: "Conditions, keys and whatever expressions make are stored in clear, and so is Git. It is encrypted when a person gives it, and a worker puts it into the step's input where `with` names it."
        wrong: "run: scripts/pull.py\ninputs: { email: { sensitive: true } }\nconcurrency: { key: \"${{ inputs.email }}\" }"
        right: "run: scripts/pull.py\ninputs: { email: { sensitive: true } }\nwith: { email: \"${{ inputs.email }}\" }"
    UNREACHABLE_STEP = "W229" "unreachable-step" Warning
        what: "A step can never run: its condition is false whatever starts the workflow, or it needs such a step."
        why: "It looks as if it were in force; the condition most often compares with a misspelled word."
        wrong: "on: { schedule: \"0 4 * * *\" }\nsteps:\n  pull: { run: scripts/pull.py }\n  load: { if: \"trigger.kind == 'shedule'\", run: scripts/load.sh }"
        right: "on: { schedule: \"0 4 * * *\" }\nsteps:\n  pull: { run: scripts/pull.py }\n  load: { if: \"trigger.kind == 'schedule'\", run: scripts/load.sh }"
    SCHEDULE_TOO_OFTEN = "W230" "schedule-too-often" Warning
        what: "A schedule fires more often than every five minutes."
        why: "Its runs pile up or are skipped as soon as one is slow, and a log of thousands of runs a day is read by nobody; an event or a longer interval is most often meant."
        wrong: "on: { schedule: \"* * * * *\" }\nrun: scripts/pull.py"
        right: "on: { schedule: \"*/5 * * * *\" }\nrun: scripts/pull.py"
    TRIGGERS_ITSELF = "W231" "triggers-itself" Warning
        what: "A script of a workflow does what starts the workflow: it pushes a commit, calls the workflow's hook or starts it by name."
        why: "Each run would start the next one, for ever."
        wrong: "on: commit\nscript: git commit -am report && git push"
        right: "on: { schedule: \"0 4 * * *\" }\nscript: git commit -am report && git push"
    APPROVAL_OUT_OF_REACH = "W232" "approval-out-of-reach" Warning
        what: "Fewer people could give an approval than it takes."
        why: "It would wait until its time is over and then be rejected or skipped. People named in `from` count if they hold a role in the tenant."
        wrong: "steps:\n  pull: { run: scripts/pull.py }\n  check: { approval: { from: [operator], count: 5 } }\n  load: { run: scripts/load.sh }"
        right: "steps:\n  pull: { run: scripts/pull.py }\n  check: { approval: { from: [operator] } }\n  load: { run: scripts/load.sh }"
    PYTHON_LOCK_MISSING = "W240" "python-lock-missing" Error
        what: "A Python script carries dependencies (PEP 723) and no lock lies beside it."
        why: "Without a lock every run could get other code than the one that was reviewed. `uv lock --script scripts/pull.py` writes `scripts/pull.py.lock`, with the hash of every file."
        wrong: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# /// script\n# dependencies = [\"idna>=3\"]\n# ///\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
        right: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
    PYTHON_LOCK_STALE = "W241" "python-lock-stale" Error
        what: "A Python script and the lock beside it do not agree, or one of them cannot be read."
        why: "The lock is what is installed: what the script says and the lock does not would be missing, or of another version."
        wrong: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# /// script\n# dependencies = [\"idna>=3\"]\n# ///\n# tenants/acme/scripts/pull.py.lock\nversion = 1\nrequires-python = \">=3.11\"\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
        right: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# /// script\n# requires-python = \">=3.11\"\n# ///\n# tenants/acme/scripts/pull.py.lock\nversion = 1\nrequires-python = \">=3.11\"\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
    PYTHON_NO_WHEEL = "W242" "python-no-wheel" Error
        what: "A locked package has no wheel with a SHA-256, or comes from no index."
        why: "Building a package runs its code before anybody's script does; a wheel is only unpacked, and its hash says that it is the one that was locked."
        wrong: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# /// script\n# dependencies = [\"idna\"]\n# ///\n# tenants/acme/scripts/pull.py.lock\nversion = 1\nrequires-python = \">=3.11\"\nmanifest = { requirements = [{ name = \"idna\" }] }\npackage = [{ name = \"idna\", source = { git = \"https://git.example/idna\" } }]\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
        right: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
    PYTHON_INDEX = "W243" "python-index-not-listed" Error
        what: "A locked package comes from an index, or its files lie at a place, that the platform does not list."
        why: "`[python] indexes` of tenantry.toml says where code may come from, for all tenants."
        wrong: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# /// script\n# dependencies = [\"idna\"]\n# ///\n# tenants/acme/scripts/pull.py.lock\nversion = 1\nrequires-python = \">=3.11\"\nmanifest = { requirements = [{ name = \"idna\" }] }\npackage = [{ name = \"idna\", source = { registry = \"https://index.example/simple\" } }]\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
        right: "# tenants/acme/scripts/pull.py, executable\n#!/usr/bin/env python3\n# tenants/acme/workflows/sync.yaml\nrun: scripts/pull.py"
}
