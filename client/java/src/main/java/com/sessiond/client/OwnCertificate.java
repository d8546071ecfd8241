package com.sessiond.client;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The certificate that a client shows, and its key. */
final class OwnCertificate {
  // The first of each is what gRPC takes.
  private static final Pattern CERTIFICATE = block("CERTIFICATE");
  private static final Pattern KEY = block("PRIVATE KEY");
  // The keys that gRPC takes, and what each signs with.
  private static final Map<String, String> SIGNATURES =
      Map.of("RSA", "SHA256withRSA", "DSA", "SHA256withDSA", "EC", "SHA256withECDSA");

  private OwnCertificate() {}

  /**
   * Throws IllegalArgumentException, with the names of both files, if the key does not belong to the certificate: gRPC
   * would tell at the first handshake, and not why. What cannot be found out here, it tells itself.
   */
  static void requireItsKey(Path certificateChain, Path privateKey) {
    try {
      PublicKey expected =
          CertificateFactory.getInstance("X.509")
              .generateCertificate(new ByteArrayInputStream(first(CERTIFICATE, certificateChain)))
              .getPublicKey();
      PrivateKey key = keyOf(first(KEY, privateKey));
      Signature signature = Signature.getInstance(SIGNATURES.get(key.getAlgorithm()));
      signature.initSign(key);
      byte[] signed = signature.sign();
      if (verifies(signature, expected, signed)) return;
    } catch (GeneralSecurityException | IOException e) {
      return;
    }
    throw new IllegalArgumentException(
        "The key in " + privateKey + " does not belong to the certificate in " + certificateChain);
  }

  private static boolean verifies(Signature signature, PublicKey key, byte[] signed) {
    try {
      signature.initVerify(key);
      return signature.verify(signed);
    } catch (GeneralSecurityException e) { // A key of another kind, or of another size.
      return false;
    }
  }

  private static PrivateKey keyOf(byte[] der) throws GeneralSecurityException {
    for (String algorithm : SIGNATURES.keySet()) {
      try {
        return KeyFactory.getInstance(algorithm).generatePrivate(new PKCS8EncodedKeySpec(der));
      } catch (InvalidKeySpecException e) {
        // Of another kind.
      }
    }
    throw new InvalidKeySpecException("It is of no kind that gRPC takes");
  }

  private static Pattern block(String label) {
    return Pattern.compile("-----BEGIN [A-Z0-9. ]*" + label + "-----([A-Za-z0-9+/=\\s]+)-----END ");
  }

  private static byte[] first(Pattern block, Path file) throws IOException {
    Matcher found = block.matcher(new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1));
    if (!found.find()) throw new IOException(file + " has no such block");
    return Base64.getMimeDecoder().decode(found.group(1));
  }
}
