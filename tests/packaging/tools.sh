# shellcheck shell=bash
# The tools for the release, in the cache. Needs tests/cluster/cache.sh.

CARGO_SBOM=0.10.0
SPDX_TOOLS=0.8.5

# Prints the path of cargo-sbom. Builds it first if it is not there, in a target folder of its own: in the shared one it would hold
# cargo's lock.
cargo_sbom() {
  local place=$CACHE/cargo-sbom-$CARGO_SBOM
  [ -x "$place/bin/cargo-sbom" ] || {
    CARGO_TARGET_DIR=$place/target cargo install --quiet --locked cargo-sbom --version "$CARGO_SBOM" --root "$place" >&2
    rm -rf "$place/target"
  }
  printf '%s/bin/cargo-sbom\n' "$place"
}

# Prints the folder of a Python environment with pyspdxtools.
spdx_tools() {
  local place=$CACHE/spdx-tools-$SPDX_TOOLS
  [ -x "$place/bin/pyspdxtools" ] || { python3 -m venv "$place" && "$place/bin/pip" install --quiet "spdx-tools==$SPDX_TOOLS" >&2; }
  printf '%s\n' "$place"
}
