# shellcheck shell=bash
# Where the built control plane stands, and what its scripts share. Sourced by the scripts beside it, which run on Linux and macOS alike.
#
# Each part has a folder of its own, named after a hash of all that it is built from. So a changed version is another
# folder, checkouts that differ can share one cache, and "is it built?" is a look at one file.

CLUSTER_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${ESO_SYNC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/eso-sync}

# The operator of the control-plane module: what `--eso` means when it is not given.
# shellcheck disable=SC2034 # read by the scripts that source this file
DEFAULT_ESO=v0.20.4

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}

# place NAME FILE…: the folder of the part NAME, which is built from these FILEs. What they remark on themselves builds nothing.
place() {
  local name=$1
  shift
  printf '%s/%s-%s\n' "$CACHE" "$name" "$({ uname -sm && grep -hv '^ *#' "$@"; } | openssl sha256 -r | cut -c1-12)"
}

module_place() {
  place "$1" "$CLUSTER_SOURCE/modules/$1/go.mod" "$CLUSTER_SOURCE/modules/$1/go.sum" "$CLUSTER_SOURCE/build"
}

# Kept apart from the other modules: it is built by tests/cluster/argo, and only for who wants it.
argo_place() {
  place argo-rollouts "$CLUSTER_SOURCE/modules/argo-rollouts/go.mod" "$CLUSTER_SOURCE/modules/argo-rollouts/go.sum" "$CLUSTER_SOURCE/argo"
}

venv_place() {
  place venv "$CLUSTER_SOURCE/requirements.txt"
}

# born PID: when that process started, in whatever form. Ids are given out again: only with it an id that was noted down
# still names the same process. (What ps makes of it on Linux is off by a second now and then.)
born() {
  if [ -r /proc/self/stat ]; then
    sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20
  else
    ps -o lstart= -p "$1" 2> /dev/null
  fi
}
