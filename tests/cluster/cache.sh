# shellcheck shell=bash
# Paths of the built control plane, and functions that the scripts of this folder share. Runs on Linux and macOS.
#
# Each part has its own folder, named after a hash of its inputs. So a new version gets a new folder, different checkouts can
# share one cache, and one file shows if a part is built.

CLUSTER_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${ESO_SYNC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/eso-sync}

# The operator version of the control-plane module: the default of `--eso`.
# shellcheck disable=SC2034 # read by the scripts that source this file
DEFAULT_ESO=v0.20.4

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}

# place NAME FILE…: prints the folder of the part NAME, which is built from these FILEs. Comments in them do not change the hash.
place() {
  local name=$1
  shift
  printf '%s/%s-%s\n' "$CACHE" "$name" "$({ uname -sm && grep -hv '^ *#' "$@"; } | openssl sha256 -r | cut -c1-12)"
}

module_place() {
  place "$1" "$CLUSTER_SOURCE/modules/$1/go.mod" "$CLUSTER_SOURCE/modules/$1/go.sum" "$CLUSTER_SOURCE/build"
}

# A separate part, because tests/cluster/argo builds it and not every cluster needs it.
argo_place() {
  place argo-rollouts "$CLUSTER_SOURCE/modules/argo-rollouts/go.mod" "$CLUSTER_SOURCE/modules/argo-rollouts/go.sum" "$CLUSTER_SOURCE/argo"
}

venv_place() {
  place venv "$CLUSTER_SOURCE/requirements.txt"
}

# born PID: prints the start time of a process, in any format. Process ids are reused, so an id identifies a process only together
# with its start time. (On Linux the start time of ps is sometimes off by a second.)
born() {
  if [ -r /proc/self/stat ]; then
    sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20
  else
    ps -o lstart= -p "$1" 2> /dev/null
  fi
}
