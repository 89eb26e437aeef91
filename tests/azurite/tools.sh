# shellcheck shell=bash
# Azurite in the cache. Needs tests/cluster/cache.sh and tests/browser/tools.sh.

# The last one for Node.js 20.
AZURITE=3.35.0

# Prints the path of Azurite's queue service.
azurite_program() {
  local place=$CACHE/azurite-$AZURITE
  npm_packages "$place" "azurite@$AZURITE" || return
  printf '%s/node_modules/.bin/azurite-queue\n' "$place"
}
