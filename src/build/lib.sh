# shellcheck shell=bash
# Shared by src/build/module, src/build/nginx, tests/run, tests/configure, .ci/run and examples/demo;
# sourced, never run.
# Standard output carries results only (a path, a count); everything for the reader goes to standard error.

set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=$root/target
# Where rustup puts cargo, and where Debian puts nginx: neither is on every user's path.
PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:/usr/sbin

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# The comment at the top of the running script is its help.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; }

# ---- what the machine must have ----

# has THING: is this command, C header or libclang there?
has() {
    case $1 in
        libclang)
            # Not libclang-cpp, which is another library.
            [ -n "${LIBCLANG_PATH-}" ] ||
                compgen -G '/usr/lib*/llvm*/lib/libclang.so*' >/dev/null ||
                compgen -G '/usr/lib*/llvm*/lib/libclang-[0-9]*.so*' >/dev/null ;;
        *.h)
            printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <%s>\n' "$1" | cc -E - >/dev/null 2>&1 ;;
        *)
            command -v "$1" >/dev/null ;;
    esac
}

# The Debian packages that bring a THING.
packages_of() {
    case $1 in
        cc) echo gcc libc6-dev ;;
        libclang) echo libclang-dev ;;
        pcre2.h) echo libpcre2-dev ;;
        zlib.h) echo zlib1g-dev ;;
        openssl/ssl.h) echo libssl-dev ;;
        *) echo "$1" ;;
    esac
}

# apt-get, which gets one update of its lists when they are missing or out of date.
apt_get() {
    local quiet=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0
        -o APT::Sandbox::User=root)
    "${quiet[@]}" "$@" </dev/null >&2 && return
    [ "$(id -u)" = 0 ] || return
    "${quiet[@]}" update </dev/null >&2
    "${quiet[@]}" "$@" </dev/null >&2
}

# need THING...: installs what is missing when we are root on Debian, else says what to run.
need() {
    local thing packages missing=() install=(install -y --no-install-recommends)
    for thing; do
        has "$thing" || missing+=("$thing")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    for thing in "${missing[@]}"; do
        read -ra packages <<<"$(packages_of "$thing")"
        install+=("${packages[@]}")
    done
    say "missing on this machine: ${missing[*]}"
    if [ "$(id -u)" = 0 ] && has apt-get; then
        say "apt-get ${install[*]}"
        apt_get "${install[@]}" || die "apt-get could not install it; see above"
    else
        die "please run this, and start again: sudo apt-get ${install[*]}"
    fi
}

need_cargo() {
    has cargo || die "cargo is missing: install Rust ($(rust_version) or newer) with rustup, then start again"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml"; }

# unpack_package PACKAGE VERSION DIR: the files of a Debian package, nothing installed. VERSION is
# nginx's own number or empty; of several packages of that nginx, apt's first one is taken.
unpack_package() {
    local package=$1 version=$2 dir=$3 exact
    has apt-get || return
    if [ -n "$version" ]; then
        exact=$(package_version "$package" "$version")
        if [ -z "$exact" ] && [ "$(id -u)" = 0 ]; then
            apt_get update || return
            exact=$(package_version "$package" "$version")
        fi
        [ -n "$exact" ] || return
        package=$package=$exact
    fi
    rm -rf "$dir" "$dir.new"
    mkdir -p "$dir.new"
    (cd "$dir.new" && apt_get download "$package" && dpkg -x ./*.deb . && rm ./*.deb) || return
    mv "$dir.new" "$dir"
}

package_version() {
    apt-cache madison "$1" | awk -v want="$2-" 'index($3, want) == 1 { print $3; exit }'
}

# ---- supervisord ----
# Never installed, because that would start a service. Both functions print a program that takes
# supervisord's arguments, and fail where it cannot be brought here.

# Debian's supervisor: the installed one, else its package unpacked under target/.
debian_supervisord() {
    local dir=$target/supervisor/debian package paths=()
    if [ -x /usr/bin/supervisord ]; then
        echo /usr/bin/supervisord
        return
    fi
    for package in supervisor python3-pkg-resources; do
        paths+=("$dir/$package/usr/lib/python3/dist-packages")
        [ -d "${paths[-1]}" ] || unpack_package "$package" "" "$dir/$package" || return
    done
    supervisord_launcher "$dir" "${paths[@]}"
}

# supervisord of that version, from pip. Debian ships pip itself as a file that python can run.
pip_supervisord() {
    local dir=$target/supervisor/$1 packages=$target/supervisor/packages pip
    if [ ! -d "$dir/supervisor" ]; then
        [ -d "$packages/usr" ] || unpack_package python3-pip-whl "" "$packages" || return
        pip=("$packages"/usr/share/python-wheels/pip-*.whl)
        rm -rf "$dir" "$dir.new"
        "$(debian_python)" "${pip[0]}/pip" --quiet install --root-user-action=ignore \
            --no-deps --target "$dir.new" "supervisor==$1" >&2 || return
        mv "$dir.new" "$dir"
    fi
    supervisord_launcher "$dir" "$dir"
}

# supervisord_launcher DIR PATH...: Python finds its own library and these folders, nothing else.
supervisord_launcher() {
    local launcher=$1/supervisord IFS=:
    shift
    printf '#!/bin/sh\nPYTHONPATH=%q exec %q -S -c %q "$@"\n' "$*" "$(debian_python)" \
        'from supervisor.supervisord import main; main()' >"$launcher.$$"
    chmod +x "$launcher.$$"
    mv "$launcher.$$" "$launcher"
    "$launcher" --version >/dev/null && echo "$launcher"
}

# Debian's packages are for Debian's own Python.
debian_python() {
    if [ -x /usr/bin/python3 ]; then
        echo /usr/bin/python3
    else
        command -v python3
    fi
}

# ---- sources of other projects ----

# debian_source NAME VERSION SUITE: prints the folder of a Debian source package as its authors
# released it, without Debian's changes. VERSION is theirs or its beginning; empty is any. Fails with a
# message where apt does not bring it.
debian_source() {
    local name=$1 version=$2 suite=$3 work exact dir tars
    dir=$target/sources/$suite/$name${version:+-$version}
    if [ ! -d "$dir" ]; then
        work=$target/sources/$suite/apt
        debian_apt "$suite" "$work" || return
        exact=$(cd "$work" && source_version "$name" "$version")
        if [ -z "$exact" ]; then
            say "$suite has no source of $name ${version:-at all}"
            return 1
        fi
        rm -rf "$dir.new"
        mkdir -p "$dir.new/tar" "$dir.new/source"
        (cd "$dir.new/tar" && APT_CONFIG=$work/apt.conf apt-get -qq source --tar-only \
            --download-only "$name=$exact" </dev/null >&2) || {
            # Lists of another day may name what is there by then.
            rm "$work/fetched"
            say "apt does not bring the source of $name $exact from $suite"
            return 1
        }
        # The tarball, not its signature.
        tars=("$dir.new"/tar/*.orig.tar.*[!c])
        tar -C "$dir.new/source" --strip-components=1 -xf "${tars[0]}" || return
        mv "$dir.new/source" "$dir"
        rm -rf "$dir.new"
    fi
    echo "$dir"
}

# debian_apt SUITE DIR: an apt.conf in DIR, which reads the sources of a suite from where this machine's
# own packages come from. Lists of its own, so that apt's stay as they are; the same keys.
debian_apt() {
    local suite=$1 dir=$2 uris keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ ! -e "$dir/fetched" ] || return 0
    if ! has apt-get; then
        say "no apt-get on this machine, hence no sources of Debian's"
        return 1
    fi
    uris=$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sort -u)
    if [ -z "$uris" ]; then
        say "apt knows no archive of Debian on this machine (apt-get update may help)"
        return 1
    fi
    rm -rf "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    while read -r uri; do
        printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\n' "$uri" "$suite"
        [ ! -e "$keys" ] || printf 'Signed-By: %s\n' "$keys"
        echo
    done <<<"$uris" >"$dir/debian.sources"
    cat >"$dir/apt.conf" <<-END
	Dir::Etc::sourcelist "$dir/debian.sources";
	Dir::Etc::sourceparts "-";
	Dir::State::lists "$dir/lists";
	Dir::Cache "$dir/cache";
	APT::Sandbox::User "root";
	Acquire::Languages "none";
	END
    if ! APT_CONFIG=$dir/apt.conf apt-get -qq update --error-on=any </dev/null >&2; then
        say "apt does not bring the lists of $suite"
        return 1
    fi
    touch "$dir/fetched"
}

# source_version NAME VERSION, in the folder of debian_apt: the newest that begins so.
source_version() {
    APT_CONFIG=$PWD/apt.conf apt-cache madison "$1" | awk -v want="$2" '
        { version = $3; sub(/^[0-9]+:/, "", version) }
        want == "" || index(version, want "-") == 1 || index(version, want ".") == 1 {
            print $3
            exit
        }'
}

# The folder of upstream_fair as patches/ makes it; fails where its source does not come.
patched_fair() {
    local patch=$root/patches/upstream_fair-a18b409.patch dir=$target/sources/upstream_fair source
    source=$(debian_source libnginx-mod-http-upstream-fair 0.0~git20120408.a18b409 bookworm) || return
    patched_copy "$source" "$patch" "$dir"
}

# patched_copy SOURCE PATCH DIR: prints DIR, a copy of SOURCE to which PATCH applies to the line.
patched_copy() {
    local source=$1 patch=$2 dir=$3 said
    if ! cmp -s "$patch" "$dir/.patch"; then
        rm -rf "$dir" "$dir.new"
        cp -r "$source" "$dir.new"
        said=$(patch -d "$dir.new" -p1 --fuzz=0 --force --no-backup-if-mismatch <"$patch") ||
            die "${patch##*/} does not apply: $said"
        [[ $said != *offset* ]] || die "${patch##*/} applies elsewhere: $said"
        cp "$patch" "$dir.new/.patch"
        mv "$dir.new" "$dir"
    fi
    echo "$dir"
}

# ---- nginx ----

# One build at a time in this checkout; the lock ends with the script.
lock_builds() {
    mkdir -p "$target/nginx"
    exec 9>"$target/nginx/lock"
    flock -n 9 || { say "waiting for another build in this checkout"; flock 9; }
}

tree_version() {
    sed -n 's/^#define NGINX_VERSION *"\(.*\)"/\1/p' "$1/src/core/nginx.h" 2>/dev/null || true
}

binary_version() { "$1" -v 2>&1 | sed -n 's|^nginx version: nginx/\([0-9.]*\).*|\1|p'; }

# The source that the crate nginx-src carries, as cargo has unpacked it.
crate_tree() {
    local metadata manifest host
    need_cargo
    host=$(rustc -vV | sed -n 's/^host: //p')
    metadata=$(cd "$root" && cargo metadata --locked --features vendored --format-version 1 \
        --filter-platform "$host")
    manifest=$(grep -o '"manifest_path":"[^"]*/nginx-src[^/"]*/Cargo.toml"' <<<"$metadata") ||
        die "cargo metadata does not name the crate nginx-src"
    manifest=${manifest#*:\"}
    echo "${manifest%/Cargo.toml\"}/nginx"
}

# packaged_headers VERSION: nginx's headers and auto/ from Debian's package of that very version.
packaged_headers() {
    local tree=/usr/share/nginx/src package=$target/nginx/packages/nginx-dev-$1
    if [ "$(tree_version "$tree")" != "$1" ]; then
        [ -d "$package" ] || unpack_package nginx-dev "$1" "$package" || return
        tree=$package/usr/share/nginx/src
    fi
    echo "$tree"
}

# A folder name for a source tree that is not ours: two trees of one version may differ.
tree_name() { echo "$(tree_version "$1")-$(printf %s "$1" | cksum | cut -d' ' -f1)"; }

# configured_copy TREE NAME FLAG...: prints the path of a copy of TREE under target/nginx that has
# been configured with the flags. It is made anew only when the tree or the flags have changed.
configured_copy() {
    local tree=$1 copy=$target/nginx/$2 stamp configure=auto/configure
    shift 2
    stamp=$(cd "$tree" && { echo "$tree $*"; find . -path ./objs -prune -o -path ./.git -prune -o \
        -type f -printf '%p %s %T@\n' | sort; } | cksum)
    if [ "$(cat "$copy/.stamp" 2>/dev/null)" != "$stamp" ]; then
        say "configuring nginx $(tree_version "$tree") in $copy"
        rm -rf "$copy" "$copy.new"
        mkdir -p "$copy.new"
        tar -C "$tree" --exclude=./objs --exclude=./.git -cf - . | tar -C "$copy.new" -xf -
        chmod -R u+w "$copy.new"
        [ ! -e "$copy.new/configure" ] || configure=./configure
        (cd "$copy.new" && "$configure" "$@" >configure.log 2>&1) ||
            die "nginx's configure failed: $(tail -n 5 "$copy.new/configure.log")"
        echo "$stamp" >"$copy.new/.stamp"
        mv "$copy.new" "$copy"
    fi
    echo "$copy"
}

# Plain `cargo build` and `cargo clippy` find nginx here (.cargo/config.toml).
link_for_cargo() {
    [ -e "$target/nginx/current/objs" ] || ln -sfn "$1" "$target/nginx/current"
}
