#!/bin/bash
# What the official images' entrypoints promise, as far as our compose files use it: on a new volume
# a database MYSQL_DATABASE, its owner MYSQL_USER with MYSQL_PASSWORD, then each file in
# /docker-entrypoint-initdb.d sourced with docker_process_sql at hand; then the server.
set -euo pipefail

data=/var/lib/mysql
socket=/run/mysqld/mysqld.sock
server=$(command -v mariadbd || command -v mysqld)
client=$(command -v mariadb || command -v mysql)
kind=$(basename "$server")

docker_process_sql() { "$client" --protocol=socket --socket="$socket" --user=root "$@"; }
as_mysql() { setpriv --reuid=mysql --regid=mysql --init-groups "$@"; }

mkdir -p /run/mysqld
chown -R mysql:mysql "$data" /run/mysqld
if [ ! -d "$data/mysql" ]; then
    if [ "$kind" = mariadbd ]; then
        mariadb-install-db --user=mysql --datadir="$data" --auth-root-authentication-method=socket \
            --skip-test-db > /dev/null
    else
        as_mysql "$server" --no-defaults --initialize-insecure --datadir="$data"
    fi
    as_mysql "$server" --no-defaults --datadir="$data" --socket="$socket" --skip-networking \
        --pid-file=/run/mysqld/mysqld.pid &
    process=$!
    for _ in $(seq 120); do
        docker_process_sql --execute 'DO 0' 2> /dev/null && break
        kill -0 "$process"
        sleep 0.5
    done
    docker_process_sql <<SQL
CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;
CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';
GRANT ALL ON \`$MYSQL_DATABASE\`.* TO '$MYSQL_USER'@'%';
SQL
    for file in /docker-entrypoint-initdb.d/*.sh; do
        # shellcheck disable=SC1090
        [ ! -e "$file" ] || . "$file"
    done
    docker_process_sql --execute SHUTDOWN
    wait "$process"
fi
exec setpriv --reuid=mysql --regid=mysql --init-groups "$server" --no-defaults --datadir="$data" \
    --socket="$socket" --bind-address=0.0.0.0 --pid-file=/run/mysqld/mysqld.pid "$@"
