# shellcheck shell=bash
# The consumers of the report formats, in the cache. Needs tests/cluster/cache.sh and tests/browser/tools.sh.

REPORTS_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PYTEST=9.2.0
SARIF_MULTITOOL=5.7.0

# Prints the folder of the Python environment, which also has the schema that pytest ships: junit-10.xsd.
report_python() {
  local place
  place=$(place reports "$REPORTS_SOURCE/tools.sh" "$REPORTS_SOURCE/requirements.txt")
  if ! [ -e "$place/junit-10.xsd" ]; then
    mkdir -p "$CACHE" && fill_report_python "$place" >&2 || return
  fi
  printf '%s\n' "$place"
}

# A virtual environment cannot be moved, so the schema is written last.
fill_report_python() {
  local place=$1 name=pytest-$PYTEST
  python3 -m venv --clear "$place" || {
    # Debian has the venv module in a separate package.
    apt-get update && apt-get install -y --no-install-recommends python3-venv && python3 -m venv --clear "$place"
  } || return
  "$place/bin/pip" install -q --disable-pip-version-check -r "$REPORTS_SOURCE/requirements.txt" || return
  "$place/bin/pip" download -q --disable-pip-version-check --no-deps --no-binary :all: --dest "$place/sdist" "pytest==$PYTEST" || return
  tar -xzf "$place/sdist/$name.tar.gz" -O "$name/testing/example_scripts/junit-10.xsd" > "$place/junit.part" || return
  mv "$place/junit.part" "$place/junit-10.xsd"
}

# Prints the path of Microsoft's validator for SARIF.
sarif_multitool() {
  local place=$CACHE/sarif-multitool-$SARIF_MULTITOOL program
  npm_packages "$place" "@microsoft/sarif-multitool-linux@$SARIF_MULTITOOL" || return
  program=$place/node_modules/@microsoft/sarif-multitool-linux/Sarif.Multitool
  chmod +x "$program" || return
  printf '%s\n' "$program"
}
