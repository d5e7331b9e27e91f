#!/usr/bin/env bash
# Run once, at the first start of the database's container: the services' role and database, with pgvector.
# The role owns its database and is no superuser: a service that is taken over cannot leave it.
set -euo pipefail

export PGUSER=$POSTGRES_USER
psql --quiet --set ON_ERROR_STOP=1 --dbname postgres --set password="$RUNYARD_PASSWORD" <<'SQL'
CREATE ROLE runyard LOGIN PASSWORD :'password';
CREATE DATABASE runyard OWNER runyard;
SQL
psql --quiet --set ON_ERROR_STOP=1 --dbname runyard --command 'CREATE EXTENSION IF NOT EXISTS vector'
