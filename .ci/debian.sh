# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by scripts that make a Debian of their own, after setup.sh: a chroot from the archive that this machine's apt
# knows, whose proxy and keys the chroot uses too.

job=

# alone [--net] COMMAND...: with processes and mounts of its own; --net: without a network
alone() {
    case $1 in
    --net) net=$1; shift ;;
    *) net= ;;
    esac
    unshare --mount --pid --fork --kill-child $net "$@" </dev/null &
    job=$!
    wait "$job"
    set -- $?
    job=
    return "$1"
}

# Every job is the first process of a namespace, which has the mounts: with it all its processes and mounts are gone.
end_job() {
    [ -n "$job" ] || return 0
    for init in $(cat "/proc/$job/task/$job/children" 2>/dev/null); do
        kill -KILL "$init"
    done
    wait "$job"
    job=
}

# debian_sources RELEASE: the lines of its sources.list, which are what this machine's apt has of Debian, of that release
debian_sources() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' |
        sed -n "s|^\([^ ]*\) [a-z]*\(.*\)$|deb \1 $1\2 main|p" | sort -u
}

# debian_archive RELEASE <SOURCES: the URL of the release itself
debian_archive() {
    sed -n "s|^deb \([^ ]*\) $1 main$|\1|p" | head -n 1
}

# Scripts that fetch without apt find its proxy in http_proxy.
debian_proxy() {
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [ -z "${proxy-}" ] || export http_proxy="$proxy"
}

# debian_base DIR RELEASE ARCHIVE: the essential packages
debian_base() {
    debian_proxy
    alone debootstrap --variant=minbase "$2" "$1" "$3" || die "debootstrap cannot make $2 from $3"
    rm -rf "$1/var/cache/apt/archives/"*.deb
}

# debian_apt ROOT SOURCES: what apt needs here it needs there, and nothing more of this machine's is in it.
debian_apt() {
    cp "$2" "$1/etc/apt/sources.list" || exit 2
    apt-config dump | grep -E '^Acquire::(https?::|Check-|ForceIPv|Retries )' | grep -v 'Auto-\?Detect' \
        >"$1/etc/apt/apt.conf.d/00machine"
    for file in etc/resolv.conf etc/hosts etc/apt/auth.conf etc/apt/auth.conf.d etc/apt/trusted.gpg.d etc/apt/keyrings; do
        [ ! -e "/$file" ] || cp -RLT "/$file" "$1/$file" || exit 2
    done
    if grep -q 'deb https:' "$2"; then
        mkdir -p "$1/etc/ssl/certs"
        cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/" || exit 2
    fi
}
