#!/bin/sh
# Everything that can be said about the code without running it, the quick checks first. All of them are run; the exit
# code tells whether one failed.
set -u
cd "$(dirname "$0")/.."
bin=.venv/bin
failed=""

check() { # name, command...
    name=$1
    shift
    if output=$("$@" 2>&1); then
        echo "ok      $name"
    else
        echo "FAILED  $name: $*"
        printf '%s\n' "$output"
        failed="$failed $name"
    fi
}

check format $bin/ruff format --check --quiet .
check lint $bin/ruff check --quiet .
check spelling $bin/codespell
check locks $bin/python tools/lock.py --check
check diagram $bin/python tools/draw_transitions.py --check
check proto $bin/python tools/generate_proto.py --check
check contract $bin/python -m tools.generate_contract --check
check openapi $bin/python -m tools.generate_openapi --check
check asyncapi $bin/python -m tools.generate_asyncapi --check
check imports $bin/lint-imports
check types $bin/mypy libs/*/efferent services/*/efferent tools
check types-of-tests $bin/mypy --config-file tools/mypy-tests.toml tests libs/*/tests services/*/tests

if [ -n "$failed" ]; then
    echo "check:$failed failed" >&2
    exit 1
fi
