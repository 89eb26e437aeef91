# shellcheck shell=bash
# Prometheus, its Pushgateway and Alertmanager, in the cache. Needs tests/cluster/cache.sh, and the packages of Debian or Ubuntu.

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
