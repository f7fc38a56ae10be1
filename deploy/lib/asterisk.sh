# shellcheck shell=bash
# Asterisk instances: several share one root, each with its own folder
# ROOT/srv/NAME (etc, lib, spool, log, run) and its own ports. Two kinds: the
# "media" one that kaphila leads over ARI, and the demo "carrier".

ASTERISK_TEMPLATES=$(cd "${BASH_SOURCE[0]%/*}/../asterisk" && pwd)

asterisk_instance_dir() {
	printf '%s\n' "$1/srv/$2"
}

asterisk_instance_pid_file() {
	printf '%s\n' "$1/srv/$2/run/daemon.pid"
}

# One trunk, "NAME=HOST:PORT", as the sections of pjsip.conf.
asterisk_trunk_sections() {
	local -r name=${1%%=*} address=${1#*=}

	printf '[%s](trunk)\naors = %s\n\n' "$name" "$name"
	printf '[%s](trunk-address)\ncontact = sip:%s\n\n' "$name" "$address"
}

# asterisk_instance_render ROOT NAME KIND KEY=VALUE...: write its configuration.
#
# KIND is media or carrier. Keys: SIP_PORT, RTP_FIRST, RTP_LAST; for media also
# HTTP_PORT, ARI_USER, ARI_PASSWORD and TRUNK=NAME=HOST:PORT, once for each.
asterisk_instance_render() {
	local -r root=$1 name=$2 kind=$3
	local -r dir=$(asterisk_instance_dir "$root" "$name")
	local -a values=("NAME=$name" "DIR=/srv/$name")
	local trunks='' pair file

	shift 3
	for pair in "$@"; do
		if [[ $pair == TRUNK=* ]]; then
			trunks+=$(asterisk_trunk_sections "${pair#TRUNK=}")$'\n\n'
		else
			values+=("$pair")
		fi
	done
	values+=("TRUNKS=$trunks")
	values+=("MODULE_DIR=$(asterisk_root_modules "$root")")
	mkdir -p "$dir"/{etc,lib,log,run,cache,spool/recording}
	for file in "$ASTERISK_TEMPLATES"/{common,"$kind"}/*.conf; do
		[[ $kind == media || $file != */@(ari|http).conf ]] || continue
		template_render "$file" "$dir/etc/${file##*/}" "${values[@]}"
	done
	asterisk_instance_defaults "$dir/etc"
	asterisk_instance_prune "$root" "$dir/etc"/modules*.conf
	chmod 0750 "$dir" "$dir/etc"
	chown -R "$(asterisk_root_user "$root")" "$dir"
}

# Files in which nothing has to be set, but without which errors are logged.
asterisk_instance_defaults() {
	local file

	for file in acl ccss features pjproject udptl websocket_client; do
		printf '; defaults\n' >"$1/$file.conf"
	done
}

# Versions differ a little: drop the modules that this root doesn't have.
asterisk_instance_prune() {
	local -r modules=$1$(asterisk_root_modules "$1")
	local module

	shift
	sed -n 's/^load = //p' "$@" | while read -r module; do
		[[ -e $modules/$module ]] ||
			sed -i "/^load = ${module//./\\.}\$/d" "$@"
	done
}

# Where the root's Asterisk has its modules, as seen from inside.
asterisk_root_modules() {
	sed -n 's/^astmoddir => //p' "$1/etc/asterisk/asterisk.conf"
}

# The numeric user:group of "asterisk" inside the root.
asterisk_root_user() {
	awk -F: '$1 == "asterisk" { print $3 ":" $4 }' "$1/etc/passwd"
}

# asterisk_cli ROOT NAME COMMAND
asterisk_cli() {
	chroot "$1" /usr/sbin/asterisk -C "/srv/$2/etc/asterisk.conf" -rx "$3"
}

# True once an instance takes calls; for a media one that is when ARI answers.
asterisk_instance_ready() {
	local -r etc=$(asterisk_instance_dir "$1" "$2")/etc
	local port credentials

	if [[ ! -e $etc/ari.conf ]]; then
		asterisk_cli "$1" "$2" 'core waitfullybooted'
		return
	fi
	port=$(sed -n 's/^bindport = //p' "$etc/http.conf")
	credentials=$(sed -nE -e 's/^\[([^]]*)\]$/\1/p' \
		-e 's/^password = (.*)/\1/p' "$etc/ari.conf" |
		tail -n 2 | paste -sd:)
	curl -fs -m 2 -o "$etc/../run/ready" -u "$credentials" \
		"http://127.0.0.1:$port/ari/asterisk/info" &&
		asterisk_cli "$1" "$2" 'core waitfullybooted'
}

asterisk_instance_alive() {
	daemon_alive "$(asterisk_instance_pid_file "$1" "$2")"
}

# Start a rendered instance and wait until it is ready; one that runs is left.
asterisk_instance_start() {
	local -r root=$1 name=$2
	local -r dir=$(asterisk_instance_dir "$root" "$name")
	local -r pid_file=$(asterisk_instance_pid_file "$root" "$name")

	daemon_alive "$pid_file" && return 0
	asterisk_root_hosts "$root"
	daemon_start "$pid_file" "$dir/log/console" chroot "$root" \
		/usr/sbin/asterisk -C "/srv/$name/etc/asterisk.conf" -f -n
	daemon_wait 30 asterisk_instance_ready "$root" "$name" && return
	tail -n 20 "$dir/log/console" "$dir/log/messages" >&2 || true
	daemon_stop "$pid_file" 5
	die "Asterisk '$name' was not ready within 30 s, see $dir/log"
}

asterisk_instance_stop() {
	daemon_stop "$(asterisk_instance_pid_file "$1" "$2")" 10
}

# Stop it and remove its folder, recordings and all.
asterisk_instance_remove() {
	asterisk_instance_stop "$1" "$2"
	rm -rf "$(asterisk_instance_dir "$1" "${2:?}")"
}
