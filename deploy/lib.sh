# What deploy/run and deploy/test share: Debian's packages, the build, and how both show where they
# are. Sourced from the tree's root, never run. It draws only on a terminal, and then with nothing
# but a carriage return: no TERM, no tput.

# Set by the one who sources this: how many steps there will be.
steps=0
step_number=0
step_line=

# step NAME: begins the line that the step's outcome will complete: `[1/3] packages       36
# present, 0 to install`.
step() {
  step_number=$((step_number + 1))
  step_line=$(printf '[%d/%d] %-14s ' "$step_number" "$steps" "$1")
  printf '%s' "$step_line"
}

# quietly LOG COMMAND…: runs it with all it says in LOG; on a terminal its latest line runs along
# behind the step's name. When it fails, so does this, with the end of LOG on stderr.
quietly() {
  local log=$1 status
  shift
  mkdir -p "${log%/*}"
  if [ -t 1 ]; then
    "$@" 2>&1 </dev/null | tee "$log" | show_latest_line
  else
    "$@" >"$log" 2>&1 </dev/null
  fi
  status=$?
  if [ "$status" -ne 0 ]; then
    echo 'failed'
    show_end_of "$log" >&2
  fi
  return "$status"
}

# Shows stdin line by line in the same place, cut to what 80 columns leave, and wipes it at the end.
show_latest_line() {
  local line
  while IFS= read -r line; do
    line=${line##*$'\r'}
    printf '\r%s%-55.55s' "$step_line" "${line//[[:cntrl:]]/ }"
  done
  printf '\r%s%55s\r%s' "$step_line" '' "$step_line"
}

# show_end_of LOG: its last lines, indented, and where the rest is. Tests that passed, and the
# headings and dots of their runners, do not take up the room.
show_end_of() {
  awk '/^\[ RUN/ { running = $0; next }
       /^\[       OK|^\[---------|^[.sFE]+ +\[ *[0-9]+%\]$/ { running = ""; next }
       { if (running != "") print running; running = ""; print }
       END { if (running != "") print running }' "$1" | cat -s | tail -n 80 | sed 's/^/    /'
  echo "    (all of it: $1)"
}

# install_packages [LIST…]: brings in the packages of deploy/packages.txt, and of other lists, that
# are missing, and does not touch apt when none is. Exits with 2 and the line to type where it may
# not install them itself.
install_packages() {
  step packages
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo 'this is not Debian'
    echo 'sessiond is built on Debian 12: use one (a container will do), or install what' \
      'deploy/packages.txt lists and type:' >&2
    echo '    cmake --preset release && cmake --build --preset release' >&2
    exit 2
  fi
  local wanted missing
  wanted=$(awk '!/^#/ && NF { print $1 }' deploy/packages.txt "$@" | sort)
  # shellcheck disable=SC2086 # a list of words
  missing=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
    awk '$1 == "installed" { print $2 }' | sort -u | comm -23 <(echo "$wanted") - | tr '\n' ' ')
  local wanted_count missing_count
  wanted_count=$(wc -w <<<"$wanted")
  missing_count=$(wc -w <<<"$missing")
  if [ "$missing_count" -eq 0 ]; then
    echo "$wanted_count present, 0 to install"
    return
  fi
  if ! may_be_root; then
    echo "$missing_count missing"
    echo "Installing packages takes root or sudo. As root, type:" >&2
    echo "    apt-get update && apt-get install --no-install-recommends ${missing% }" >&2
    exit 2
  fi
  # shellcheck disable=SC2086 # a list of words
  quietly build/log/packages.log apt_install $missing || exit 2
  echo "$((wanted_count - missing_count)) present, $missing_count installed"
}

# A sudo that would ask for a password can do so on a terminal only.
may_be_root() {
  [ "$(id -u)" -eq 0 ] && return
  command -v sudo >/dev/null || return
  if [ -t 0 ] && [ -t 1 ]; then
    sudo -v
  else
    sudo -n true 2>/dev/null
  fi
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install PACKAGE…: without questions, and without the database server that Debian would create
# and start on port 5432 together with postgresql-15: sessiond wants its programs only. The setting
# goes again, it is not ours to leave behind.
apt_install() (
  no_cluster=/etc/postgresql-common/createcluster.d/sessiond.conf
  trap 'as_root rm -f "$no_cluster"' EXIT
  as_root mkdir -p "${no_cluster%/*}" &&
    echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null || exit
  apt() {
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
      apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
  }
  # A source of somebody else's that fails to update need not be in our way; what is, shows in the
  # next line.
  apt update
  apt install --no-install-recommends "$@"
)

# build PRESET [TARGET…]: configures where that was not done since CMakePresets.json changed (ninja
# notices all else by itself), and builds the targets, or everything.
build() {
  local preset=$1
  shift
  step "build $preset"
  local log=build/log/build-$preset.log
  SECONDS=0
  quietly "$log" configure_and_build "$preset" "$@" || return
  if grep -q 'ninja: no work to do' "$log"; then echo 'up to date'; else echo "done in $SECONDS s"; fi
}

configure_and_build() {
  local preset=$1 configured=build/$1/build.ninja
  shift
  if [ ! -f "$configured" ] || [ CMakePresets.json -nt "$configured" ]; then
    cmake --preset "$preset" || return
  fi
  cmake --build --preset "$preset" ${1:+--target "$@"}
}
