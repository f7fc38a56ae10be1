# shellcheck shell=bash
# The folder that Asterisk runs in: Debian 12 has no Asterisk, so a minimal
# Debian that has one is built beside the system and used by chroot. It is
# built once, outside the checkout, and shared by every instance.

# Where the roots lie.
asterisk_root_cache() {
	printf '%s\n' "${KAPHILA_CACHE_DIR:-/var/cache/kaphila}"
}

# The distribution that carries an Asterisk version.
asterisk_root_suite() {
	case $1 in
	22) printf 'sid\n' ;;
	16) printf 'bullseye\n' ;;
	*) die "no distribution is known to carry Asterisk $1 (22 or 16)" ;;
	esac
}

# A root's version as Asterisk tells it, such as "22.10.1".
asterisk_root_version() {
	chroot "$1" /usr/sbin/asterisk -V | sed -n 's/^Asterisk \([0-9.]*\).*/\1/p'
}

# Asterisk looks up its host's name and A.ROOT-SERVERS.NET for every call; with
# no answer in the root's own file each look-up can wait seconds for DNS. The
# machine's name may have changed since the root was built.
asterisk_root_hosts() {
	local -r hosts=$1/etc/hosts
	local name

	for name in localhost "$(uname -n)" A.ROOT-SERVERS.NET; do
		grep -qsiE "[[:space:]]${name//./\\.}([[:space:]]|\$)" "$hosts" ||
			printf '127.0.0.1 %s\n' "$name" >>"$hosts"
	done
}

# Whatever was mounted under a root, so that it can be moved or removed.
asterisk_root_unmount() {
	local at

	awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/mounts |
		sort -r | while read -r at; do
		umount "$at"
	done
}

# Build VERSION into DIR, which must not exist.
asterisk_root_debootstrap() {
	local -r version=$1 dir=$2
	local got

	say_progress debootstrap --variant=minbase --exclude=systemd \
		--include=asterisk,asterisk-core-sounds-en-wav \
		"$(asterisk_root_suite "$version")" "$dir" || return 1
	asterisk_root_unmount "$dir"
	got=$(asterisk_root_version "$dir")
	if [[ ${got%%.*} != "$version" ]]; then
		say_note "the distribution has Asterisk $got now"
		return 1
	fi
	asterisk_root_hosts "$dir"
	rm -rf "$dir"/var/cache/apt/archives/*.deb
}

# Build beside the final place and rename, so that a root that is there is
# whole. Run under the lock: what another left half-done can be removed.
asterisk_root_build() {
	local -r version=$1 root=$2
	local -r building=$root.building
	local -r start=$SECONDS

	if [[ -d $building ]]; then
		asterisk_root_unmount "$building"
		rm -rf "$building"
	fi
	say_note "building Asterisk $version in $root, about a minute"
	if ! asterisk_root_debootstrap "$version" "$building"; then
		asterisk_root_unmount "$building"
		rm -rf "$building"
		return 1
	fi
	mv "$building" "$root"
	say_note "built in $((SECONDS - start)) s"
}

# asterisk_root_ensure [VERSION]: sets ASTERISK_ROOT; builds what is missing.
# Two at once: the second waits for the first. Where the distribution no longer
# has the version, the other one is taken, and that is said.
asterisk_root_ensure() {
	local -r version=${1:-22}
	local cache lock other=16

	cache=$(asterisk_root_cache)
	[[ $version == 22 ]] || other=22
	ASTERISK_ROOT=$cache/asterisk-$version
	mkdir -p "$cache"
	if [[ ! -d $ASTERISK_ROOT ]]; then
		exec {lock}>"$cache/lock"
		flock -n "$lock" || {
			say_note 'another build is under way, waiting for it'
			flock "$lock"
		}
		if [[ ! -d $ASTERISK_ROOT ]] &&
			! asterisk_root_build "$version" "$ASTERISK_ROOT"; then
			say "Asterisk $version can't be had any more:" \
				"taking $other"
			ASTERISK_ROOT=$cache/asterisk-$other
			[[ -d $ASTERISK_ROOT ]] ||
				asterisk_root_build "$other" "$ASTERISK_ROOT" ||
				die "no Asterisk could be built, see $SAY_LOG"
		fi
		exec {lock}>&-
	fi
	asterisk_root_hosts "$ASTERISK_ROOT"
}
