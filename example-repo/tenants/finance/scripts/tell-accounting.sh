#!/bin/sh
# Runs after a failure. It has neither the secrets nor the network of the step that failed.
set -eu
echo "accounting: run $TENANTRY_RUN_ID of $TENANTRY_WORKFLOW needs a look"
