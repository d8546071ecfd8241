package com.sessiond.client;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Where a daemon listens, as people write it, and the target that gRPC makes of it. */
record ServerAddress(String target, boolean local) {
  static final String DEFAULT = "127.0.0.1:7377";
  private static final int DEFAULT_PORT = 7377;
  // HOST, HOST:PORT, [IPV6], [IPV6]:PORT.
  private static final Pattern HOST_AND_PORT =
      Pattern.compile("(?<host>[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.%A-Za-z]+\\])(?::(?<port>[0-9]{1,5}))?");

  /** {@code where} says who gave it, for the message of a refusal. */
  static ServerAddress parse(String where, String given) {
    String text = given.strip();
    if (text.startsWith("unix:")) {
      if (text.replaceFirst("^unix:(//)?", "").isEmpty()) {
        throw refusal(where, given, "names no socket; write unix:/run/sessiond/sessiond.sock");
      }
      return new ServerAddress(text, true);
    }
    // gRPC's own names, which may stand for several addresses.
    if (text.startsWith("dns:")) return new ServerAddress(text, false);
    int scheme = text.indexOf("://");
    if (scheme >= 0) {
      throw refusal(
          where, given, "has a scheme; write " + text.substring(scheme + 3) + ", and tls() for encryption");
    }
    Matcher matcher = HOST_AND_PORT.matcher(text);
    if (!matcher.matches()) {
      throw refusal(where, given, "names no daemon; write HOST:PORT, for example 127.0.0.1:7377 or [::1]:7377");
    }
    String host = matcher.group("host");
    int port = matcher.group("port") == null ? DEFAULT_PORT : Integer.parseInt(matcher.group("port"));
    if (port < 1 || port > 65535) {
      throw refusal(where, given, "has no port from 1 to 65535; write " + host + ":" + DEFAULT_PORT);
    }
    String name = host.toLowerCase(Locale.ROOT);
    boolean local = name.equals("localhost") || name.equals("[::1]") || name.matches("127(\\.[0-9]{1,3}){3}");
    return new ServerAddress("dns:///" + host + ":" + port, local);
  }

  private static IllegalArgumentException refusal(String where, String given, String what) {
    return new IllegalArgumentException(where + " is \"" + given + "\", which " + what);
  }
}
