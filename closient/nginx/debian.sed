# Changes nginx.conf from Docker Compose to a Debian machine:
# sed -f closient/nginx/debian.sed closient/nginx/nginx.conf > /etc/nginx/nginx.conf
/resolver 127/d
s/server web:8000 resolve;/server 127.0.0.1:8000;/
s/listen 8080 /listen 80 /
s#/data/media/#/var/lib/closient/media/#
s#pid /tmp/nginx.pid;#pid /run/nginx.pid;#
s#/tmp/nginx-https\*.conf#/etc/nginx/https*.conf#
s#/tmp/nginx#/var/lib/nginx/closient#
s#error_log /dev/stderr#error_log /var/log/nginx/error.log#
