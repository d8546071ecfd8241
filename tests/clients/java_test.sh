#!/usr/bin/env bash
# The Java client: built and tested, played the conformance suite, and used from its jar by a project of its own.
# Takes the daemon that SESSIOND_BINARY and SESSIONCTL_BINARY name, else that of build/release. Writes to build/ and to
# Maven's own ~/.m2. Exits with 77 where Java or Maven is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
  echo "The Java client is not tested: $1"
  exit 77
}
command -v java javac > /dev/null || skip "there is no JDK (openjdk-17-jdk)"
command -v mvn > /dev/null || skip "there is no Maven (maven)"
release=$(javac -version 2>&1 | sed -E 's/^javac ([0-9]+).*/\1/')
[ "$release" -ge 17 ] || skip "javac is of version $release; it has to be 17 or later"

programs=${SESSIOND_BUILD:-$PWD/build/release}
export SESSIOND_BINARY=${SESSIOND_BINARY:-$programs/server/sessiond}
export SESSIONCTL_BINARY=${SESSIONCTL_BINARY:-$programs/client/sessionctl}
for program in "$SESSIOND_BINARY" "$SESSIONCTL_BINARY"; do
  [ -x "$program" ] && continue
  echo "There is no $program: build it, or name one in SESSIOND_BINARY and SESSIONCTL_BINARY"
  exit 1
done

out=$PWD/build/clients/java
maven=(mvn -B -ntp)

echo "== build and test"
rm -rf "$out/repository" "$out/consumer"
"${maven[@]}" -f client/java/pom.xml verify deploy:deploy "-DaltDeploymentRepository=folder::file:$out/repository"
version=$(sed -nE 's|^  <version>(.*)</version>|\1|p' client/java/pom.xml)

echo "== conformance"
tests/conformance/run --junit "$out/conformance.xml" \
  java -XX:+UseSerialGC -cp "$out/sessiond-client-$version.jar:$out/test-classes:$(cat "$out/test-classpath")" \
  com.sessiond.conformance.Adapter

echo "== a project of its own"
# With a local repository of its own: in ~/.m2 another build of the same version may be.
mkdir -p "$out/consumer/src/main/java" "$out/consumer/m2"
cp -al ~/.m2/repository/. "$out/consumer/m2" 2> /dev/null || cp -a ~/.m2/repository/. "$out/consumer/m2"
rm -rf "$out/consumer/m2/com/sessiond"
code() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/{//!p; /^\`\`\`\$/q}" client/java/README.md; }
code java > "$out/consumer/src/main/java/Example.java"
cat > "$out/consumer/pom.xml" << POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId>
  <artifactId>example</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.release>17</maven.compiler.release>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <repositories>
    <repository><id>folder</id><url>file:$out/repository</url></repository>
  </repositories>
  <dependencies>
$(code xml)
  </dependencies>
  <build>
    <plugins>
      <plugin><artifactId>maven-compiler-plugin</artifactId><version>3.14.1</version></plugin>
      <plugin><artifactId>maven-resources-plugin</artifactId><version>3.3.1</version></plugin>
      <plugin><artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version></plugin>
    </plugins>
  </build>
</project>
POM
"${maven[@]}" -q -f "$out/consumer/pom.xml" "-Dmaven.repo.local=$out/consumer/m2" \
  compile dependency:build-classpath "-Dmdep.outputFile=$out/consumer/classpath"

exec {log}< <(exec "$SESSIOND_BINARY" serve --ephemeral --log-format=json --grpc-listen=127.0.0.1:0 \
  --admin-listen=127.0.0.1:0 2>&1 > /dev/null)
daemon=$!
trap 'kill "$daemon"; wait "$daemon" 2> /dev/null || true' EXIT
address=
while [ -z "$address" ] && read -r line <&"$log"; do
  address=$(sed -nE 's/.*"msg":"ready".*"grpc":"([^"]+)".*/\1/p' <<< "$line")
done
[ -n "$address" ] || { echo "The daemon did not become ready: $line"; exit 1; }
SESSIOND_SERVER=$address java -cp "$out/consumer/target/classes:$(cat "$out/consumer/classpath")" Example |
  tee "$out/consumer/output"
grep -q '^COMPLETED in the second attempt: {tickets=12}$' "$out/consumer/output"
