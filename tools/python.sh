#!/bin/sh
# Prints the path of a Python that gramserve runs on (3.13 first), or says what is missing.
# PYTHON=/path/to/python overrides the search.
set -u

fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

if [ -n "${PYTHON:-}" ]; then
    if fits "$PYTHON"; then
        command -v "$PYTHON"
        exit 0
    fi
    echo "PYTHON=$PYTHON is not a Python of version 3.12 or later" >&2
    exit 1
fi

root="${PYENV_ROOT:-$HOME/.pyenv}"
for version in 3.13 3.14 3.12; do
    for candidate in "$(command -v "python$version" 2>/dev/null)" "$root"/versions/"$version"*/bin/python; do
        # A shim of pyenv answers only for versions that are switched on: run it to know.
        if [ -n "$candidate" ] && [ -x "$candidate" ] && fits "$candidate"; then
            echo "$candidate"
            exit 0
        fi
    done
done
for candidate in python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 && fits "$candidate"; then
        command -v "$candidate"
        exit 0
    fi
done

cat >&2 <<'MISSING'
gramserve needs Python 3.12 or later and found none, neither on PATH nor under pyenv.
Install one and run the command again, for example with

    pyenv install 3.13

or name one that lies elsewhere:

    make test PYTHON=/path/to/python3.13
MISSING
exit 1
