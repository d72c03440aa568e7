#!/usr/bin/env bash
# Backups of PostgreSQL for point-in-time recovery, and copies of images, with PostgreSQL's own
# programs. It runs in the image of the database (docker-compose.yml) or beside any PostgreSQL; it
# needs neither Python nor the service. docs/backup.md explains it.
#
#   BACKUP_FOLDER/base/TIME/data    a base backup; TIME/manifest says when it was made
#   BACKUP_FOLDER/wal               the write-ahead log since the oldest base backup
#   BACKUP_FOLDER/media             images; they never change, so each is copied once
set -euo pipefail
export LC_ALL=C TZ=UTC

USAGE="backup.sh run                  receive the write-ahead log, copy images, back up at intervals
backup.sh once                 make a base backup now
backup.sh list                 list the backups
backup.sh check                check that the backups can be restored to any time since the oldest
backup.sh health               check that the log is received and that the newest backup is not too old
backup.sh restore FOLDER [--until TIME] [--backup NAME]
                               restore into an empty folder, which becomes PostgreSQL's data folder"

BACKUP_FOLDER=${BACKUP_FOLDER:-/backups}
# Images to copy; empty for none (a bucket).
BACKUP_MEDIA=${BACKUP_MEDIA:-}
# Seconds between base backups, and between copies of images.
BACKUP_INTERVAL=${BACKUP_INTERVAL:-86400}
BACKUP_MEDIA_INTERVAL=${BACKUP_MEDIA_INTERVAL:-300}
# Base backups to keep.
BACKUP_KEEP=${BACKUP_KEEP:-7}
BACKUP_SLOT=${BACKUP_SLOT:-closient_backup}
CHECK_SECONDS=5

BASE=$BACKUP_FOLDER/base WAL=$BACKUP_FOLDER/wal MEDIA=$BACKUP_FOLDER/media
# The log before a gap: the receiver continues after the newest segment in its folder.
GAP=$BACKUP_FOLDER/wal-before-gap
RECEIVER=""

say() { echo "backup: $*"; }
fail() { echo "backup: $*" >&2; exit 1; }

# --- PostgreSQL ----------------------------------------------------------------------------------

query() { psql --no-psqlrc --tuples-only --no-align --dbname="${PGDATABASE:-postgres}" --command="$1"; }

# The programs must be as new as the server; Debian installs each version in its own folder.
find_programs() {
    local number major
    command -v psql >/dev/null || fail "psql was not found: install PostgreSQL's client programs."
    if [ -n "${BACKUP_PASSWORD_FILE:-}" ]; then
        PGPASSWORD=$(cat "$BACKUP_PASSWORD_FILE") || fail "BACKUP_PASSWORD_FILE cannot be read."
        export PGPASSWORD
    fi
    number=$(query "SHOW server_version_num") || fail "PostgreSQL at ${PGHOST:-its socket} does not respond as ${PGUSER:-this user}: see the line above."
    major=$((number / 10000))
    PATH=/usr/lib/postgresql/$major/bin:$PATH
    { command -v pg_basebackup && command -v pg_verifybackup; } >/dev/null ||
        fail "pg_basebackup or pg_verifybackup was not found: install the client programs of PostgreSQL $major."
    local own
    own=$(pg_basebackup --version | grep -oE '[0-9]+' | head -1)
    [ "$own" -ge "$major" ] ||
        fail "pg_basebackup is version $own and the server $major: install the client programs of PostgreSQL $major."
}

prepare_folder() {
    { mkdir -p "$BASE" "$WAL" "$GAP" "$MEDIA" && [ -w "$BASE" ]; } 2>/dev/null ||
        fail "$BACKUP_FOLDER is not writable for $(id -un 2>/dev/null || id -u): change its owner, or BACKUP_FOLDER."
    chmod 700 "$BASE" "$WAL" "$GAP"
    # Released when this process ends, in whatever way.
    exec 9>"$BACKUP_FOLDER/.lock"
    flock --nonblock 9 || fail "Another backup is running in $BACKUP_FOLDER."
}

# --- Base backups --------------------------------------------------------------------------------

names() {
    [ ! -d "$BASE" ] || find "$BASE" -mindepth 1 -maxdepth 1 -type d -name '2*' -printf '%f\n' | sort
}
field() { sed -n "s/^$2 //p" "$BASE/$1/manifest"; }

check_space() {
    local needed free
    needed=$(query "SELECT sum(pg_database_size(oid))::bigint FROM pg_database WHERE datallowconn")
    free=$(df --output=avail --block-size=1 "$BASE" | tail -1)
    [ "$free" -gt "$needed" ] ||
        fail "The disk of $BACKUP_FOLDER is too full: a base backup takes about $((needed / 1048576)) MB, and $((free / 1048576)) MB are free. Lower BACKUP_KEEP, or use a larger disk."
}

make_backup() {
    local started name unfinished
    started=$(date -u +%Y-%m-%dT%H-%M-%SZ)
    name=$started unfinished=$BASE/.unfinished
    rm -rf "$unfinished"
    check_space
    mkdir -m 700 "$unfinished"
    say "base backup $name started"
    # Without slot: the log that it needs is streamed into it.
    if ! pg_basebackup --pgdata="$unfinished/data" --wal-method=stream --checkpoint=fast \
        --manifest-checksums=SHA256 --label="closient $name" --no-password ||
        ! pg_verifybackup --quiet "$unfinished/data"; then
        rm -rf "$unfinished"
        fail "The base backup failed: see the lines above. $(df --output=avail --block-size=M "$BASE" | tail -1 | tr -d ' ')B are free in $BACKUP_FOLDER."
    fi
    {
        echo "started $started"
        echo "ended $(date -u +%Y-%m-%dT%H-%M-%SZ)"
        echo "wal $(sed -n 's/^START WAL LOCATION: .*(file \([0-9A-F]*\)).*/\1/p' "$unfinished/data/backup_label")"
        echo "bytes $(du --bytes --summarize "$unfinished/data" | cut -f1)"
        echo "sha256 $(sha256sum "$unfinished/data/backup_manifest" | cut -d' ' -f1)"
    } >"$unfinished/manifest"
    sync --file-system "$unfinished/manifest"
    # Only a complete backup has this name.
    mv --no-target-directory "$unfinished" "$BASE/$name"
    sync --file-system "$BASE"
    say "base backup $name done: $(($(field "$name" bytes) / 1048576)) MB, verified"
    remove_old
}

remove_old() {
    local name oldest file
    for name in $(names | head --lines="-$BACKUP_KEEP"); do
        # Renamed first: half of a backup must not look like one.
        mv "$BASE/$name" "$BASE/.removed-$name"
        say "base backup $name removed: BACKUP_KEEP is $BACKUP_KEEP"
    done
    rm -rf "$BASE"/.removed-*
    oldest=$(names | head -1)
    [ -n "$oldest" ] || return 0
    # Names of segments sort by time within a timeline; histories of timelines are small and stay.
    file=$(field "$oldest" wal)
    segments | while read -r segment; do
        if [[ ${segment:8:16} < ${file:8} ]]; then rm -f "$WAL/$segment" "$GAP/$segment"; fi
    done
    remove_gone_media "$oldest"
}

# --- Images --------------------------------------------------------------------------------------

files_in() { (cd "$1" && find . -type f -printf '%s %P\n' | sort); }

# Copies files that are missing or incomplete. Those that were deleted stay while a backup needs them.
copy_media() {
    [ -n "$BACKUP_MEDIA" ] && [ -d "$BACKUP_MEDIA" ] || return 0
    local list=$BACKUP_FOLDER/.media gone=$BACKUP_FOLDER/.gone
    files_in "$BACKUP_MEDIA" >"$list"
    files_in "$MEDIA" | comm -23 "$list" - | cut -d' ' -f2- | tr '\n' '\0' |
        (cd "$BACKUP_MEDIA" && xargs --null --no-run-if-empty cp --parents --preserve=mode --target-directory="$MEDIA" 2>/dev/null) || true
    # A file may have been deleted since it was listed; others must be there now.
    local missing
    missing=$(files_in "$MEDIA" | comm -23 <(files_in "$BACKUP_MEDIA" | comm -12 - "$list") - | wc -l)
    [ "$missing" -eq 0 ] || { say "$missing images could not be copied: is the disk of $BACKUP_FOLDER full?" >&2; return 1; }
    # The time of a deleted file becomes that of its deletion.
    touch "$gone"
    files_in "$MEDIA" | comm -13 "$list" - | cut -d' ' -f2- | sort >"$gone.new"
    comm -13 "$gone" "$gone.new" | tr '\n' '\0' | (cd "$MEDIA" && xargs --null --no-run-if-empty touch --no-create)
    mv "$gone.new" "$gone"
}

remove_gone_media() {
    local gone=$BACKUP_FOLDER/.gone
    [ -s "$gone" ] || return 0
    (cd "$MEDIA" && find . -type f ! -newer "$BASE/$1/data/backup_label" -printf '%P\n') | sort |
        comm -12 - "$gone" | tr '\n' '\0' | (cd "$MEDIA" && xargs --null --no-run-if-empty rm -f)
}

# --- The write-ahead log -------------------------------------------------------------------------

# The segments by their place in the log; the newest is unfinished (.partial).
segments() {
    find "$WAL" "$GAP" -type f -regextype posix-extended -regex '.*/[0-9A-F]{24}(\.partial)?' -printf '%f\n' |
        sort -k1.9,1.24 | uniq
}

start_receiver() {
    pg_receivewal --directory="$WAL" --slot="$BACKUP_SLOT" --create-slot --if-not-exists --no-password
    pg_receivewal --directory="$WAL" --slot="$BACKUP_SLOT" --synchronous --no-password 9>&- &
    RECEIVER=$!
}

# The server drops the log that the slot needs when the slot falls behind by max_slot_wal_keep_size.
renew_lost_slot() {
    [ "$(query "SELECT wal_status FROM pg_replication_slots WHERE slot_name = '$BACKUP_SLOT'")" = lost ] || return 1
    say "The server has removed log that was not received (max_slot_wal_keep_size): times between the last received segment and the next base backup cannot be restored. Making a base backup now." >&2
    stop_receiver
    query "SELECT pg_drop_replication_slot('$BACKUP_SLOT')" >/dev/null
    mv "$WAL"/* "$GAP"
    start_receiver
}

stop_receiver() {
    [ -z "$RECEIVER" ] || { kill "$RECEIVER" 2>/dev/null; wait "$RECEIVER" || true; }
    RECEIVER=""
}

run() {
    local name media_at=0
    trap 'stop_receiver; say stopped; exit 0' TERM INT
    trap stop_receiver EXIT
    start_receiver
    say "receiving the write-ahead log into $WAL"
    while true; do
        if ! kill -0 "$RECEIVER" 2>/dev/null; then
            fail "pg_receivewal has ended: see the lines above."
        fi
        if [ $((SECONDS - media_at)) -ge "$BACKUP_MEDIA_INTERVAL" ] || [ "$media_at" -eq 0 ]; then
            "$0" _media || true
            media_at=$((SECONDS + 1))
        fi
        name=$(names | tail -1)
        if renew_lost_slot || [ -z "$name" ] || is_due "$name"; then
            # A failed one is tried again after a while; the log is received meanwhile.
            "$0" _base || { sleep 60 & wait $!; }
        fi
        sleep "$CHECK_SECONDS" &
        wait $!
    done
}

seconds_of() { date -u -d "${1:0:10} ${1:11:2}:${1:14:2}:${1:17:2}" +%s; }
is_due() { [ $(($(date +%s) - $(seconds_of "$1"))) -ge "$BACKUP_INTERVAL" ]; }

list() {
    local name
    for name in $(names); do
        echo "$name  $(($(field "$name" bytes) / 1048576)) MB  ended $(field "$name" ended)"
    done
}

health() {
    local name
    [ "$(query "SELECT active FROM pg_replication_slots WHERE slot_name = '$BACKUP_SLOT'")" = t ] ||
        fail "The write-ahead log is not being received."
    name=$(names | tail -1)
    [ -n "$name" ] || fail "There is no base backup yet."
    [ $(($(date +%s) - $(seconds_of "$name"))) -lt $((2 * BACKUP_INTERVAL + 3600)) ] ||
        fail "The newest base backup is $name: see the log."
}

# --- Checking and restoring ----------------------------------------------------------------------

# The number of a segment on its timeline, for segments of 16 MB.
number_of() { echo $((16#${1:8:8} * 256 + 16#${1:16:8})); }

check_log() {
    local previous="" segment first=$1
    for segment in $(segments | cut -c1-24 | uniq); do
        [[ ${segment:8} < ${first:8} ]] && continue
        if [ -z "$previous" ]; then
            [ "${segment:8}" = "${first:8}" ] || { say "The log from $first to $segment is missing." >&2; return 1; }
        elif [ $(($(number_of "$segment") - $(number_of "$previous"))) -gt 1 ]; then
            say "The log between $previous and $segment is missing." >&2
            return 1
        fi
        previous=$segment
    done
    [ -n "$previous" ] || { say "The log from $first on is missing." >&2; return 1; }
}

check() {
    local name status=0
    # It can verify backups of its own version and of older ones.
    PATH=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -rV | tr '\n' ':')$PATH
    [ -n "$(names)" ] || fail "There is no base backup in $BACKUP_FOLDER."
    for name in $(names); do
        if ! echo "$(field "$name" sha256)  $BASE/$name/data/backup_manifest" | sha256sum --check --status ||
            ! pg_verifybackup --quiet "$BASE/$name/data"; then
            say "$name is damaged." >&2
            status=1
        fi
        if ! check_log "$(field "$name" wal)"; then
            say "$name can be restored only to its own end, $(field "$name" ended), or up to the missing log." >&2
            status=1
        fi
    done
    [ "$status" -ne 0 ] || say "$(names | wc -l) backups are complete, and so is the log since $(names | head -1)"
    return "$status"
}

restore() {
    local target="" until="" name="" each
    while [ $# -gt 0 ]; do
        case $1 in
            --until) until=${2:?--until needs a time}; shift 2 ;;
            --backup) name=${2:?--backup needs a name}; shift 2 ;;
            -*) fail "$1 is not an option: see backup.sh help." ;;
            *) target=$1; shift ;;
        esac
    done
    [ -n "$target" ] || fail "Name the empty folder that becomes PostgreSQL's data folder."
    [ -z "$(ls -A "$target" 2>/dev/null)" ] || fail "$target is not empty: move its contents away first."
    if [ -n "$until" ]; then
        local seconds
        seconds=$(date -u -d "$until" +%s) || fail "--until: $until is not a time such as 2026-11-29 14:30:00+00."
        # With the time zone, so that the server's does not matter.
        until=$(date -u -d "$until" '+%Y-%m-%d %H:%M:%S.%6N+00')
    fi
    if [ -z "$name" ]; then
        for each in $(names); do
            if [ -z "$until" ] || [ "$(seconds_of "$(field "$each" ended)")" -le "$seconds" ]; then name=$each; fi
        done
        [ -n "$name" ] || fail "No base backup ended before $until: see backup.sh list."
    fi
    [ -f "$BASE/$name/manifest" ] || fail "There is no base backup $name: see backup.sh list."
    say "restoring $name into $target"
    mkdir -p "$target"
    chmod 700 "$target"
    cp --archive --no-preserve=ownership "$BASE/$name/data/." "$target"
    # The server reads the log from here; an unfinished segment is the newest.
    mkdir -m 700 "$target/restored_wal"
    local first
    first=$(field "$name" wal)
    find "$WAL" "$GAP" -type f -name '*.history' -exec cp --target-directory="$target/restored_wal" {} +
    # Unfinished segments first, so that a complete one takes precedence.
    for each in $(segments | grep partial) $(segments | grep -v partial); do
        [[ ${each:8:16} < ${first:8} ]] && continue
        find "$WAL" "$GAP" -name "$each" -exec cp {} "$target/restored_wal/${each%.partial}" \;
    done
    {
        echo "restore_command = 'cp restored_wal/%f \"%p\"'"
        echo "recovery_target_action = 'promote'"
        [ -z "$until" ] || echo "recovery_target_time = '$until'"
        # Copies of the restored database, such as backups and standbys, must not stop at this time.
        echo "recovery_end_command = 'sed -i -E \"/^(restore_command|recovery_[a-z_]+) = /d\" postgresql.auto.conf; rm -rf restored_wal'"
    } >>"$target/postgresql.auto.conf"
    touch "$target/recovery.signal"
    say "done: start PostgreSQL with this data folder${until:+; it recovers up to $until}. Then run audit_tally (docs/backup.md)."
}

# -------------------------------------------------------------------------------------------------

command=${1:-help}
[ $# -eq 0 ] || shift
case $command in
    run) find_programs; prepare_folder; run ;;
    once) find_programs; prepare_folder; copy_media; make_backup ;;
    # Parts of "run", which holds the lock, as processes that end at the first error.
    _base) find_programs; make_backup ;;
    _media) copy_media ;;
    list) list ;;
    check) check ;;
    health) find_programs; health ;;
    restore) restore "$@" ;;
    help | --help) echo "$USAGE" ;;
    *) fail "$command is not a command. $USAGE" ;;
esac
