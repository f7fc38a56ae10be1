# shellcheck shell=bash
# kaphila itself, as quickstart runs it: built from this checkout, configured
# by var/kaphila.conf, all its state under var/.

# Print one value of the JSON on standard input, by its path of keys.
json_value() {
	python3 -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1:]:
    value = value[int(key)] if isinstance(value, list) else value.get(key, "")
print(value)' "$@"
}

# secret_once FILE BYTES: make a secret once, keep it readable by root alone,
# print it.
secret_once() {
	local -r file=$1 bytes=$2

	if [[ ! -s $file ]]; then
		(umask 077 && od -An -tx1 -N "$bytes" /dev/urandom |
			tr -d ' \n' >"$file.new")
		mv "$file.new" "$file"
	fi
	cat "$file"
}

kaphila_build() {
	local -r top=$1

	say_progress cmake -S "$top" -B "$top/build" -G Ninja \
		-DCMAKE_BUILD_TYPE=RelWithDebInfo
	say_progress ninja -C "$top/build" kaphila-master kaphilactl \
		kaphila-worker kaphila-webhookd kaphila-recorder
}

# kaphila_write_config FILE KEY=VALUE...: each KEY as section.name, the keys of
# a section together. Holds secrets, so nobody else may read it.
kaphila_write_config() {
	local -r file=$1
	local pair key section=''

	shift
	(umask 077 && {
		printf '; Written by deploy/quickstart at each start.\n'
		for pair in "$@"; do
			key=${pair%%=*}
			if [[ ${key%%.*} != "$section" ]]; then
				section=${key%%.*}
				printf '\n[%s]\n' "$section"
			fi
			printf '%s = %s\n' "${key#*.}" "${pair#*=}"
		done
	} >"$file.new")
	# An unchanged file keeps its time, see kaphila_outdated.
	cmp -s "$file.new" "$file" || mv "$file.new" "$file"
	rm -f "$file.new"
}

kaphila_ctl() {
	local -r top=$1

	shift
	"$top/build/master/kaphilactl" --config "$top/var/kaphila.conf" "$@"
}

# True if a program was built after the running master was started.
kaphila_outdated() {
	local -r top=$1 pid_file=$2
	local program

	for program in master/kaphila-master worker/kaphila-worker \
		webhookd/kaphila-webhookd recorder/kaphila-recorder; do
		[[ $top/build/$program -nt $pid_file ]] && return 0
	done
	[[ $top/var/kaphila.conf -nt $pid_file ]]
}

# Several times in a row, for any of the workers may answer, for itself.
kaphila_ready() {
	local i

	for ((i = 0; i < 8; i++)); do
		curl -fs -m 2 "$1/ready" || return 1
	done
}

# kaphila_start TOP PIDFILE ADMIN_URL: until /ready says 200.
kaphila_start() {
	local -r top=$1 pid_file=$2 admin_url=$3

	if daemon_alive "$pid_file"; then
		if ! kaphila_outdated "$top" "$pid_file"; then
			say_note 'runs already'
			return
		fi
		say_note 'was built or configured anew: restarting'
		daemon_stop "$pid_file" 45
	fi
	daemon_start "$pid_file" "$top/var/log/kaphila.log" \
		"$top/build/master/kaphila-master" \
		--config "$top/var/kaphila.conf"
	daemon_wait 30 kaphila_ready "$admin_url" && return
	say_note "not ready after 30 s: $(curl -s -m 2 "$admin_url/ready" ||
		printf 'no answer')"
	# shellcheck disable=SC2034 # say_on_exit shows its end
	SAY_LOG=$top/var/log/kaphila.log
	return 1
}

# True if the API takes the key.
kaphila_key_works() {
	[[ -n $2 ]] && curl -fs -m 5 -o /dev/null \
		-H "Authorization: Bearer $2" "$1/api/me"
}
