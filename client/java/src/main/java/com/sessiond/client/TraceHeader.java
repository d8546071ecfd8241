package com.sessiond.client;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import java.lang.System.Logger.Level;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/** Puts the W3C's {@code traceparent} into every call, where nobody else has. */
final class TraceHeader implements ClientInterceptor {
  private static final Metadata.Key<String> TRACEPARENT =
      Metadata.Key.of("traceparent", Metadata.ASCII_STRING_MARSHALLER);
  private static final Pattern FORMAT = Pattern.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}[!-~]*");

  private final Supplier<String> traceparent;

  TraceHeader(Supplier<String> traceparent) {
    this.traceparent = traceparent;
  }

  @Override
  public <Q, A> ClientCall<Q, A> interceptCall(MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
    return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
      @Override
      public void start(Listener<A> listener, Metadata headers) {
        // On the thread of the caller, whose trace it is.
        String value = asked();
        if (value != null && !headers.containsKey(TRACEPARENT)) {
          if (FORMAT.matcher(value).matches()) {
            headers.put(TRACEPARENT, value);
          } else {
            Calls.LOG.log(Level.DEBUG, "\"{0}\" is no traceparent, and is not sent", value);
          }
        }
        super.start(listener, headers);
      }
    };
  }

  /** What the supplier answers. One that fails is no reason for the call to: it may be the one that ends a task. */
  private String asked() {
    try {
      return traceparent.get();
    } catch (Exception | LinkageError e) {
      Calls.LOG.log(Level.WARNING, "There is no traceparent: its supplier threw", e);
      return null;
    }
  }
}
