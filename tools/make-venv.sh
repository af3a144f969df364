#!/bin/sh
# Make or complete the environment: make-venv.sh PYTHON FOLDER GROUP…
#
# Standard venv and pip. Debian's python3 comes without ensurepip: then virtualenv or the
# system's pip, and apt where neither is there and this is root.
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

with_venv() { "$python" -m venv --clear "$folder" >/dev/null 2>&1 && usable; }

with_virtualenv() { "$python" -m virtualenv --quiet --clear "$folder" >/dev/null 2>&1 && usable; }

with_system_pip() {
    "$python" -m venv --clear --without-pip "$folder" >/dev/null 2>&1 &&
        "$python" -m pip --python "$folder/bin/python" install --quiet pip >/dev/null 2>&1 &&
        usable
}

with_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    echo "installing $package, which $python lacks"
    apt-get update -q >/dev/null || true
    DEBIAN_FRONTEND=noninteractive apt-get install -qy "$package" >/dev/null && with_venv
}

if ! usable && ! with_venv && ! with_virtualenv && ! with_system_pip && ! with_apt; then
    echo "$python can't make a virtual environment with pip in it." >&2
    echo "On Debian: apt-get install python3-venv (as root). Elsewhere: pip install virtualenv" >&2
    exit 1
fi

pip() { "$folder/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }

# Dependency groups need pip 25.1.
pip install --upgrade "pip>=25.1"
groups=
for group in "$@"; do groups="$groups --group $group"; done
# shellcheck disable=SC2086 # one word per group
pip install --editable . $groups
