#!/usr/bin/env bash
# Whoever generates a client from proto/ gets one that compiles: the whole folder, without a list of files and without
# options of their own, beside the packages that every program has anyway (google.rpc, grpc).
#
#   tests/generate_test.sh           every language whose tools are here
#   tests/generate_test.sh go java   these
#
# Go by `buf generate`, Python by grpcio-tools, Java by protoc, and the reference in HTML by protoc-gen-doc. Compilers are whichever are here; what is fetched is
# pinned below. 77: some language's tools are not here, or cannot be fetched; the others passed.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly buf_version=1.75.0
readonly protoc_gen_go_version=v1.36.11 protoc_gen_go_grpc_version=v1.5.1
readonly go_grpc_version=v1.75.0 go_genproto_version=v0.0.0-20250707201910-8d1bb00bc6a7
readonly grpcio_version=1.71.0
readonly grpc_java_version=1.68.2
readonly protoc_gen_doc_version=v1.5.1

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cp -r proto buf.yaml third_party "$work"
cd "$work" || exit

missing=() failed=()

# need LANGUAGE PROGRAM…: whether they are all here.
need() {
  local language=$1 program
  shift
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    echo "$language: $program is not here."
    missing+=("$language")
    return 1
  done
}

# fetch LANGUAGE COMMAND…: what it fetches cannot be had without a network.
fetch() {
  local language=$1
  shift
  "$@" >"fetch-$language.log" 2>&1 </dev/null && return
  tail -n 5 "fetch-$language.log"
  echo "$language: cannot fetch: $*"
  missing+=("$language")
  return 1
}

# try LANGUAGE COMMAND…: this has to work.
try() {
  local language=$1
  shift
  "$@" </dev/null && return
  echo "$language: failed: $*"
  failed+=("$language")
  return 1
}

try_go() {
  need go go npx || return
  export GOBIN=$PWD/bin GOFLAGS=-mod=mod
  fetch go go install "google.golang.org/protobuf/cmd/protoc-gen-go@$protoc_gen_go_version" || return
  fetch go go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$protoc_gen_go_grpc_version" || return
  fetch go npx -y "@bufbuild/buf@$buf_version" --version || return
  cat >buf.gen.yaml <<'YAML'
version: v2
plugins:
  - local: bin/protoc-gen-go
    out: go/gen
    opt: paths=source_relative
  - local: bin/protoc-gen-go-grpc
    out: go/gen
    opt: paths=source_relative
YAML
  mkdir go
  cat >go/go.mod <<MOD
module example.com/app

go 1.23

require (
	google.golang.org/genproto/googleapis/rpc $go_genproto_version
	google.golang.org/grpc $go_grpc_version
	google.golang.org/protobuf $protoc_gen_go_version
)
MOD
  # Linked with a second copy of google/rpc/error_details.proto it would panic before main.
  cat >go/main.go <<'GO'
package main

import (
	"fmt"

	"example.com/app/gen/sessiond/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	channel, err := grpc.NewClient("127.0.0.1:7377", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	_ = sessiondv1.NewSessionServiceClient(channel)
	change := &sessiondv1.SessionChange{Event: &sessiondv1.SessionEvent{Type: sessiondv1.SessionEvent_CREATED}}
	response := &sessiondv1.WatchSessionsResponse{Kind: &sessiondv1.WatchSessionsResponse_Change{Change: change}}
	info := &errdetails.ErrorInfo{Reason: sessiondv1.ErrorReason_NEVER_EXISTED.String()}
	fmt.Println(response.GetChange().GetEvent().GetType(), info.GetReason())
}
GO
  try go npx -y "@bufbuild/buf@$buf_version" generate || return
  # All that was generated is linked.
  { echo 'package main'
    find go/gen -name '*.go' -printf 'import _ "example.com/app/gen/%P"\n' | sed 's#/[^/]*"$#"#' | sort -u
  } >go/all.go
  if grep -nE '^type \w+_ ' go/gen/sessiond/v1/*.pb.go; then
    echo 'go: a name has an underscore, because two in its message are the same.'
    failed+=(go)
    return
  fi
  fetch go go -C go mod download all || return
  try go go -C go build -o ../app . || return
  [ "$(./app)" = 'CREATED NEVER_EXISTED' ] || { failed+=(go); return; }
  echo "go: generated, built and run."
}

try_python() {
  need python python3 || return
  fetch python python3 -m venv venv || return
  fetch python venv/bin/pip install -q "grpcio-tools==$grpcio_version" "grpcio-status==$grpcio_version" || return
  mkdir gen
  # Their own names: Python has no folder for google.rpc or grpc to find by mistake.
  try python venv/bin/python -m grpc_tools.protoc -Iproto --python_out=gen --pyi_out=gen --grpc_python_out=gen \
    $(find proto -name '*.proto') || return
  # As a package of packages, too, which is how some projects keep generated code.
  touch gen/sessiond/__init__.py gen/sessiond/v1/__init__.py
  cat >app.py <<'PY'
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from sessiond.v1 import error_reason_pb2, session_service_pb2, session_service_pb2_grpc

stub = session_service_pb2_grpc.SessionServiceStub(grpc.insecure_channel("127.0.0.1:7377"))
request = session_service_pb2.UpdateSessionRequest(set_labels={"My_Key": "a"}, remove_label_keys=["b"])
request.set_context.update({"a_1": 1})
info = error_details_pb2.ErrorInfo(reason=error_reason_pb2.ErrorReason.Name(error_reason_pb2.NEVER_EXISTED))
print(len(request.set_labels), info.reason, callable(stub.UpdateSession), callable(rpc_status.from_call))
PY
  [ "$(PYTHONPATH=gen try python venv/bin/python app.py)" = '1 NEVER_EXISTED True True' ] ||
    { failed+=(python); return; }
  echo "python: generated, imported and run."
}

try_reference() {
  need reference go protoc || return
  export GOBIN=$PWD/bin
  fetch reference go install "github.com/pseudomuto/protoc-gen-doc/cmd/protoc-gen-doc@$protoc_gen_doc_version" || return
  try reference protoc -Iproto --plugin=bin/protoc-gen-doc --doc_out=. --doc_opt=html,reference.html \
    $(find proto -name '*.proto') || return
  # Every method is there, in the words of its comment.
  local method
  for method in $(sed -n 's/^  rpc \([A-Za-z]*\)(.*/\1/p' proto/sessiond/v1/*.proto); do
    grep -q "<td>$method</td>" reference.html || { echo "reference: $method is not in it."; failed+=(reference); return; }
  done
  echo "reference: generated."
}

try_java() {
  need java protoc javac java mvn || return
  local jars
  cat >pom.xml <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId>
  <artifactId>app</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.grpc</groupId><artifactId>grpc-protobuf</artifactId><version>$grpc_java_version</version>
    </dependency>
    <dependency>
      <groupId>io.grpc</groupId><artifactId>grpc-stub</artifactId><version>$grpc_java_version</version>
    </dependency>
    <dependency>
      <groupId>javax.annotation</groupId><artifactId>javax.annotation-api</artifactId><version>1.3.2</version>
    </dependency>
  </dependencies>
</project>
XML
  local dependency=org.apache.maven.plugins:maven-dependency-plugin:3.8.1
  fetch java mvn -B -q "$dependency:copy-dependencies" -DoutputDirectory="$PWD/jars" || return
  fetch java mvn -B -q "$dependency:copy" -DoutputDirectory="$PWD/bin" -Dmdep.stripVersion=true \
    "-Dartifact=io.grpc:protoc-gen-grpc-java:$grpc_java_version:exe:linux-$(uname -m | sed s/aarch64/aarch_64/)" || return
  chmod +x bin/protoc-gen-grpc-java-*.exe
  mkdir -p java/example
  try java protoc -Iproto --java_out=java --grpc-java_out=java \
    --plugin=protoc-gen-grpc-java="$(echo bin/protoc-gen-grpc-java-*.exe)" $(find proto -name '*.proto') || return
  # Both by wildcard, and java.lang: every top-level name of the contract has to mean one thing.
  { echo 'package example;'
    echo 'import com.google.protobuf.*;'
    echo 'import com.google.rpc.ErrorInfo;'
    echo 'import com.sessiond.v1.*;'
    echo 'class App {'
    for class in java/com/sessiond/v1/*.java; do
      class=$(basename "$class" .java)
      echo "  ${class} of${class};"
    done
    cat <<'JAVA'
  public static void main(String[] arguments) {
    UpdateSessionRequest request = UpdateSessionRequest.newBuilder()
        .putSetLabels("My_Key", "a")
        .setSetContext(Struct.newBuilder().putFields("a_1", Value.newBuilder().setNumberValue(1).build()))
        .build();
    ErrorInfo info = ErrorInfo.newBuilder().setReason(ErrorReason.NEVER_EXISTED.name()).build();
    System.out.println(request.getSetLabelsCount() + " " + info.getReason() + " "
        + SessionServiceGrpc.SERVICE_NAME);
  }
}
JAVA
  } >java/example/App.java
  jars=$(printf '%s:' jars/*.jar)
  try java javac -nowarn -XDsuppressNotes -proc:none -cp "$jars" -d classes $(find java -name '*.java') || return
  [ "$(java -cp "$jars:classes" example.App)" = '1 NEVER_EXISTED sessiond.v1.SessionService' ] ||
    { failed+=(java); return; }
  echo "java: generated, compiled and run."
}

languages=()
for language in "$@"; do
  if [[ $language =~ ^(go|python|java|reference)$ ]]; then languages+=("$language"); fi
done
[ ${#languages[@]} -gt 0 ] || languages=(go python java reference)
for language in "${languages[@]}"; do "try_$language"; done
[ ${#failed[@]} -eq 0 ] || { echo "Failed: ${failed[*]}."; exit 1; }
[ ${#missing[@]} -eq 0 ] || { echo "Not tried: ${missing[*]}."; exit 77; }
