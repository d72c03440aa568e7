#!/usr/bin/env bash
# Creates the role of backup.sh, which may only replicate, and lets it connect with its password.
# The image of PostgreSQL runs it when it creates a database; it can be run again at any time.
set -euo pipefail

password=$(cat "${BACKUP_PASSWORD_FILE:-/run/secrets/backup_password}")
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --set=password="$password" <<'SQL'
SELECT 'CREATE ROLE closient_backup'
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'closient_backup') \gexec
ALTER ROLE closient_backup LOGIN REPLICATION PASSWORD :'password';
SQL
rule="host replication closient_backup all scram-sha-256"
grep --quiet --line-regexp --fixed-strings "$rule" "$PGDATA/pg_hba.conf" || echo "$rule" >>"$PGDATA/pg_hba.conf"
psql --no-psqlrc --quiet --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --command="SELECT pg_reload_conf()" >/dev/null
