package com.sessiond.client;

import io.grpc.CallCredentials;
import io.grpc.Metadata;
import io.grpc.Status;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.concurrent.Executor;
import java.util.function.Supplier;

/** Puts {@code authorization: Bearer TOKEN} into every attempt of every call. The token is never logged. */
final class BearerToken extends CallCredentials {
  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

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
            headers.put(AUTHORIZATION, "Bearer " + token.get());
          } catch (RuntimeException e) {
            applier.fail(Status.UNAUTHENTICATED.withDescription("No token: " + e.getMessage()).withCause(e));
            return;
          }
          applier.apply(headers);
        });
  }

  /** The token in a file, read again when the file has changed: so it can be rotated. */
  static Supplier<String> ofFile(Path file) {
    return new Supplier<>() {
      private FileTime read;
      private String token;

      @Override
      public synchronized String get() {
        try {
          FileTime changed = Files.getLastModifiedTime(file);
          if (!changed.equals(read)) {
            token = Files.readString(file).strip();
            read = changed;
          }
        } catch (IOException e) {
          throw new UncheckedIOException("the token file " + file + " cannot be read: " + e.getMessage(), e);
        }
        if (token.isEmpty()) throw new IllegalStateException("the token file " + file + " is empty");
        return token;
      }
    };
  }
}
