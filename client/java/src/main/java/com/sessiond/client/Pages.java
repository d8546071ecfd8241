package com.sessiond.client;

import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * A list that is read page by page while one goes through it. Each {@link #iterator} and each {@link #stream} reads
 * anew, from the request's page_token on. A step throws {@link SessiondException} when its page cannot be read.
 */
public final class Pages<T> implements Iterable<T> {
  /** One page, and the token of the next; empty at the end. */
  record Page<T>(List<T> items, String nextPageToken) {}

  private final Function<String, Page<T>> read;
  private final String firstToken;

  /** {@code read} gets a token. */
  Pages(String firstToken, Function<String, Page<T>> read) {
    this.firstToken = firstToken;
    this.read = read;
  }

  @Override
  public Iterator<T> iterator() {
    return new Iterator<>() {
      private Iterator<T> page = List.<T>of().iterator();
      private String token = firstToken;

      @Override
      public boolean hasNext() {
        while (!page.hasNext() && token != null) {
          Page<T> next = read.apply(token);
          page = next.items().iterator();
          token = next.nextPageToken().isEmpty() ? null : next.nextPageToken();
        }
        return page.hasNext();
      }

      @Override
      public T next() {
        if (!hasNext()) throw new NoSuchElementException();
        return page.next();
      }
    };
  }

  /** The items as a stream. */
  public Stream<T> stream() {
    return StreamSupport.stream(spliterator(), false);
  }
}
