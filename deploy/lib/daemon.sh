# shellcheck shell=bash
# Processes that outlive the script that started them. A pid file holds the pid
# and the process's start time, so that a number that was given to another
# process meanwhile is never signalled.

# The start time of PID, in clock ticks since boot; fails if there is none.
daemon_start_time() {
	local stat

	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	stat=${stat##*) } # the name before it may hold anything
	# shellcheck disable=SC2086 # split on purpose: field 22 is the 20th left
	set -- $stat
	[[ $1 != Z ]] || return 1
	printf '%s\n' "${20}"
}

# daemon_start PIDFILE LOG COMMAND...: detached, in a session of its own.
daemon_start() {
	local -r pid_file=$1 log=$2
	local pid

	shift 2
	setsid "$@" </dev/null >>"$log" 2>&1 &
	pid=$!
	daemon_adopt "$pid_file" "$pid" ||
		die "$1 ended at once, see $log"
}

# Write the pid file of a process that runs already.
daemon_adopt() {
	local started

	started=$(daemon_start_time "$2") || return 1
	printf '%s %s\n' "$2" "$started" >"$1"
}

# The pid in PIDFILE, if that very process still runs.
daemon_pid() {
	local pid='' started=''

	[[ -r $1 ]] || return 1
	read -r pid started <"$1" || return 1
	[[ -n $pid && $(daemon_start_time "$pid") == "$started" ]] || return 1
	printf '%s\n' "$pid"
}

daemon_alive() {
	daemon_pid "$1" >/dev/null
}

# daemon_stop PIDFILE SECONDS [SIGNAL]: ask, wait that long, then SIGKILL.
# Removes the pid file; nothing to stop is no error.
daemon_stop() {
	local -r pid_file=$1 seconds=$2 signal=${3:-TERM}
	local pid i

	if pid=$(daemon_pid "$pid_file"); then
		kill -s "$signal" "$pid" 2>/dev/null || true
		for ((i = 0; i < seconds * 10; i++)); do
			daemon_alive "$pid_file" || break
			sleep 0.1
		done
		if daemon_alive "$pid_file"; then
			say_note "pid $pid did not end in $seconds s: killed"
			kill -s KILL "$pid" 2>/dev/null || true
		fi
	fi
	rm -f "$pid_file"
}

# daemon_wait SECONDS COMMAND...: until the command succeeds.
daemon_wait() {
	local -r deadline=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}

# True if something listens on the TCP port of 127.0.0.1.
port_answers() {
	(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
