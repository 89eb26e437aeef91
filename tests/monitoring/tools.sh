# shellcheck shell=bash
# Prometheus, its Pushgateway and Alertmanager, and a collector of OpenTelemetry, in the cache. Needs tests/cluster/cache.sh, the packages
# of Debian or Ubuntu, and Python with its venv module.

# Prints the folder of the programs. Downloads the packages first, and unpacks them without installing anything.
monitoring_programs() {
  local place=$CACHE/monitoring-1 work
  if ! [ -x "$place/usr/bin/promtool" ]; then
    work=$(mktemp -d "$CACHE/monitoring.XXXXXX")
    (
      cd "$work" || exit
      apt-get download prometheus prometheus-pushgateway prometheus-alertmanager ||
        { apt-get update && apt-get download prometheus prometheus-pushgateway prometheus-alertmanager; }
      local package
      for package in ./*.deb; do dpkg -x "$package" unpacked; done
    ) >&2
    mv -T "$work/unpacked" "$place"
    rm -rf "$work"
  fi
  printf '%s/usr/bin\n' "$place"
}

# The collector of OpenTelemetry.
ROTEL=0.0.1a15

# Prints the path of the collector.
otlp_collector() {
  local place=$CACHE/rotel-$ROTEL
  if ! [ -e "$place/ended" ]; then
    mkdir -p "$CACHE"
    {
      python3 -m venv --clear "$place" || {
        # Debian has the venv module in a separate package.
        apt-get update && apt-get install -y --no-install-recommends python3-venv && python3 -m venv --clear "$place"
      }
      "$place/bin/pip" install -q --disable-pip-version-check "rotel==$ROTEL" && touch "$place/ended"
    } >&2 || return
  fi
  local program=("$place"/lib/python3*/site-packages/rotel/rotel-agent)
  printf '%s\n' "${program[0]}"
}
