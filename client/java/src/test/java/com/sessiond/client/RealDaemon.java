package com.sessiond.client;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.sessiond.client.testing.SessiondTestServer;

/** The daemon that the tests share; those that need it are skipped where there is none. */
final class RealDaemon {
  private static SessiondTestServer server;

  private RealDaemon() {}

  /** Ends with the JVM. */
  static synchronized SessiondTestServer get() {
    assumeTrue(
        SessiondTestServer.binary().isPresent(), "There is no sessiond: set SESSIOND_BINARY, or put it into the PATH");
    if (server == null) server = SessiondTestServer.start();
    return server;
  }
}
