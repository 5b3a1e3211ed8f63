#!/bin/sh
# Runs a command with a PostgreSQL of its own, bound to 127.0.0.1 and gone afterwards:
#   tools/with_postgres.sh COMMAND ARGUMENT...
# The command finds it in GRAMSERVE_TEST_DATABASE_URL. PostgreSQL refuses to run as root; root runs it
# as the user postgres, whom its package makes.
set -eu

found="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)"
[ -n "$found" ] || found="$(dirname "$(command -v initdb 2>/dev/null)" 2>/dev/null)" || true
if [ ! -x "$found/initdb" ]; then
    echo "PostgreSQL is missing: install it, on Debian with 'apt-get install postgresql'" >&2
    exit 1
fi

as_owner() {
    if [ "$(id -u)" = 0 ]; then
        su postgres -s /bin/sh -c "$1"
    else
        sh -c "$1"
    fi
}

place="$(mktemp -d)"
[ "$(id -u)" != 0 ] || chown postgres "$place"
port="$("${PYTHON:-python3}" -c 'import socket
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    print(probe.getsockname()[1])')"
stop() {
    as_owner "'$found/pg_ctl' -D '$place/data' -m immediate stop" >/dev/null 2>&1 || true
    rm -rf "$place"
}
trap stop EXIT INT TERM
as_owner "'$found/initdb' -D '$place/data' -U tester -A trust" >/dev/null
as_owner "'$found/pg_ctl' -D '$place/data' -l '$place/log' -w \
    -o '-h 127.0.0.1 -p $port -k $place -F' start" >/dev/null || { cat "$place/log" >&2; exit 1; }
GRAMSERVE_TEST_DATABASE_URL="postgresql://tester@127.0.0.1:$port/postgres" "$@"
