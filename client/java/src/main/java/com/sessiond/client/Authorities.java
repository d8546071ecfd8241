package com.sessiond.client;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.util.regex.Pattern;

/** The file with the authorities that a client trusts. */
final class Authorities {
  private static final String BYTE_ORDER_MARK = "\u00EF\u00BB\u00BF";
  // A line with which a certificate was meant to begin, whatever Java makes of it: something that nobody sees may stand
  // before it.
  private static final Pattern BEGINNING =
      Pattern.compile("(?:^|[\\r\\n])[^!-~]*-----BEGIN [A-Z0-9 ]*CERTIFICATE-----");

  private Authorities() {}

  /**
   * The file's content, without the byte-order marks of the files that it was put together from: Java takes no
   * certificate behind one. Throws IllegalArgumentException, with the file's name, unless all certificates can be read.
   */
  static InputStream read(Path file) {
    byte[] content;
    long read;
    long begun;
    try {
      // Each byte as one character.
      String text = new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1);
      text = text.replace(BYTE_ORDER_MARK + "-----BEGIN ", "-----BEGIN ");
      content = text.getBytes(StandardCharsets.ISO_8859_1);
      read = CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(content)).size();
      begun = BEGINNING.matcher(text).results().count();
    } catch (IOException | CertificateException e) {
      throw new IllegalArgumentException("The authorities in " + file + " cannot be read: " + e.getMessage(), e);
    }
    if (read == 0 || read < begun) {
      throw new IllegalArgumentException(
          file
              + " has "
              + begun
              + " lines -----BEGIN CERTIFICATE-----, and "
              + read
              + " certificates that can be read: such a line begins at the left, with nothing before or behind it");
    }
    return new ByteArrayInputStream(content);
  }
}
