#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# setup.sh fetches the servers that the lab runs: MySQL 9.7, MariaDB 10.11, keepalived and promtool.
#
#   test/lab/setup.sh           what the tests need
#   test/lab/setup.sh --extra   also MariaDB 11.8 and a newer keepalived
#   test/lab/setup.sh --env     print the directory of the programs and stop
#
# Nothing is installed on the machine but, where they are missing, the few small tools in `tools` below. Debian's
# packages are downloaded and verified by apt with a private state directory, and unpacked, never installed (no
# maintainer script runs, no service starts), each server with all the libraries it needs, libc included, into
#
#   ${HIGHWATER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/highwater}/lab/
#
# A program runs through the loader unpacked beside it, so neither a chroot nor root is needed for that. The loader
# is copied under the program's name because the kernel names a process after the file it executed.

set -euo pipefail

recipe=1 # raise to have every cache rebuilt
stable=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=${HIGHWATER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/highwater}/lab

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# tools installs the commands that the lab itself calls, when one is missing.
tools() {
	local -A package=(
		[ip]=iproute2 [tc]=iproute2 [nft]=nftables [unshare]=util-linux [nsenter]=util-linux
		[fsfreeze]=util-linux [mount]=mount [mkfs.ext4]=e2fsprogs [ps]=procps
	)
	local missing=() command
	for command in "${!package[@]}"; do
		PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("${package[$command]}")
	done
	((${#missing[@]})) || return 0
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
	if ((EUID != 0)); then
		say "without root only single servers can run; hosts also need ${missing[*]}"
		return 0
	fi
	say "installing ${missing[*]}"
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# mirror prints the URI of the Debian archive that this machine's own apt uses. Asking apt rather than parsing the
# files covers both formats of sources, variables and included parts.
mirror() {
	local codename
	codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-$stable}")
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk -v c="$codename" '$2 == c && $3 == "main" && $1 ~ /debian\/?$/ { print $1; exit }'
}

# security prints the URI of the archive of security updates, or nothing where apt has none.
security() {
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		awk '$2 ~ /-security$/ && $3 == "main" { print $1; exit }'
}

# prepare_apt SUITE makes a private apt state directory for one suite and points APT_CONFIG at it. Its dpkg status is
# empty, so that apt downloads every dependency, whatever the machine has installed.
prepare_apt() {
	local suite=$1 base=$work/apt-$1 uri extra
	export APT_CONFIG=$base/apt.conf
	[[ -e $base/ready ]] && return 0
	uri=$archive
	mkdir -p "$base/state/lists/partial" "$base/cache/archives/partial"
	: >"$base/state/status"
	# Signatures are checked with the keyring that the machine already trusts: the one of Debian 12 also holds the
	# keys that sign sid.
	{
		printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite"
		if [[ $suite == "$stable" ]]; then
			printf 'deb [signed-by=%s] %s %s-updates main\n' "$keyring" "$uri" "$suite"
			extra=$updates
			[[ -z $extra ]] || printf 'deb [signed-by=%s] %s %s-security main\n' "$keyring" "$extra" "$suite"
		fi
	} >"$base/sources.list"
	# The machine's own settings (a proxy, say) stay in force; only the directories differ.
	cat >"$APT_CONFIG" <<-CONF
		Dir::State "$base/state";
		Dir::State::status "$base/state/status";
		Dir::Cache "$base/cache";
		Dir::Etc::sourcelist "$base/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Acquire::Languages "none";
		Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
		APT::Install-Recommends "false";
		APT::Sandbox::User "root";
		Binary::apt-get::APT::Keep-Downloaded-Packages "true";
		DPkg::Post-Invoke {};
		APT::Update::Post-Invoke {};
	CONF
	say "reading the package lists of $suite"
	apt-get update -qq || die "no package lists of $suite: is the network there, and does $keyring hold its keys?"
	: >"$base/ready"
}

# root NAME SUITE PACKAGE... unpacks packages, with all they depend on, into roots/NAME.
root() {
	local name=$1 suite=$2 target=$cache/roots/$1 deb
	shift 2
	if [[ $(cat "$target/.recipe" 2>/dev/null) == "$recipe" ]]; then
		return 0
	fi
	prepare_apt "$suite"
	local debs=$work/debs-$name
	mkdir -p "$debs/partial"
	say "downloading $* from $suite"
	apt-get install -qq -y --download-only -o Dir::Cache::archives="$debs" "$@" >/dev/null
	say "unpacking $(find "$debs" -name '*.deb' | wc -l) packages for $name"
	rm -rf "$target" "$target.new"
	mkdir -p "$target.new"
	for deb in "$debs"/*.deb; do
		# Usually /lib and /usr/lib are one directory; here each package is laid where it says.
		dpkg-deb --extract "$deb" "$target.new"
	done
	rm -rf "$target.new/usr/share/doc" "$target.new/usr/share/man" "$target.new/usr/share/locale" "$debs"
	printf '%s\n' "$recipe" >"$target.new/.recipe"
	mv "$target.new" "$target"
	rm -rf "$cache/templates/$name"-*
}

# program NAME ROOT PATH writes bin/NAME, which runs PATH of roots/ROOT with the loader and libraries of that root.
program() {
	local name=$1 root=$cache/roots/$2 path=$3 loader libraries
	[[ -x $root$path ]] || die "$root$path is missing"
	# Packages older than the merge of /lib into /usr/lib link /lib64 to the loader by an absolute path: only the file counts.
	loader=$(find "$root" -path '*/lib*/ld-*' -type f \( -name 'ld-linux*.so.*' -o -name 'ld-2.*.so' \) -print -quit)
	[[ -n $loader ]] || die "no loader in $root"
	libraries=$(find "$root" -type d \( -path "$root/lib/*-linux-gnu" -o -path "$root/usr/lib/*-linux-gnu" \) | paste -sd:)
	mkdir -p "$root/run" "$cache/bin"
	cp "$loader" "$root/run/$name.new"
	mv "$root/run/$name.new" "$root/run/$name"
	cat >"$cache/bin/$name.new" <<-SCRIPT
		#!/bin/sh
		exec "$root/run/$name" --library-path "$libraries" "$root$path" "\$@"
	SCRIPT
	chmod +x "$cache/bin/$name.new"
	mv "$cache/bin/$name.new" "$cache/bin/$name"
	! "$root/run/$name" --list --library-path "$libraries" "$root$path" 2>&1 | grep 'not found' >&2 ||
		die "$name lacks libraries"
}

extra=
case ${1:-} in
'') ;;
--extra) extra=1 ;;
--env)
	printf '%s\n' "$cache/bin"
	exit
	;;
*) die "usage: setup.sh [--extra|--env]" ;;
esac

tools
done_mark=$cache/.done${extra:+-extra}
if [[ $(cat "$done_mark" 2>/dev/null) == "$recipe" ]]; then
	exit 0
fi

mkdir -p "$cache"
# One at a time: several checkouts may share the cache.
exec 9>"$cache/.lock"
flock 9
if [[ $(cat "$done_mark" 2>/dev/null) == "$recipe" ]]; then
	exit 0
fi

command -v dpkg-deb >/dev/null && command -v apt-get >/dev/null || die "this needs Debian's dpkg and apt"
archive=$(mirror)
updates=$(security)
[[ -n $archive ]] || die "apt has no source of Debian's main component on this machine"
work=$cache/.work
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

root mysql sid mysql-server-core mysql-client-core
program mysqld mysql /usr/sbin/mysqld
program mysql mysql /usr/bin/mysql
program mysqlbinlog mysql /usr/bin/mysqlbinlog

root mariadb "$stable" mariadb-server-core mariadb-client-core mariadb-backup mariadb-client
program mariadbd mariadb /usr/sbin/mariadbd
program mariadb mariadb /usr/bin/mariadb
program mariadb-backup mariadb /usr/bin/mariadb-backup
program mbstream mariadb /usr/bin/mbstream
program mariadb-binlog mariadb /usr/bin/mariadb-binlog

root keepalived "$stable" keepalived
program keepalived keepalived /usr/sbin/keepalived

root prometheus "$stable" prometheus
program promtool prometheus /usr/bin/promtool

if [[ $extra ]]; then
	root mariadb-11 sid mariadb-server-core mariadb-client-core mariadb-backup mariadb-client
	program mariadbd-11 mariadb-11 /usr/sbin/mariadbd
	program mariadb-11 mariadb-11 /usr/bin/mariadb
	program mariadb-backup-11 mariadb-11 /usr/bin/mariadb-backup

	root keepalived-sid sid keepalived
	program keepalived-sid keepalived-sid /usr/sbin/keepalived
fi

printf '%s\n' "$recipe" >"$done_mark"
say "ready: $(
	"$cache/bin/mysqld" --version | sed -E 's/.*Ver ([^ ]+).*/MySQL \1/'
), $(
	"$cache/bin/mariadbd" --version | sed -E 's/.*Ver ([^ ]+).*/MariaDB \1/'
), $("$cache/bin/keepalived" --version 2>&1 | head -1), in $cache"
