package com.sessiond.client;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executor;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/** Puts {@code authorization: Bearer TOKEN} into every attempt of every call. The token is never logged. */
final class BearerToken extends CallCredentials {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private static final Pattern TOKEN = Pattern.compile("[!-~]+");

  private final Supplier<String> token;

  BearerToken(Supplier<String> token) {
    this.token = token;
  }

  @Override
  public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
    executor.execute(
        () -> {
          Metadata headers = new Metadata();
          try {
            headers.put(AUTHORIZATION, "Bearer " + checked("the token", token.get()));
          } catch (RuntimeException e) {
            applier.fail(codeOf(e).toStatus().withDescription("No token: " + e.getMessage()).withCause(e));
            return;
          }
          applier.apply(headers);
        });
  }

  private static Status.Code codeOf(RuntimeException thrown) {
    Status.Code code = Status.Code.UNAUTHENTICATED;
    if (thrown instanceof StatusRuntimeException e) code = e.getStatus().getCode();
    if (thrown instanceof SessiondException e) code = e.code();
    return code == Status.Code.OK ? Status.Code.UNAUTHENTICATED : code; // gRPC takes no OK as a failure.
  }

  /**
   * The token in a file, read each time: a file's times do not show every change. The last one while there is none in
   * the file, as in the middle of its replacement.
   */
  static Supplier<String> ofFile(Path file) {
    return new Supplier<>() {
      private String last;

      @Override
      public synchronized String get() {
        try {
          last = read(file);
        } catch (RuntimeException e) {
          if (last == null) throw e;
        }
        return last;
      }
    };
  }

  private static String read(Path file) {
    String content;
    try {
      content = new String(Files.readAllBytes(file), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException("the token file " + file + " cannot be read: " + e.getMessage(), e);
    }
    if (content.startsWith("\uFEFF")) content = content.substring(1);
    return checked("the token file " + file, content.strip());
  }

  /** The token, if a header takes it. The refusal has nothing of it. */
  static String checked(String what, String token) {
    if (token == null || token.isEmpty()) throw new IllegalArgumentException(what + " is empty");
    if (!TOKEN.matcher(token).matches()) {
      throw new IllegalArgumentException(
          what + " has to be one word of visible ASCII, without \"Bearer\" before it, and nothing else");
    }
    return token;
  }
}
