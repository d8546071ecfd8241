package com.sessiond.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ValuesTest {
  @Test
  void aMapComesBackAsItWasGiven() {
    Map<String, Object> given = new HashMap<>();
    given.put("null", null);
    given.put("true", true);
    given.put("text", "ä\n");
    given.put("integer", 12L);
    given.put("large", 1L << 53);
    given.put("fraction", 0.5);
    given.put("list", Arrays.asList(1L, null, "x", List.of()));
    given.put("deep", Map.of("a", Map.of("b", Map.of())));
    assertEquals(given, Values.map(Values.struct(given)));
  }

  @Test
  void smallNumbersOfEveryKindAreTaken() {
    assertEquals(
        Map.of("i", 1L, "f", 1.5, "e", "TEMPORARY"),
        Values.map(Values.struct(Map.of("i", 1, "f", 1.5f, "e", Category.TEMPORARY))));
  }

  @Test
  void whatJsonCannotHoldIsRefusedWithItsPlace() {
    assertRefused("at a.b[1]", Map.of("a", Map.of("b", List.of(1, Double.NaN))));
    assertRefused("at a is 9007199254740993", Map.of("a", (1L << 53) + 1));
    assertRefused("java.time.Instant", Map.of("a", Instant.EPOCH));
    assertRefused("at a is no string", Map.of("a", Map.of(1, 2)));
    assertRefused("at a[0] has a NUL", Map.of("a", List.of("\0")));
    assertRefused("at a.\0 has a NUL", Map.of("a", Map.of("\0", 1)));
    assertRefused("at a has a surrogate", Map.of("a", new StringBuilder("x\uDE00\uD83D")));
    assertEquals(Map.of("a", "\uD83D\uDE00"), Values.map(Values.struct(Map.of("a", "\uD83D\uDE00"))));
  }

  @Test
  void timesComeBackAsTheyWereGiven() {
    Instant instant = Instant.parse("1969-12-31T23:59:59.123456789Z");
    assertEquals(instant, Values.instant(Values.timestamp(instant)));
    for (long nanos : new long[] {0, 1, -1, 1_500_000_000, -1_500_000_000}) {
      com.google.protobuf.Duration duration = Values.duration(Duration.ofNanos(nanos));
      assertTrue(duration.getSeconds() * duration.getNanos() >= 0, duration.toString());
      assertEquals(Duration.ofNanos(nanos), Values.duration(duration));
    }
  }

  private static void assertRefused(String part, Map<String, ?> map) {
    String message = assertThrows(IllegalArgumentException.class, () -> Values.struct(map)).getMessage();
    assertTrue(message.contains(part), message);
  }
}
