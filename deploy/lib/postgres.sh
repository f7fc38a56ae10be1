# shellcheck shell=bash
# A private PostgreSQL cluster. The server refuses to run as root, so all of it
# runs as Debian's user postgres, in a folder which that user can reach.

# The newest server's programs.
postgres_bin_dir() {
	local -a dirs

	mapfile -t dirs < <(printf '%s\n' /usr/lib/postgresql/*/bin |
		sort -t/ -k5 -V)
	[[ -x ${dirs[-1]}/initdb ]] || die 'no PostgreSQL server is installed'
	printf '%s\n' "${dirs[-1]}"
}

# Run a command as the user postgres, in a folder it can enter.
postgres_as() {
	(cd / && exec runuser -u postgres -- "$@")
}

# postgres_place WANTED FALLBACK: WANTED if postgres could reach it, else
# FALLBACK. WANTED's parent must exist.
postgres_place() {
	if postgres_as test -x "${1%/*}"; then
		printf '%s\n' "$1"
	else
		printf '%s\n' "$2"
	fi
}

# Who may log in: root and postgres by the socket, all else by password.
postgres_write_access() {
	cat >"$1/data/pg_hba.conf" <<-'END'
		local all postgres              peer map=admins
		local all all                   scram-sha-256
		host  all all      127.0.0.1/32 scram-sha-256
	END
	cat >"$1/data/pg_ident.conf" <<-'END'
		admins postgres postgres
		admins root     postgres
	END
}

# postgres_create DIR: a new cluster, unless there is one. Made beside its
# place and renamed, so that one that is there is whole.
postgres_create() {
	local -r dir=$1
	local bin

	[[ ! -d $dir/data ]] || return 0
	bin=$(postgres_bin_dir)
	mkdir -p "$dir"
	chown postgres: "$dir"
	chmod 0700 "$dir"
	rm -rf "$dir/data.new"
	postgres_as "$bin/initdb" -D "$dir/data.new" -U postgres -E UTF8 \
		--locale=C.UTF-8 -A scram-sha-256 --auth-local=peer -N \
		>"$dir/initdb.log"
	mv "$dir/data.new" "$dir/data"
	postgres_write_access "$dir"
}

postgres_alive() {
	[[ -d $1/data ]] && postgres_as "$(postgres_bin_dir)/pg_ctl" \
		-D "$1/data" status >/dev/null 2>&1
}

# postgres_start DIR PORT [SETTING=VALUE...]: with its socket in DIR and the
# port on loopback; one that runs is left.
postgres_start() {
	local -r dir=$1 port=$2
	local options="-p $port -c listen_addresses=127.0.0.1"
	local setting

	shift 2
	options+=" -c unix_socket_directories=$dir -c max_connections=200"
	for setting in "$@"; do
		options+=" -c $setting"
	done
	postgres_alive "$dir" && return 0
	postgres_as "$(postgres_bin_dir)/pg_ctl" -D "$dir/data" -s -w -t 60 \
		-l "$dir/server.log" -o "$options" start || {
		tail -n 20 "$dir/server.log" >&2 || true
		die "PostgreSQL did not start, see $dir/server.log"
	}
}

# postgres_stop DIR: clients are cut off, everything is written.
postgres_stop() {
	postgres_alive "$1" || return 0
	postgres_as "$(postgres_bin_dir)/pg_ctl" -D "$1/data" -s -w -m fast stop
}

# postgres_sql DIR PORT SQL [DATABASE]: as the superuser; prints bare values.
postgres_sql() {
	postgres_as psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$1" -p "$2" \
		-U postgres -d "${4:-postgres}" -c "$3"
}

# postgres_owner DIR PORT NAME PASSWORD: a role that may make databases, and
# its database of the same name. The password is set anew each time.
postgres_owner() {
	local -r dir=$1 port=$2 name=$3 password=$4

	if [[ -z $(postgres_sql "$dir" "$port" \
		"SELECT 1 FROM pg_roles WHERE rolname = '$name'") ]]; then
		postgres_sql "$dir" "$port" "CREATE ROLE $name LOGIN CREATEDB"
	fi
	postgres_sql "$dir" "$port" "ALTER ROLE $name PASSWORD '$password'"
	if [[ -z $(postgres_sql "$dir" "$port" \
		"SELECT 1 FROM pg_database WHERE datname = '$name'") ]]; then
		postgres_sql "$dir" "$port" "CREATE DATABASE $name OWNER $name"
	fi
}
