#!/bin/sh
# Install what the tests use beside Python packages, where this machine lets us; say clearly
# what stays missing: the tests that need it are then skipped, by name.
#
#   mosquitto, mosquitto-clients   the real broker and the C clients
#   systemd                        systemd-analyze, which reads the unit
#   nodejs, npm                    AsyncAPI's own parser, which reads the contract
set -u

here=$(cd "$(dirname "$0")" && pwd)
missing=

have() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" >/dev/null 2>&1; }

wanted=
have mosquitto || wanted="$wanted mosquitto"
have mosquitto_rr || wanted="$wanted mosquitto-clients"
have systemd-analyze || wanted="$wanted systemd"
have node || wanted="$wanted nodejs"
have npm || wanted="$wanted npm"

if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "test set-up: installing$wanted"
    apt-get update -q >/dev/null || echo "test set-up: apt-get update failed" >&2
    for package in $wanted; do # one by one: one that is not there must not stop the others
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$package" \
            >/dev/null || echo "test set-up: could not install $package" >&2
    done
    case "$wanted" in
    *" mosquitto "* | *" mosquitto")
        # The tests start brokers of their own; the package would leave one running for good.
        if [ -d /run/systemd/system ]; then systemctl disable --now --quiet mosquitto; fi
        ;;
    esac
fi

for command in mosquitto mosquitto_pub mosquitto_rr systemd-analyze node; do
    have "$command" || missing="$missing $command"
done

parser="$here/asyncapi"
if have npm; then
    if [ ! -e "$parser/node_modules/.ready" ] ||
        [ "$parser/package-lock.json" -nt "$parser/node_modules/.ready" ]; then
        if (cd "$parser" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null); then
            touch "$parser/node_modules/.ready"
        else
            missing="$missing @asyncapi/parser"
        fi
    fi
else
    missing="$missing npm"
fi

if [ -n "$missing" ]; then
    echo "test set-up: missing:$missing" >&2
    echo "test set-up: the tests that need them are skipped, each by name" >&2
fi
exit 0
