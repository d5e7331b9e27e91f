#!/usr/bin/env bash
# What the official PostgreSQL image does at its start, as far as compose.yaml needs it: makes the cluster in $PGDATA at
# the first start, runs /docker-entrypoint-initdb.d/*.sh on it while nobody else can reach it, then runs the server.
#     start-postgres postgres [OPTION ...]
set -euo pipefail

umask 077
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    # A first start that was cut short has left a cluster without our database.
    rm -rf "$PGDATA.new" && mkdir -p "$PGDATA.new"
    initdb --pgdata "$PGDATA.new" --username "$POSTGRES_USER" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") \
        --auth-host scram-sha-256 --auth-local trust --encoding UTF8 --locale C.UTF-8 >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA.new/pg_hba.conf"
    pg_ctl --pgdata "$PGDATA.new" --wait --silent --options "-c listen_addresses='' -k /tmp" start >/dev/null
    export PGHOST=/tmp PGUSER=$POSTGRES_USER
    for script in /docker-entrypoint-initdb.d/*.sh; do
        [ -e "$script" ] && bash "$script"
    done
    pg_ctl --pgdata "$PGDATA.new" --wait --silent --mode fast stop
    mv "$PGDATA.new" "$PGDATA"
fi
shift
exec postgres -D "$PGDATA" -c listen_addresses='*' -k /tmp "$@"
