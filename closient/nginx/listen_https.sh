#!/bin/sh
# Makes nginx serve HTTPS if there is a certificate. nginx's image runs it before nginx starts.
# Usage: listen_https.sh [FOLDER OF THE CERTIFICATE] [FILE THAT nginx.conf INCLUDES] [PORT]
set -eu
folder=${1:-/certificates}
file=${2:-/tmp/nginx-https.conf}
port=${3:-8443}

rm -f "$file"
[ -e "$folder/fullchain.pem" ] || exit 0
for name in fullchain.pem privkey.pem; do
    if ! [ -r "$folder/$name" ]; then
        echo "$folder/$name is missing, or user $(id -u) may not read it." >&2
        exit 1
    fi
done
cat >"$file" <<CONFIGURATION
listen $port ssl default_server sndbuf=128k;
ssl_certificate $folder/fullchain.pem;
ssl_certificate_key $folder/privkey.pem;
CONFIGURATION
