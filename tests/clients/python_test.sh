#!/usr/bin/env bash
# The Python client: wheel and sdist are built, checked by mypy, installed into environments of their own, and tested
# there: with the newest gRPC and Protobuf on every Python from 3.9 that is here, and with the oldest.
. "$(dirname "$0")/lib.sh"

python=/usr/bin/python3
"$python" -c 'import venv, ensurepip' 2>/dev/null || skip 'it takes python3 with venv (package python3-venv).'
command -v protoc >/dev/null || skip 'it takes protoc (package protobuf-compiler).'
export PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=$root/tests/clients/python_requirements.txt

# environment NAME PYTHON PACKAGE…: a venv with these packages, made anew when what it is made of has changed.
environment() {
  local name=$1 with=$2 stamp
  shift 2
  stamp=$(cat tests/clients/python_*.txt; "$with" --version; echo "$@")
  [ "$(cat "$work/$name/stamp" 2>/dev/null)" = "$stamp" ] && return
  rm -rf "${work:?}/$name"
  "$with" -m venv "$work/$name" && "$work/$name/bin/pip" install --quiet "$@" || return
  echo "$stamp" >"$work/$name/stamp"
}

client/python/generate
environment tools "$python" build setuptools mypy types-grpcio types-protobuf grpcio protobuf pytest ||
  skip "its tools cannot be fetched."

# From a copy: a build leaves folders beside what it builds.
rm -rf "$work/source" "$work/dist"
cp -r client/python "$work/source"
"$work/tools/bin/python" -m build --outdir "$work/dist" "$work/source" >"$work/build.log" 2>&1 ||
  { tail -n 30 "$work/build.log"; exit 1; }
wheel=$(ls "$work"/dist/*.whl)
ls -l "$work"/dist
tests env -C "$work/source" "$work/tools/bin/mypy"

# test_with NAME PYTHON PACKAGE…: the package's tests, where nothing but the wheel is installed.
test_with() {
  local name=$1 with=$2
  shift 2
  environment "$name" "$with" "$@" pytest
  "$work/$name/bin/pip" install --quiet --force-reinstall --no-deps "$wheel"
  "$work/$name/bin/pip" freeze | grep -E '^(grpcio|protobuf)=' | tr '\n' ' '
  "$with" --version
  tests env -C "$work" "$work/$name/bin/python" -m pytest -q -p no:cacheprovider --rootdir "$work/$name" \
    --junitxml "$reports/$name.xml" -o junit_suite_name="$name" "$root/client/python/tests"
}

test_with main "$python" grpcio protobuf
default=$("$python" -c 'import sys; print(sys.version_info[1])')
for minor in 9 10 11 12 13 14; do
  [ "$minor" = "$default" ] && continue
  for with in "$(command -v "python3.$minor")" "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor."*/bin/python3; do
    "$with" -c 'import venv, ensurepip' 2>/dev/null || continue
    test_with "python3.$minor" "$with" grpcio protobuf
    break
  done
done
PIP_CONSTRAINT=$root/tests/clients/python_oldest.txt test_with oldest "$python" grpcio protobuf

# An empty folder, the wheel, and what the README shows.
"$work/main/bin/python" - <<'PYTHON'
import sessiond
assert "site-packages" in sessiond.__file__, sessiond.__file__
PYTHON

conformance threads "$work/main/bin/python" client/python/conformance
conformance asyncio "$work/main/bin/python" client/python/conformance --aio
tests tests/conformance/self_test "$work/main/bin/python" client/python/conformance
exit "$failed"
