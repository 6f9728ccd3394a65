#!/usr/bin/env bash
# fetch.sh 5.10|6.1|6.12: puts Debian's newest kernel of that version, with its modules, into a folder outside the clone and prints
# the folder. Nothing is installed: the package is unpacked. The second time this needs no network; remove the folder for a newer one.
# Mirrors are those of this machine's own apt, asked for the Debian release that has this kernel.
set -euo pipefail

declare -A RELEASES=([5.10]=bullseye [6.1]=bookworm [6.12]=trixie)
version=$1 release=${RELEASES[$1]:-}
fail() { printf 'kernel %s cannot be had: %s\n  hint: %s\n' "$version" "$1" "$2" >&2; exit 1; }
[ -n "$release" ] || fail "it is none of ${!RELEASES[*]}" "choose among these: KERNELS=\"6.1\" make kernels"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/sidestep/kernels/$version
[ -e "$cache/vmlinuz" ] && { echo "$cache"; exit; }

mkdir -p "$(dirname "$cache")"
work=$(mktemp -d "$cache.new-XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/files"

apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sort -u |
	awk -v release="$release" -v keys=/usr/share/keyrings/debian-archive-keyring.gpg '$1 == "Debian" && $2 !~ /-(updates|backports)$/ {
		sub(/^[a-z]+/, release, $2)
		print "deb [arch=amd64 signed-by=" keys "] " $3 " " $2 " main"
	}' >"$work/apt/sources.list"
[ -s "$work/apt/sources.list" ] || fail "this machine's apt has no Debian mirror" "make kernels knows only Debian's kernels"
apt=(-q -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
	-o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update >"$work/log" 2>&1 || { tail -n 4 "$work/log" >&2; fail "apt-get update failed" "is there a network?"; }

# linux-image-6.1.0-56-amd64, linux-image-6.12.117+deb12-amd64; not -cloud-, -rt-, -unsigned, -dbg.
package=$(apt-cache "${apt[@]}" pkgnames "linux-image-$version." | grep -E '^linux-image-[0-9.]+(\+deb[0-9]+)?(-[0-9]+)?-amd64$' | sort -V | tail -n 1 || true)
[ -n "$package" ] || fail "Debian's $release has no such package any more" "choose another version"
printf '  %-6s %s\n' APT "$package, unpacked into $cache" >&2
(cd "$work" && apt-get "${apt[@]}" download "$package") >"$work/log" 2>&1 || { tail -n 4 "$work/log" >&2; fail "the download failed" "is there a network?"; }
dpkg -x "$work/$package"_*.deb "$work/files"

full=${package#linux-image-}
mkdir "$work/kernel"
# Trixie's stand under /usr.
mv "$(find "$work/files" -type d -path "*/lib/modules" -print -quit)" "$work/kernel/modules"
mkdir "$work/kernel/lib"
mv "$work/kernel/modules" "$work/kernel/lib/modules"
depmod -b "$work/kernel" "$full"
cp "$work/files/boot/vmlinuz-$full" "$work/kernel/vmlinuz"
echo "$full" >"$work/kernel/release"
# In one step: another run may be at the same point.
mv -T "$work/kernel" "$cache" 2>/dev/null || [ -e "$cache/vmlinuz" ]
echo "$cache"
