# shellcheck shell=bash
# Fills templates in: @KEY@ becomes the key's value.

# template_render IN OUT KEY=VALUE...; a key that stays unfilled is an error.
template_render() {
	local -r in=$1 out=$2
	local text pair

	shift 2
	text=$(<"$in")
	for pair in "$@"; do
		text=${text//"@${pair%%=*}@"/"${pair#*=}"}
	done
	if [[ $text =~ @[A-Z_]+@ ]]; then
		die "$in: nothing was given for ${BASH_REMATCH[0]}"
	fi
	printf '%s\n' "$text" >"$out"
}
