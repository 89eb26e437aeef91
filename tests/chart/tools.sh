# shellcheck shell=bash
# The tools for the chart, in the cache. Needs tests/cluster/cache.sh.

HELM_VERSION=v4.3.2
README_GENERATOR=2.7.2

# Prints the path of helm. Builds it first if it is not there: 5 minutes of CPU time.
helm_binary() {
  local place=$CACHE/helm-$HELM_VERSION
  [ -x "$place/helm" ] || GOBIN=$place go install "helm.sh/helm/v4/cmd/helm@$HELM_VERSION" >&2
  printf '%s/helm\n' "$place"
}

# Prints the path of the README generator. Fails with a message if there is no npm.
readme_generator() {
  local place=$CACHE/readme-generator-$README_GENERATOR
  if ! [ -x "$place/node_modules/.bin/readme-generator" ]; then
    command -v npm > /dev/null || { say "SKIPPED: the README of the chart is not checked, because there is no npm" && return 1; }
    mkdir -p "$place"
    npm install --prefix "$place" --silent --no-audit --no-fund --ignore-scripts "@bitnami/readme-generator-for-helm@$README_GENERATOR" >&2
  fi
  printf '%s/node_modules/.bin/readme-generator\n' "$place"
}
