#!/usr/bin/env bash
# The rules of the house that a compiler does not check: who may include what, and how a file looks.
set -uo pipefail
shopt -s lastpipe  # so that the rule at the end of a pipe can remember that it was broken
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8
broken=0

# rule TEXT: fails, with the text, when stdin has lines: those that break it.
rule() {
  local lines
  lines=$(head -n 20)
  [ -z "$lines" ] && return
  printf '%s\n%s\n\n' "$1" "$lines"
  broken=1
}

cpp=(--include=*.h --include=*.cc)
everything=("${cpp[@]}" --include=*.{proto,sql,sh,py,txt,md})
folders=(client db deploy proto server state_machine tests third_party)

grep -rn "${cpp[@]}" 'libpq' "${folders[@]}" | grep '#include' | grep -Ev '^(db|client/legacy|tests)/' |
  rule 'libpq is included under db/, and by the importer of old databases: all else speaks to the database through classes.'

grep -rnE "${cpp[@]}" '#include [<"](grpc|libpq|spdlog|db/|server/(rpc|ops|watch))' \
  state_machine |
  rule 'The state machine is pure: it includes neither gRPC nor libpq nor logs, nor what does.'

grep -rnE "${cpp[@]}" 'absl::Now\(|system_clock|steady_clock|std::random_device|absl::BitGen' \
  state_machine |
  rule 'The state machine is pure: times and random ids are handed to it.'

grep -rnE "${cpp[@]}" '#include [<"](grpcpp|server/)' db |
  rule 'db/ knows the state machine, and neither gRPC nor the daemon.'

grep -rnE "${cpp[@]}" \
  'absl::(Now|GetCurrentTimeNanos)\(|system_clock|GPR_CLOCK_REALTIME|With(Timeout|Deadline)\(' db server |
  grep -Ev '^(db/base/database_clock\.cc|db/base/steady_time\.h|server/daemon\.h|server/reloaded_security\.cc|server/access/authenticator\.cc):' |
  rule 'Waits, deadlines and ages are SteadyTimes; what is stored or shown is dated by the database; certificates and tokens by the clock on the wall.'

find "${folders[@]}" \( -name '*.h' -o -name '*.proto' -o -name '*.sql' -o -name '*.textproto' \) |
  while read -r file; do
    [[ $file =~ ^db/sql/ ]] && continue
    head -n 1 "$file" | grep -qE '^(//|--|#) ' || echo "$file"
  done |
  rule 'A file opens with a comment that says why it exists.'

grep -rL --include=*.h '^#pragma once$' "${folders[@]}" |
  rule 'A header has #pragma once.'

find "${folders[@]}" -name '*.h' -o -name '*.cc' |
  xargs awk 'FNR == 1 { table = 0 }
             /clang-format off/ { table = 1 }
             !table { print FILENAME ":" FNR ":" $0 }
             /clang-format on/ { table = 0 }' |
  grep -P '^[^:]+:\d+:.{101,}' |
  rule 'A line of C++ has 100 columns at most; tables that clang-format leaves alone may have more.'

grep -rnE --include=*.py '(^ *|[(,] *)(user|group|extra_groups|preexec_fn)=|(os|pty)\.fork\(|multiprocessing' tests/e2e |
  rule 'A test process never forks, which gRPC does not bear: it starts processes by vfork(), as another user by as_user().'

grep -rnwE "${everything[@]}" 'TODO|FIXME|XXX|HACK' "${folders[@]}" ./*.md |
  grep -v '^tests/house_rules_test.sh:' |
  rule 'What is left to do is said elsewhere than in the tree.'

exit "$broken"
