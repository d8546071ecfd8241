package com.sessiond.client;

import com.google.protobuf.ListValue;
import com.google.protobuf.NullValue;
import com.google.protobuf.Struct;
import com.google.protobuf.Timestamp;
import com.google.protobuf.Value;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Protobuf's own values, and what Java has for them. */
public final class Values {
  // Beyond it a double cannot tell an integer from its neighbour.
  private static final long EXACT_MAX = 1L << 53;

  private Values() {}

  /**
   * A Struct of a map: of null, booleans, numbers, strings, enums (by name), maps, and iterables of those. Anything
   * else is refused, and so is an integer that a double cannot hold: send it as a string. Text with a NUL character or
   * with half of a character is refused too.
   */
  public static Struct struct(Map<String, ?> map) {
    return struct(map, "");
  }

  /**
   * A map of a Struct: of null, booleans, strings, maps, lists, and numbers: Long where it is an integer that a double
   * holds exactly, else Double.
   */
  public static Map<String, Object> map(Struct struct) {
    Map<String, Object> map = new LinkedHashMap<>();
    struct.getFieldsMap().forEach((key, value) -> map.put(key, object(value)));
    return map;
  }

  /** A Value of one of the objects that {@link #struct} takes. */
  public static Value value(Object object) {
    return value(object, "");
  }

  /** What {@link #map} makes of one value. */
  public static Object object(Value value) {
    return switch (value.getKindCase()) {
      case NULL_VALUE, KIND_NOT_SET -> null;
      case BOOL_VALUE -> value.getBoolValue();
      case STRING_VALUE -> value.getStringValue();
      case NUMBER_VALUE -> number(value.getNumberValue());
      case STRUCT_VALUE -> map(value.getStructValue());
      case LIST_VALUE -> {
        List<Object> list = new ArrayList<>();
        value.getListValue().getValuesList().forEach(item -> list.add(object(item)));
        yield list;
      }
    };
  }

  /** An Instant of a Timestamp. */
  public static Instant instant(Timestamp timestamp) {
    return Instant.ofEpochSecond(timestamp.getSeconds(), timestamp.getNanos());
  }

  /** A Timestamp of an Instant. */
  public static Timestamp timestamp(Instant instant) {
    return Timestamp.newBuilder().setSeconds(instant.getEpochSecond()).setNanos(instant.getNano()).build();
  }

  /** Java's Duration of Protobuf's. */
  public static Duration duration(com.google.protobuf.Duration duration) {
    return Duration.ofSeconds(duration.getSeconds(), duration.getNanos());
  }

  /** Protobuf's Duration of Java's. */
  public static com.google.protobuf.Duration duration(Duration duration) {
    // Java's nanoseconds are never negative, and Protobuf's have the sign of the whole.
    boolean carry = duration.getSeconds() < 0 && duration.getNano() > 0;
    return com.google.protobuf.Duration.newBuilder()
        .setSeconds(duration.getSeconds() + (carry ? 1 : 0))
        .setNanos(duration.getNano() - (carry ? 1_000_000_000 : 0))
        .build();
  }

  private static Object number(double number) {
    boolean integer = number == Math.rint(number) && Math.abs(number) <= EXACT_MAX;
    if (!integer || (number == 0 && 1 / number < 0)) return number;
    return (long) number;
  }

  private static Struct struct(Map<?, ?> map, String path) {
    Struct.Builder struct = Struct.newBuilder();
    map.forEach(
        (key, item) -> {
          if (!(key instanceof String name)) {
            throw new IllegalArgumentException("A key of " + at(path) + " is no string but " + key);
          }
          String place = path.isEmpty() ? name : path + "." + name;
          checkText(name, place);
          struct.putFields(name, value(item, place));
        });
    return struct.build();
  }

  private static Value value(Object object, String path) {
    Value.Builder value = Value.newBuilder();
    if (object == null) return value.setNullValue(NullValue.NULL_VALUE).build();
    if (object instanceof Value given) return given;
    if (object instanceof Struct given) return value.setStructValue(given).build();
    if (object instanceof Boolean given) return value.setBoolValue(given).build();
    if (object instanceof CharSequence given) {
      String text = given.toString();
      checkText(text, path);
      return value.setStringValue(text).build();
    }
    if (object instanceof Enum<?> given) return value.setStringValue(given.name()).build();
    if (object instanceof Map<?, ?> given) return value.setStructValue(struct(given, path)).build();
    if (object instanceof Number given) {
      if (given instanceof Long exact && (exact > EXACT_MAX || exact < -EXACT_MAX)) {
        throw new IllegalArgumentException(
            at(path) + " is " + exact + ", which a double cannot hold: send it as a string");
      }
      double number = given.doubleValue();
      if (Double.isNaN(number) || Double.isInfinite(number)) {
        throw new IllegalArgumentException(at(path) + " is " + given + ", which JSON does not have");
      }
      return value.setNumberValue(number).build();
    }
    if (object instanceof Iterable<?> given) {
      ListValue.Builder list = ListValue.newBuilder();
      int index = 0;
      for (Object item : given) list.addValues(value(item, path + "[" + index++ + "]"));
      return value.setListValue(list).build();
    }
    throw new IllegalArgumentException(
        at(path)
            + " is of "
            + object.getClass().getName()
            + "; take null, a Boolean, a number, a string, a Map or an Iterable");
  }

  /** Refuses what no text of the contract may hold. Protobuf would send half of a character as a question mark. */
  private static void checkText(String text, String path) {
    if (text.indexOf('\0') >= 0) throw new IllegalArgumentException(at(path) + " has a NUL character");
    if (Texts.hasHalf(text)) {
      throw new IllegalArgumentException(at(path) + " has a surrogate without its other half, which no UTF-8 has");
    }
  }

  /** Whether this is a surrogate: in text only where its other half is missing. */
  static boolean isHalf(int codePoint) {
    return Character.getType(codePoint) == Character.SURROGATE;
  }

  private static String at(String path) {
    return path.isEmpty() ? "The value" : "The value at " + path;
  }
}
