# shellcheck shell=bash
# Chromium, and the npm modules that drive it, in the cache. Needs tests/cluster/cache.sh.

BROWSER_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PLAYWRIGHT=1.65.1
AXE=4.14.1

# Prints the path of Chromium: an installed one, or that of Debian, unpacked with its libraries and fonts without installing anything.
chromium_program() {
  local place work name
  for name in chromium google-chrome chromium-browser; do
    ! command -v "$name" || return 0
  done
  place=$(place chromium "$BROWSER_SOURCE/tools.sh" /etc/os-release)
  if ! [ -x "$place/chromium" ]; then
    mkdir -p "$CACHE"
    work=$(mktemp -d "$CACHE/chromium.XXXXXX")
    # _apt must be able to write there.
    chmod 755 "$work"
    if ! (cd "$work" && unpack_chromium && write_launcher) >&2; then
      rm -rf "$work"
      say "Chromium cannot be unpacked from the packages of this system. Install chromium or google-chrome"
      return 1
    fi
    mv -T "$work" "$place" 2> /dev/null || rm -rf "$work"
  fi
  printf '%s/chromium\n' "$place"
}

# The names of the packages of Chromium that are not installed, and of fonts.
chromium_packages() {
  local missing
  missing=$(LC_ALL=C apt-get install --simulate --no-install-recommends chromium fontconfig-config) || return
  { awk '/^Inst /{print $2}' <<< "$missing" && printf '%s\n' fonts-dejavu-core fonts-roboto-unhinted; } | sort -u
}

unpack_chromium() {
  local names package
  names=$(chromium_packages) || { apt-get update && names=$(chromium_packages); } || return
  # shellcheck disable=SC2086 # a list
  apt-get download -q $names || { apt-get update && apt-get download -q $names; } || return
  for package in ./*.deb; do dpkg -x "$package" . || return; done
  rm -f ./*.deb
}

# The libraries and fonts are found by the launcher, wherever the folder is.
write_launcher() {
  local libraries
  libraries=$(find lib usr/lib -name '*.so*' -not -path 'usr/lib/chromium/*' -printf "\$here/%h\n" 2> /dev/null | sort -u | paste -sd :)
  cat > chromium << END
#!/bin/sh
here=\$(cd "\$(dirname "\$0")" && pwd)
sed "s|HERE|\$here|" "\$here/fonts.template" > "\$here/fonts.\$\$" && mv "\$here/fonts.\$\$" "\$here/fonts.conf"
export LD_LIBRARY_PATH="$libraries" FONTCONFIG_FILE="\$here/fonts.conf"
exec "\$here/usr/lib/chromium/chromium" "\$@"
END
  cat > fonts.template << 'END'
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>HERE/usr/share/fonts</dir>
  <cachedir>HERE/fonts-cache</cachedir>
  <alias><family>sans-serif</family><prefer><family>Roboto</family><family>DejaVu Sans</family></prefer></alias>
  <alias><family>system-ui</family><prefer><family>Roboto</family><family>DejaVu Sans</family></prefer></alias>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
END
  chmod +x chromium
}

# Prints the folder of the npm modules.
browser_modules() {
  local place=$CACHE/browser-$PLAYWRIGHT-$AXE
  npm_packages "$place" "playwright-core@$PLAYWRIGHT" "axe-core@$AXE" || return
  printf '%s/node_modules\n' "$place"
}

# npm_packages FOLDER PACKAGE…: installs npm packages in this new folder. Their install scripts are not run.
npm_packages() {
  local place=$1 work
  shift
  ! [ -d "$place" ] || return 0
  command -v npm > /dev/null || { apt-get update && apt-get install -y --no-install-recommends nodejs npm; } >&2 || return
  mkdir -p "$CACHE"
  work=$(mktemp -d "$CACHE/npm.XXXXXX")
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$work" "$@" >&2 || { rm -rf "$work" && return 1; }
  mv -T "$work" "$place" 2> /dev/null || rm -rf "$work"
}
