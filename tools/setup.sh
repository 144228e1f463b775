#!/bin/sh
# Makes .venv from a hashed lock and installs the project into it. Does nothing when nothing changed.
#
#   tools/setup.sh          what the server needs to run
#   tools/setup.sh dev      and what its developers need
#
# Finds a Python >= 3.12 on PATH, then in pyenv's folder, then asks uv to download one.
# uv itself is taken from PATH, else installed with pip into .cache/setup (its hash is in requirements-dev.lock).
set -eu
cd "$(dirname "$0")/.."

# Trust what the machine trusts, so that it works behind a proxy with its own certificate.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"

mode=${1:-runtime}
stamp=.venv/.efferent-setup
case $mode in
    runtime) lock=requirements.lock ;;
    dev) lock=requirements-dev.lock ;;
    *) echo "setup: '$mode' is neither 'runtime' nor 'dev'" >&2; exit 2 ;;
esac

digest() { cat pyproject.toml "$1" | cksum; }

is_current() { # an environment for developers can run the server too
    [ -x .venv/bin/efferent ] && [ -f "$stamp" ] || return 1
    case $(cat "$stamp") in
        "dev $(digest requirements-dev.lock)") return 0 ;;
        "runtime $(digest requirements.lock)") [ "$mode" = runtime ] ;;
        *) return 1 ;;
    esac
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

# The first Python >= 3.12 that really starts (a pyenv shim may be there without its version).
find_python() {
    for name in python3.14 python3.13 python3.12 python3 python; do
        if command -v "$name" >/dev/null 2>&1 && is_new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python; do
        if [ -x "$path" ] && is_new_enough "$path"; then
            echo "$path"
            return
        fi
    done
}

# A uv to install with. Takes any Python that has pip.
find_uv() {
    if command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; then
        command -v uv
        return
    fi
    tool=.cache/setup
    if ! "$tool/bin/uv" --version >/dev/null 2>&1; then
        for candidate in "$@" python3 python; do
            command -v "$candidate" >/dev/null 2>&1 || continue
            rm -rf "$tool"
            mkdir -p "$tool"
            awk '/^uv==/ { found = 1 } found { print } found && !/\\$/ { exit }' requirements-dev.lock >"$tool/uv.txt"
            "$candidate" -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
                --require-hashes --target "$tool" -r "$tool/uv.txt" >"$tool/log" 2>&1 && break
        done
    fi
    if "$tool/bin/uv" --version >/dev/null 2>&1; then
        echo "$tool/bin/uv"
    elif [ -f "$tool/log" ]; then
        cat "$tool/log" >&2
    fi
}

if is_current; then
    exit 0
fi

python=$(find_python)
uv=$(find_uv $python)
if [ -z "$uv" ]; then
    echo "setup: no 'uv' on PATH, and it could not be installed with the pip of ${python:-python3 or python}." >&2
    echo "       Install uv or a Python >= 3.12 with pip, then try again." >&2
    exit 1
fi

if ! { [ -x .venv/bin/python ] && is_new_enough .venv/bin/python; }; then
    echo "setup: making .venv with ${python:-a Python that uv downloads}"
    if ! "$uv" venv --quiet --clear --python "${python:->=3.12}" .venv; then
        echo "setup: no Python >= 3.12. Looked for python3.14, python3.13, python3.12, python3 and python on PATH," >&2
        echo "       for ${PYENV_ROOT:-$HOME/.pyenv}/versions/3.*/bin/python, and asked uv to download one." >&2
        exit 1
    fi
fi

echo "setup: installing $lock into .venv"
rm -f "$stamp"
"$uv" pip sync --quiet --require-hashes --python .venv/bin/python "$lock"
"$uv" pip install --quiet --no-deps --no-build-isolation --python .venv/bin/python --editable .
echo "$mode $(digest "$lock")" >"$stamp"
