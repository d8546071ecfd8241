package com.sessiond.client;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Optional;

/** Where a watch keeps its position, so that another process can go on behind it. */
public interface TokenStore {
  /** The token that was saved last; empty at the very first. */
  Optional<String> load();

  /** Keeps a token. What it throws, the watch throws. */
  void save(String token);

  /** A file, which is replaced at once: a crash leaves the old token or the new one. */
  static TokenStore file(Path file) {
    Path beside = file.resolveSibling(file.getFileName() + ".new");
    return new TokenStore() {
      @Override
      public Optional<String> load() {
        try {
          return Optional.of(Files.readString(file).strip()).filter(token -> !token.isEmpty());
        } catch (NoSuchFileException e) {
          return Optional.empty();
        } catch (IOException e) {
          throw new UncheckedIOException("The resume token in " + file + " cannot be read", e);
        }
      }

      @Override
      public void save(String token) {
        try {
          Files.writeString(beside, token + "\n");
          Files.move(beside, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException e) {
          throw new UncheckedIOException("The resume token cannot be kept in " + file, e);
        }
      }
    };
  }
}
