#!/usr/bin/env bash
# The Java client: built with every warning an error, tested, played the conformance suite, and used from its jar by a
# project of its own, which runs the README's first example. Writes to build/ and to Maven's own ~/.m2.
. "$(dirname "$0")/lib.sh"

command -v javac >/dev/null || skip 'it takes a JDK (package openjdk-17-jdk-headless).'
command -v mvn >/dev/null || skip 'it takes Maven (package maven).'
release=$(javac -version 2>&1 | sed -E 's/^javac ([0-9]+).*/\1/')
[ "$release" -ge 17 ] || skip "its javac is of version $release; it takes 17 or later."

version=$(sed -nE 's|^  <version>(.*)</version>|\1|p' client/java/pom.xml)
jar=$work/sessiond-client-$version.jar
repository=$work/repository
project=$work/project
rm -rf "$repository" "$project" "$work/surefire-reports"

# Into a repository that is a folder: what is published is what is tried below.
tests mvn -B -ntp -f client/java/pom.xml verify deploy:deploy "-DaltDeploymentRepository=folder::file:$repository"
cp "$work"/surefire-reports/TEST-*.xml "$reports" 2>/dev/null || true
[ -f "$jar" ] && [ -d "$repository" ] || exit 1

conformance java java -XX:+UseSerialGC -cp "$jar:$work/test-classes:$(cat "$work/test-classpath")" \
  com.sessiond.conformance.Adapter

# code LANGUAGE: the first piece of code in that language in the README.
code() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/{//!p; /^\`\`\`\$/q}" client/java/README.md; }

# An empty folder, the two pieces of code, and the repository. In ~/.m2 there may be another build of the same version:
# so the project has a local repository of its own, with what Maven has fetched already linked into it.
mkdir -p "$project/src/main/java" "$project/m2"
cp -al ~/.m2/repository/. "$project/m2" 2>/dev/null || cp -a ~/.m2/repository/. "$project/m2"
rm -rf "$project/m2/com/sessiond"
code java >"$project/src/main/java/Example.java"
cat >"$project/pom.xml" <<POM
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
    <repository><id>folder</id><url>file:$repository</url></repository>
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
mvn -B -ntp -q -f "$project/pom.xml" "-Dmaven.repo.local=$project/m2" \
  compile dependency:build-classpath "-Dmdep.outputFile=$project/classpath"

# run_example: with a daemon of its own, which ends behind it.
run_example() {
  local line='' address='' log daemon status=0
  exec {log}< <(exec "$SESSIOND_BINARY" serve --ephemeral --log-format=json --grpc-listen=127.0.0.1:0 \
    --http-listen=127.0.0.1:0 2>&1 >/dev/null)
  daemon=$!
  while [ -z "$address" ] && read -r line <&"$log"; do
    address=$(sed -nE 's/.*"msg":"ready".*"grpc":"([^"]+)".*/\1/p' <<<"$line")
  done
  SESSIOND_SERVER=${address:?"The daemon did not become ready: $line"} \
    java -cp "$project/target/classes:$(cat "$project/classpath")" Example >"$project/output" || status=$?
  kill "$daemon"
  wait "$daemon" || true
  cat "$project/output"
  grep -q '^COMPLETED in the second attempt: {tickets=12}$' "$project/output" && return "$status"
}
tests run_example
exit "$failed"
