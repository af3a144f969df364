#!/bin/sh
# Check the types of the page for browsers, where Node is there; say so where it is not.
set -eu

cd "$(dirname "$0")/browser"
if ! command -v npm >/dev/null 2>&1; then
    echo "skipped: the types of web_bridge/browser (npm is missing)"
    exit 0
fi
if [ ! -e node_modules/.ready ] || [ package-lock.json -nt node_modules/.ready ]; then
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    touch node_modules/.ready
fi
node_modules/.bin/tsc -p .
