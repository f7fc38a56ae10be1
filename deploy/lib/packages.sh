# shellcheck shell=bash
# Debian packages, installed only when they are missing. The lists are
# deploy/packages.txt and deploy/packages-tests.txt.

# The names in the lists, without comments.
packages_read() {
	sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$@" | sort -u
}

# The names that are not installed.
packages_missing() {
	local -a wanted

	mapfile -t wanted < <(packages_read "$@")
	comm -23 <(printf '%s\n' "${wanted[@]}") \
		<(dpkg-query -W -f '${db:Status-Status} ${Package}\n' \
			"${wanted[@]}" 2>/dev/null |
			sed -n 's/^installed //p' | sort -u)
}

# Debian's PostgreSQL packages make and start a cluster of their own on
# installation; the only one wanted here is private.
packages_no_main_cluster() {
	local -r dir=/etc/postgresql-common/createcluster.d

	[[ ! -d /etc/postgresql-common ]] || return 0
	mkdir -p "$dir"
	printf 'create_main_cluster = false\n' >"$dir/kaphila.conf"
}

packages_install() {
	local -a missing

	mapfile -t missing < <(packages_missing "$@")
	if ((${#missing[@]} == 0)); then
		say_note 'all there'
		return
	fi
	say_note "installing ${missing[*]}"
	packages_no_main_cluster
	export DEBIAN_FRONTEND=noninteractive
	say_progress apt-get update
	say_progress apt-get install -y --no-install-recommends "${missing[@]}"
}
