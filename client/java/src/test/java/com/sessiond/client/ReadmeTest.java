package com.sessiond.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReadmeTest {
  private static final Pattern CODE = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);
  private static final Pattern PROJECT = Pattern.compile("project\\(sessiond VERSION ([0-9.]+)");

  @Test
  void theFirstExampleRunsAsItStands(@TempDir Path folder) throws Exception {
    String address = RealDaemon.get().address();
    Matcher code = CODE.matcher(Files.readString(Path.of("README.md")));
    assertTrue(code.find());
    Path source = folder.resolve("Example.java");
    Files.writeString(source, code.group(1));
    String classpath = System.getProperty("java.class.path");
    int compiled =
        ToolProvider.getSystemJavaCompiler()
            .run(null, null, null, "-Xlint:all", "-Werror", "-d", "" + folder, "-cp", classpath, "" + source);
    assertEquals(0, compiled);

    Path java = Path.of(System.getProperty("java.home"), "bin", "java");
    ProcessBuilder builder =
        new ProcessBuilder(java.toString(), "-cp", folder + File.pathSeparator + classpath, "Example");
    builder.environment().putAll(Map.of("SESSIOND_SERVER", address));
    builder.environment().remove("SESSIOND_TOKEN_FILE");
    Process process = builder.redirectErrorStream(true).start();
    List<String> lines = process.inputReader().lines().toList();
    assertEquals(0, process.waitFor(), String.join("\n", lines));
    assertTrue(lines.get(0).startsWith("created at 20"), lines.get(0));
    assertEquals(
        List.of(
            "is at site_info_collection",
            "refused: Cannot transition from site_info_collection to review; reachable: upload.",
            "COMPLETED in the second attempt: {tickets=12}"),
        lines.subList(1, 4));
    List<String> events = lines.subList(4, lines.size()).stream().map(line -> line.replaceAll("^\\d+ ", "")).toList();
    assertEquals(
        List.of(
            "ADVANCED",
            "ADVANCED",
            "TASK_STARTED",
            "TASK_PROGRESSED",
            "TASK_FAILED",
            "ERROR_RECORDED",
            "TASK_RETRIED",
            "TASK_PROGRESSED",
            "TASK_COMPLETED",
            "ADVANCED"),
        events);
  }

  @Test
  void theVersionIsTheDaemons() throws Exception {
    Matcher project = PROJECT.matcher(Files.readString(Path.of("../../CMakeLists.txt")));
    assertTrue(project.find());
    assertEquals(project.group(1), SessiondClient.VERSION);
    assertTrue(Files.readString(Path.of("README.md")).contains("<version>" + SessiondClient.VERSION + "</version>"));
  }
}
