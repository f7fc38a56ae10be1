# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the steps
# What deploy/quickstart works with: settings (the person's choice, kept in
# var/quickstart.settings) and state (what the last start used, kept in
# var/quickstart.state for `stop` and `status`). TOP is the checkout, VAR its
# var folder.

# Option, variable and environment variable of each setting.
declare -rA SETTING_OPTION=([--http-port]=HTTP_PORT [--admin-port]=ADMIN_PORT
	[--port-base]=PORT_BASE [--asterisk]=ASTERISK_VERSION
	[--pgurl]=OWN_PGURL [--ari-url]=OWN_ARI_URL [--ari-user]=ARI_USER
	[--ari-password]=OWN_ARI_PASSWORD [--recording-dir]=OWN_RECORDING_DIR
	[--speech-dir]=OWN_SPEECH_DIR [--speech-seen]=OWN_SPEECH_SEEN
	[--trunk]=TRUNK)
declare -rA SETTING_VARIABLE=([KAPHILA_PGURL]=OWN_PGURL
	[KAPHILA_ARI_URL]=OWN_ARI_URL [KAPHILA_ARI_USER]=ARI_USER
	[KAPHILA_ARI_PASSWORD]=OWN_ARI_PASSWORD
	[KAPHILA_RECORDING_DIR]=OWN_RECORDING_DIR
	[KAPHILA_SPEECH_DIR]=OWN_SPEECH_DIR
	[KAPHILA_SPEECH_SEEN]=OWN_SPEECH_SEEN [KAPHILA_TRUNK]=TRUNK)
declare -rA SETTING_DEFAULT=([HTTP_PORT]=3000 [ADMIN_PORT]=3001
	[PORT_BASE]=15060 [ASTERISK_VERSION]=22 [ARI_USER]=kaphila
	[TRUNK]=carrier [OWN_PGURL]='' [OWN_ARI_URL]='' [OWN_ARI_PASSWORD]=''
	[OWN_RECORDING_DIR]='' [OWN_SPEECH_DIR]='' [OWN_SPEECH_SEEN]='')

# Read them: those of the last start, then the environment, then the options.
settings_read() {
	local name

	# shellcheck source=/dev/null
	[[ ! -r $VAR/quickstart.settings ]] || . "$VAR/quickstart.settings"
	for name in "${!SETTING_VARIABLE[@]}"; do
		[[ ! -v $name ]] ||
			printf -v "${SETTING_VARIABLE[$name]}" '%s' "${!name}"
	done
	settings_read_options "$@"
	for name in "${!SETTING_DEFAULT[@]}"; do
		[[ -n ${!name:-} ]] ||
			printf -v "$name" '%s' "${SETTING_DEFAULT[$name]}"
	done
	settings_check
	(umask 077 && for name in "${!SETTING_DEFAULT[@]}"; do
		printf '%s=%q\n' "$name" "${!name}"
	done >"$VAR/quickstart.settings")
}

settings_read_options() {
	local name

	DEMO=yes DEMO_NUMBER=
	while (($# > 0)); do
		case $1 in
		--no-demo) DEMO=no ;;
		--*=*)
			name=$1
			shift
			set -- "${name%%=*}" "${name#*=}" "$@"
			continue
			;;
		--demo-number)
			(($# > 1)) || die "$1 needs a value"
			DEMO_NUMBER=$2
			shift
			;;
		*)
			name=${SETTING_OPTION[$1]:-}
			[[ -n $name ]] || die "unknown option $1, see --help"
			(($# > 1)) || die "$1 needs a value"
			printf -v "$name" '%s' "$2"
			shift
			;;
		esac
		shift
	done
}

settings_check() {
	local name

	for name in HTTP_PORT ADMIN_PORT PORT_BASE; do
		[[ ${!name} =~ ^[1-9][0-9]{0,4}$ && ${!name} -lt 65531 ]] ||
			die "$name must be a port, not '${!name}'"
	done
	asterisk_root_suite "$ASTERISK_VERSION" >/dev/null
	if [[ -n $OWN_ARI_URL && -z $OWN_RECORDING_DIR ]]; then
		die 'an Asterisk of your own needs --recording-dir too'
	fi
	if [[ -n $OWN_ARI_URL && -z $OWN_SPEECH_DIR ]]; then
		die 'an Asterisk of your own needs --speech-dir too, a folder' \
			'that its user can read'
	fi
}

# What follows from the settings.
settings_derive() {
	local id

	PG_PORT=$PORT_BASE
	ARI_PORT=$((PORT_BASE + 1))
	SIP_PORT=$((PORT_BASE + 2))
	CARRIER_PORT=$((PORT_BASE + 3))
	SINK_PORT=$((PORT_BASE + 4))
	BASE_URL=http://127.0.0.1:$HTTP_PORT
	ADMIN_URL=http://127.0.0.1:$ADMIN_PORT
	SINK_URL=http://127.0.0.1:$SINK_PORT/
	SINK_FILE=$VAR/log/webhooks.jsonl
	PID_MASTER=$VAR/quickstart-master.pid
	PID_SINK=$VAR/quickstart-sink.pid

	# What lies outside the checkout bears a name of this checkout's own.
	id=$(secret_once "$VAR/secrets/id" 4)
	MEDIA=quickstart-$id-media
	CARRIER=quickstart-$id-carrier
	PG_ELSEWHERE=/var/lib/kaphila-quickstart/$id/pg
	RUN_DIR=$VAR/run
	# A socket's path has room for 107 characters.
	((${#RUN_DIR} < 80)) || RUN_DIR=/run/kaphila-quickstart-$id
}

# State: the Asterisk root and the cluster's folder, empty where the person's
# own servers are used, and the settings that those run with.
state_read() {
	ASTERISK_ROOT='' PG_DIR='' STATE_SETTINGS=''
	# shellcheck source=/dev/null
	[[ ! -r $VAR/quickstart.state ]] || . "$VAR/quickstart.state"
}

state_settings() {
	printf '%s ' "$PORT_BASE" "$ASTERISK_VERSION" "$OWN_PGURL" \
		"$OWN_ARI_URL" "$TRUNK" "$OWN_SPEECH_DIR" "$OWN_SPEECH_SEEN"
}

state_write() {
	(umask 077 && printf '%s=%q\n' ASTERISK_ROOT "$ASTERISK_ROOT" \
		PG_DIR "$PG_DIR" STATE_SETTINGS "$(state_settings)" \
		>"$VAR/quickstart.state")
}
