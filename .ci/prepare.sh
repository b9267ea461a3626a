# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What ./quickstart and ./check share: say(), die(), install_missing(), configure(), compile().
# Sourced with the repository's root as working directory.

if [ -t 2 ] && [ -z "${NO_COLOR-}" ]; then
	say() {
		printf '\033[1m==>\033[0m %s\n' "$*" >&2
	}
else
	say() {
		printf '==> %s\n' "$*" >&2
	}
fi

die() {
	printf '%s: error: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# install_missing GROUP...: install what the groups of .ci/packages name and this
# machine lacks.  Changes nothing, asks nothing and needs no privilege when
# nothing is missing.
install_missing() {
	command -v dpkg-query >/dev/null ||
		die "this is no Debian or Ubuntu: install what .ci/packages names, then run 'meson setup build && ninja -C build'"
	local package group _ missing=() sudo=()
	while read -r package group _; do
		case "$package" in '' | '#'*) continue ;; esac
		case " $* " in *" $group "*) ;; *) continue ;; esac
		[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			missing+=("$package")
	done <.ci/packages

	# The tiny guest's kernel comes from apt too: the lists are needed even if no package is.
	if [ ${#missing[@]} -eq 0 ] && compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
		return 0
	fi
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null ||
			die "missing packages and no sudo; as root: apt-get update && apt-get install --no-install-recommends ${missing[*]}"
		say "sudo is used once, to install: ${missing[*]:-package lists}"
		sudo=(sudo)
	elif [ ${#missing[@]} -gt 0 ]; then
		say "installing ${#missing[@]} packages: ${missing[*]}"
	fi
	"${sudo[@]}" apt-get update -qq || die "apt-get update failed: is the package mirror reachable?"
	[ ${#missing[@]} -eq 0 ] ||
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
			--no-install-recommends "${missing[@]}" >/dev/null ||
		die "apt-get install failed for: ${missing[*]}"
}

# configure DIR OPTION...: meson setup, once; again only when the options differ.
configure() {
	local dir=$1 wipe=()
	shift
	if [ -f "$dir/build.ninja" ]; then
		[ "$(cat "$dir/.configured" 2>/dev/null)" != "$*" ] || return 0
		wipe=(--wipe)
	fi
	mkdir -p "$dir"
	meson setup "${wipe[@]}" "$dir" "$@" >"$dir.log" 2>&1 || {
		tail -n 20 "$dir.log" >&2
		die "meson setup failed; all of it is in $dir.log"
	}
	rm -f "$dir.log"
	printf '%s' "$*" >"$dir/.configured"
}

# compile DIR: with ninja's own progress on a terminal, silent otherwise unless it fails.
compile() {
	if [ -t 2 ]; then
		ninja -C "$1" >&2 || die "the build failed"
		return
	fi
	ninja -C "$1" >"$1/ninja.log" 2>&1 || {
		tail -n 40 "$1/ninja.log" >&2
		die "the build failed; all of it is in $1/ninja.log"
	}
}
