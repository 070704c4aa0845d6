#!/bin/bash
# Oracle's MySQL server as a program of this machine, for tests that stop, freeze and kill it:
# unpacked from the image tackybox/offline/mysql, run with its own libraries.
#
#   container/unpack-mysql.sh DIRECTORY      makes DIRECTORY/bin/mysqld, if it is not there yet
set -euo pipefail
directory=$(mkdir -p "$1" && cd "$1" && pwd)
[ ! -x "$directory/bin/mysqld" ] || exit 0
container=$(docker create tackybox/offline/mysql)
trap 'docker rm "$container" > /dev/null' EXIT
docker export "$container" | tar --extract --directory "$directory" usr lib lib64
mkdir -p "$directory/bin"
cat > "$directory/bin/mysqld.new" << RUN
#!/bin/sh
exec "$directory/lib64/ld-linux-x86-64.so.2" \\
    --library-path "$directory/usr/lib/x86_64-linux-gnu:$directory/usr/lib/mysql/private" \\
    "$directory/usr/sbin/mysqld" "\$@"
RUN
chmod +x "$directory/bin/mysqld.new"
mv "$directory/bin/mysqld.new" "$directory/bin/mysqld"
