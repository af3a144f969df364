#!/bin/sh
# Make or complete the environment: make-venv.sh PYTHON FOLDER GROUP…
#
# Standard venv and pip; virtualenv where Debian's python3 comes without ensurepip; apt where
# neither is there and this is root.
set -eu

python=$1
folder=$2
shift 2

if [ -z "$python" ]; then
    echo "Placewise needs Python 3.11, 3.12 or 3.13, and found none." >&2
    echo "On Debian: apt-get install python3 python3-venv. Or name one: make PYTHON=/path/to/python3" >&2
    exit 1
fi

usable() { "$folder/bin/python" -m pip --version >/dev/null 2>&1; }

if ! usable; then
    rm -rf "$folder"
    if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
        rm -rf "$folder"
        if "$python" -m virtualenv --version >/dev/null 2>&1; then
            "$python" -m virtualenv --quiet "$folder"
        elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
            version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
            echo "installing python${version}-venv, which $python lacks"
            apt-get update -q >/dev/null
            DEBIAN_FRONTEND=noninteractive apt-get install -qy "python${version}-venv" >/dev/null
            "$python" -m venv "$folder"
        else
            echo "$python can't make a virtual environment." >&2
            echo "On Debian: apt-get install python3-venv (as root). Elsewhere: pip install virtualenv" >&2
            exit 1
        fi
    fi
fi

pip() { "$folder/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# Dependency groups need pip 25.1.
pip install --upgrade "pip>=25.1"
groups=
for group in "$@"; do groups="$groups --group $group"; done
# shellcheck disable=SC2086 # one word per group
pip install --editable . $groups
