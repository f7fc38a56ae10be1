# shellcheck shell=bash
# The steps of deploy/quickstart, in order. Each can be run again: it finds
# what is there, and leaves it.

# Fails with a word on what to do if a port is taken by somebody else.
step_port_free() {
	port_answers "$1" || return 0
	die "port $1 is in use by another program: choose another with $2"
}

step_packages() {
	packages_install "$TOP/deploy/packages.txt"
}

step_build() {
	kaphila_build "$TOP"
}

step_postgres() {
	local password

	PGURL=$OWN_PGURL
	PG_DIR=
	if [[ -n $PGURL ]]; then
		say_note 'yours is used'
		return
	fi
	PG_DIR=$(postgres_place "$VAR/pg" "$PG_ELSEWHERE")
	state_write
	password=$(secret_once "$VAR/secrets/pg-password" 16)
	postgres_create "$PG_DIR"
	postgres_alive "$PG_DIR" || step_port_free "$PG_PORT" --port-base
	postgres_start "$PG_DIR" "$PG_PORT"
	postgres_owner "$PG_DIR" "$PG_PORT" kaphila "$password"
	PGURL=postgresql://kaphila:$password@127.0.0.1:$PG_PORT/kaphila
	say_note "data in $PG_DIR, port $PG_PORT"
}

step_asterisk_root() {
	ASTERISK_ROOT=
	if [[ -n $OWN_ARI_URL ]]; then
		say_note 'yours is used'
		return
	fi
	asterisk_root_ensure "$ASTERISK_VERSION"
	state_write
	say_note "Asterisk $(asterisk_root_version "$ASTERISK_ROOT")" \
		"in $ASTERISK_ROOT"
}

step_asterisk_carrier() {
	if ! asterisk_instance_alive "$ASTERISK_ROOT" "$CARRIER"; then
		asterisk_instance_render "$ASTERISK_ROOT" "$CARRIER" carrier \
			SIP_PORT="$CARRIER_PORT" RTP_FIRST=18000 RTP_LAST=19999
		asterisk_instance_start "$ASTERISK_ROOT" "$CARRIER"
	fi
	say_note "SIP on 127.0.0.1:$CARRIER_PORT"
}

step_asterisk_media() {
	if [[ -n $OWN_ARI_URL ]]; then
		ARI_URL=$OWN_ARI_URL
		ARI_PASSWORD=$OWN_ARI_PASSWORD
		RECORDING_DIR=$OWN_RECORDING_DIR
		SPEECH_DIR=$OWN_SPEECH_DIR
		SPEECH_SEEN=$OWN_SPEECH_SEEN
		SOUNDS_DIRS=''
		return
	fi
	ARI_URL=http://127.0.0.1:$ARI_PORT
	ARI_PASSWORD=$(secret_once "$VAR/secrets/ari-password" 16)
	RECORDING_DIR=$(asterisk_instance_dir "$ASTERISK_ROOT" \
		"$MEDIA")/spool/recording
	# it runs inside the root, so it sees the same folder by another path
	SPEECH_SEEN=/srv/$MEDIA/spool/speech
	SPEECH_DIR=$ASTERISK_ROOT$SPEECH_SEEN
	# the link in sounds/ is one of the root's own
	SOUNDS_DIRS=/usr/share/asterisk/sounds
	SOUNDS_DIRS=$ASTERISK_ROOT$(chroot "$ASTERISK_ROOT" \
		readlink -f "$SOUNDS_DIRS/en"),$ASTERISK_ROOT$SOUNDS_DIRS
	if ! asterisk_instance_alive "$ASTERISK_ROOT" "$MEDIA"; then
		step_port_free "$ARI_PORT" --port-base
		asterisk_instance_render "$ASTERISK_ROOT" "$MEDIA" media \
			SIP_PORT="$SIP_PORT" HTTP_PORT="$ARI_PORT" \
			ARI_USER="$ARI_USER" ARI_PASSWORD="$ARI_PASSWORD" \
			RTP_FIRST=16000 RTP_LAST=17999 \
			TRUNK="$TRUNK=127.0.0.1:$CARRIER_PORT"
		asterisk_instance_start "$ASTERISK_ROOT" "$MEDIA"
	fi
	say_note "ARI at $ARI_URL"
}

step_configure() {
	local pepper

	pepper=$(secret_once "$VAR/secrets/pepper" 32)
	mkdir -p "$RUN_DIR"
	kaphila_write_config "$VAR/kaphila.conf" \
		node.run_dir="$RUN_DIR" node.data_dir="$VAR/data" \
		http.listen="127.0.0.1:$HTTP_PORT" \
		admin.listen="127.0.0.1:$ADMIN_PORT" \
		postgres.dsn="$PGURL" auth.pepper="$pepper" \
		asterisk.url="$ARI_URL" asterisk.user="$ARI_USER" \
		asterisk.password="$ARI_PASSWORD" \
		asterisk.recording_dir="$RECORDING_DIR" \
		${SOUNDS_DIRS:+asterisk.sounds_dirs="$SOUNDS_DIRS"} \
		speech.dir="$SPEECH_DIR" speech.asterisk_dir="$SPEECH_SEEN" \
		webhook.allow_http=true webhook.allow_loopback=true
	kaphila_ctl "$TOP" migrate --dir "$TOP/deploy/schema" >>"$SAY_LOG" 2>&1
	say_note "configuration in $VAR/kaphila.conf"
}

step_start() {
	if ! daemon_alive "$PID_MASTER"; then
		step_port_free "$HTTP_PORT" --http-port
		step_port_free "$ADMIN_PORT" --admin-port
	fi
	kaphila_start "$TOP" "$PID_MASTER" "$ADMIN_URL"
	say_note "API at $BASE_URL, log in $VAR/log/kaphila.log"
}

# env_value NAME: what quickstart.env of last time has, if it is there.
env_value() {
	sed -n "s/^$1='\(.*\)'\$/\1/p" "$VAR/quickstart.env" 2>/dev/null || true
}

# The key and its webhook secret are printed once, when they are made; so they
# are kept in quickstart.env.
step_key() {
	local made trunks

	API_KEY=$(env_value KAPHILA_API_KEY)
	WEBHOOK_SECRET=$(env_value KAPHILA_WEBHOOK_SECRET)
	if kaphila_key_works "$BASE_URL" "$API_KEY"; then
		say_note 'the key of last time works'
		step_write_env
		return
	fi
	made=$(kaphila_ctl "$TOP" keys create demo --credits 10000 \
		--rate-limit 100000 --json)
	API_KEY=$(json_value key <<<"$made")
	WEBHOOK_SECRET=$(json_value webhookSecret <<<"$made")
	trunks=$(kaphila_ctl "$TOP" trunks list --json)
	grep -qF "\"$TRUNK\"" <<<"$trunks" ||
		kaphila_ctl "$TOP" trunks add "$TRUNK" >>"$SAY_LOG" 2>&1
	kaphila_ctl "$TOP" trunks assign "$(json_value keyId <<<"$made")" \
		"$TRUNK" >>"$SAY_LOG" 2>&1
	step_write_env
	say_note "made, with 10,000 credits and the trunk '$TRUNK'"
}

step_write_env() {
	local -r own=${ARI_URL#http://}

	(umask 077 && cat >"$VAR/quickstart.env" <<-END
		# Written by deploy/quickstart. In scripts: set -a; . var/quickstart.env
		KAPHILA_BASE_URL='$BASE_URL'
		KAPHILA_API_KEY='$API_KEY'
		KAPHILA_ADMIN_URL='$ADMIN_URL'
		KAPHILA_RUN_DIR='$RUN_DIR'
		KAPHILA_CONFIG='$VAR/kaphila.conf'
		KAPHILA_WEBHOOK_URL='$SINK_URL'
		KAPHILA_WEBHOOK_FILE='$SINK_FILE'
		# the events of this key's calls are signed with it; empty: they aren't
		KAPHILA_WEBHOOK_SECRET='$WEBHOOK_SECRET'
		PGURL='$PGURL'
		ASTERISK_ROOT='$ASTERISK_ROOT'
		# with the ARI user and its password: curl "\$ARI_URL/ari/channels"
		ARI_URL='http://$ARI_USER:$ARI_PASSWORD@$own'
	END
	)
}

step_sink() {
	if ! daemon_alive "$PID_SINK"; then
		step_port_free "$SINK_PORT" --port-base
		daemon_start "$PID_SINK" "$VAR/log/webhook-sink.log" \
			"$TOP/deploy/webhook-sink" \
			--listen "127.0.0.1:$SINK_PORT" --file "$SINK_FILE"
		daemon_wait 10 port_answers "$SINK_PORT" ||
			die "it did not start, see $VAR/log/webhook-sink.log"
	fi
	say_note "$SINK_URL, events go to $SINK_FILE"
}

# demo_post PATH JSON: the answer.
demo_post() {
	curl -s -m 20 -X POST "$BASE_URL$1" \
		-H "Authorization: Bearer $API_KEY" \
		-H 'Content-Type: application/json' -d "$2"
}

# demo_wait CALL EVENT: until it came; fails if it doesn't.
demo_wait() {
	"$TOP/deploy/webhook-sink" --follow "$SINK_FILE" --call "$1" \
		--timeout 30 --until "$2" >>"$SAY_LOG" 2>&1
}

# What a customer's program would do on the events of a call: ask for a number,
# thank for it, hang up. Its answers are in the log.
demo_talk() {
	local -r call=$1

	demo_wait "$call" call.answered &&
		demo_post /gather "{\"callId\":\"$call\",\"numDigits\":4,
			\"text\":\"Please enter your number.\"}" &&
		demo_wait "$call" gather.complete &&
		demo_post /voice "{\"callId\":\"$call\",
			\"text\":\"Thank you. Good bye.\"}" &&
		demo_wait "$call" playback.finished
	demo_post /hangup "{\"callId\":\"$call\"}"
}

# A call that speaks and asks for digits; the carrier's 07 sends four.
step_demo_call() {
	local -r number=${DEMO_NUMBER:-1555010007}
	local answer call file

	answer=$(demo_post /makecall \
		"{\"number\":\"$number\",\"webhookUrl\":\"$SINK_URL\"}")
	say_note "POST /makecall to $number: $answer"
	call=$(json_value callId <<<"$answer")
	[[ -n $call ]] || die 'the call was refused'
	say_note 'POST /gather, /voice and /hangup follow as its events come'
	demo_talk "$call" >>"$SAY_LOG" 2>&1 &
	"$TOP/deploy/webhook-sink" --follow "$SINK_FILE" --call "$call" \
		--timeout 120 --until call.ended recording.completed
	wait "$!" || true
	file=$(find "$VAR/data" -type f -name "*$call*.wav" | tail -n 1)
	say_note "recording: ${file:-not found under $VAR/data}"
}

# What to try next.
step_farewell() {
	local number=1555010001

	[[ -z $OWN_ARI_URL ]] || number=${DEMO_NUMBER:-NUMBER}
	cat <<-END

		Everything runs. \`deploy/quickstart stop\` ends it.

		  API      $BASE_URL
		  key      $API_KEY
		  secret   ${WEBHOOK_SECRET:-none} (signs its events)

		  curl $BASE_URL/health

		  curl -H 'Authorization: Bearer $API_KEY' $BASE_URL/api/me

		  curl -X POST $BASE_URL/makecall \\
		    -H 'Authorization: Bearer $API_KEY' \\
		    -H 'Content-Type: application/json' \\
		    -d '{"number":"$number","webhookUrl":"$SINK_URL"}'

		Events arrive in $SINK_FILE
	END
	[[ -n $OWN_ARI_URL ]] || cat <<-END
		The last two digits choose what the carrier does, see
		deploy/asterisk/carrier/extensions.conf
	END
}
