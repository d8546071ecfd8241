package com.sessiond.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Grpc;
import io.grpc.Server;
import io.grpc.TlsServerCredentials;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.util.Base64;
import java.util.Map;
import javax.net.ssl.KeyManagerFactory;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Against a server with TLS, which answers every call with UNIMPLEMENTED. */
class AuthoritiesTest {
  private static final String MARK = "\uFEFF";
  private static final char[] PASSWORD = "password".toCharArray();

  @TempDir private static Path folder;
  private static Server server;
  private static String ours;
  private static String key;
  private static String foreign;

  @BeforeAll
  static void start() throws Exception {
    KeyStore store = certificate("ours");
    ours = pem(store);
    key = keyPem(store);
    foreign = pem(certificate("foreign"));
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(store, PASSWORD);
    server =
        Grpc.newServerBuilderForPort(0, TlsServerCredentials.newBuilder().keyManager(keys.getKeyManagers()).build())
            .build()
            .start();
  }

  @AfterAll
  static void stop() {
    if (server != null) server.shutdownNow();
  }

  @Test
  void byteOrderMarksHideNoCertificate() throws Exception {
    for (String pem :
        new String[] {
          ours,
          MARK + ours,
          foreign + MARK + ours,
          MARK + ours + MARK + foreign,
          "# About -----BEGIN CERTIFICATE-----\n" + ours,
          (foreign + ours).replace("\n", "\r\n")
        }) {
      try (SessiondClient client = trusting(pem)) {
        assertThrows(
            SessiondException.Unimplemented.class, () -> client.sessions().getSession(r -> r.setSessionId("s")), pem);
      }
    }
  }

  @Test
  void aFileWithACertificateThatCannotBeReadIsRefusedByItsName() {
    for (String pem :
        new String[] {
          "",
          "no certificate",
          " " + ours,
          // Java passes over what does not begin at the left.
          ours + foreign.replaceAll("(?m)^", " "),
          ours + "\u00A0" + foreign,
          ours + foreign.replaceFirst("-----\n", "-----\n!"),
          ours + foreign.replace("-----END", "")
        }) {
      String message = assertThrows(IllegalArgumentException.class, () -> trusting(pem).close(), pem).getMessage();
      assertTrue(message.contains(folder.resolve("ca.pem").toString()), message);
    }
  }

  @Test
  void aCertificateOfTheClientsOwnIsTakenBehindByteOrderMarksAndNamedWhereItCannotBe() throws Exception {
    showing(MARK + ours, MARK + key).close();
    for (String[] pems :
        new String[][] {
          {"no certificate", key},
          {ours, "no key"},
          {ours + MARK + foreign.replaceFirst("-----\n", "-----\nAAAA"), key},
          {ours + ours, key}
        }) {
      String message =
          assertThrows(IllegalArgumentException.class, () -> showing(pems[0], pems[1]).close()).getMessage();
      assertTrue(message.contains(folder.resolve("me.pem").toString()), message);
      assertTrue(message.contains(folder.resolve("me.key").toString()), message);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"EC", "RSA", "DSA"})
  void aKeyOfAnotherCertificateIsRefusedByTheNamesOfBothFiles(String algorithm) throws Exception {
    KeyStore one = certificate("one-" + algorithm, algorithm);
    KeyStore other = certificate("other-" + algorithm, algorithm);
    KeyStore another = certificate("another-" + algorithm, algorithm.equals("EC") ? "RSA" : "EC");
    showing(pem(one), MARK + keyPem(one)).close();
    showing("Of one.\n" + MARK + pem(one), "Its key.\r\n" + keyPem(one).replace("\n", "\r\n")).close();
    for (String[] pems :
        new String[][] {
          {pem(one), keyPem(other)}, {"Of one.\n" + pem(one), MARK + keyPem(other)}, {pem(one), keyPem(another)}
        }) {
      assertEquals(
          "The key in "
              + folder.resolve("me.key")
              + " does not belong to the certificate in "
              + folder.resolve("me.pem"),
          assertThrows(IllegalArgumentException.class, () -> showing(pems[0], pems[1]).close()).getMessage());
    }
  }

  private static SessiondClient showing(String certificate, String key) throws Exception {
    return SessiondClient.builder(Map.of())
        .clientCertificate(
            Files.writeString(folder.resolve("me.pem"), certificate), Files.writeString(folder.resolve("me.key"), key))
        .build();
  }

  private static SessiondClient trusting(String pem) throws Exception {
    Path file = Files.writeString(folder.resolve("ca.pem"), pem);
    return SessiondClient.builder(Map.of()).address("127.0.0.1:" + server.getPort()).tls(file).build();
  }

  /** A certificate for this machine that is its own authority, with its key. */
  private static KeyStore certificate(String name) throws Exception {
    return certificate(name, "EC");
  }

  private static KeyStore certificate(String name, String algorithm) throws Exception {
    Path file = folder.resolve(name + ".p12");
    Process keytool =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString(),
                "-genkeypair",
                "-keystore", file.toString(),
                "-storepass", new String(PASSWORD),
                "-alias", name,
                "-keyalg", algorithm,
                "-dname", "CN=" + name,
                "-ext", "san=ip:127.0.0.1")
            .redirectErrorStream(true)
            .start();
    String said = new String(keytool.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, keytool.waitFor(), said);
    KeyStore store = KeyStore.getInstance("PKCS12");
    try (InputStream content = Files.newInputStream(file)) {
      store.load(content, PASSWORD);
    }
    return store;
  }

  private static String pem(KeyStore store) throws Exception {
    return pem("CERTIFICATE", store.getCertificate(store.aliases().nextElement()).getEncoded());
  }

  private static String keyPem(KeyStore store) throws Exception {
    return pem("PRIVATE KEY", store.getKey(store.aliases().nextElement(), PASSWORD).getEncoded());
  }

  private static String pem(String label, byte[] der) {
    String base64 = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der);
    return "-----BEGIN " + label + "-----\n" + base64 + "\n-----END " + label + "-----\n";
  }
}
