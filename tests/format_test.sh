#!/usr/bin/env bash
# Every C++ file is formatted as .clang-format says.
#
#   tests/format_test.sh          names the lines that are not
#   tests/format_test.sh --fix    formats them
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --fix ]; then how=(-i); else how=(--dry-run --Werror); fi
find client db proto server state_machine tests \( -name '*.h' -o -name '*.cc' \) -print0 |
  xargs -0 -n 8 -P "$(nproc)" clang-format-14 "${how[@]}"
