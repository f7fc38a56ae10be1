# shellcheck shell=bash
# What the scripts print: named steps with their times, progress of what takes
# long, and the last words before giving up. It runs nothing by itself.

SAY_LOG=${SAY_LOG:-/dev/null} # everything that long commands print

say() {
	printf '%s\n' "$*"
}

say_note() {
	printf '    %s\n' "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Seconds since START (an $EPOCHREALTIME), with one decimal.
say_since() {
	local -r start=${1/[.,]/} now=${EPOCHREALTIME/[.,]/}
	local -r tenths=$(((now - start) / 100000))

	printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

# say_step NAME COMMAND...: run it in this shell, with its name before and its
# time after it.
say_step() {
	local -r name=$1 start=$EPOCHREALTIME
	shift
	say_step_name=$name
	say "==> $name"
	"$@"
	say_step_name=
	say "    done: $name, $(say_since "$start")"
}

# Trap for EXIT: which step it was that failed, and the end of the log.
say_on_exit() {
	local -r status=$?

	if ((status != 0)) && [[ -n ${say_step_name:-} ]]; then
		printf 'failed: %s (exit status %d)\n' "$say_step_name" \
			"$status" >&2
		if [[ -s $SAY_LOG ]]; then
			printf 'the end of %s:\n' "$SAY_LOG" >&2
			tail -n 20 "$SAY_LOG" | sed 's/^/    /' >&2
		fi
	fi
	return "$status"
}

# Run a command whose output goes to the log, and show where it is every 3 s.
say_progress() {
	local -r start=$SECONDS
	local line='' text='' shown=$SECONDS rc=0

	# A timeout of `read` keeps what was read of the line so far.
	"$@" 2>&1 </dev/null | {
		while true; do
			rc=0
			IFS= read -r -t 1 text || rc=$?
			if ((rc == 0)); then
				printf '%s\n' "$text" >>"$SAY_LOG"
				line=$text
			elif ((rc <= 128)); then
				break
			fi
			if ((SECONDS - shown >= 3)); then
				shown=$SECONDS
				printf '    %3d s  %.64s\n' \
					$((SECONDS - start)) "$line"
			fi
		done
		[[ -z $text ]] || printf '%s\n' "$text" >>"$SAY_LOG"
	}
}
