package com.sessiond.client;

import com.sessiond.v1.AppendMessagesRequest;
import com.sessiond.v1.AppendMessagesResponse;
import com.sessiond.v1.ListMessagesRequest;
import com.sessiond.v1.ListMessagesResponse;
import com.sessiond.v1.MessageServiceGrpc;
import com.sessiond.v1.SessionMessage;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Appends and lists messages.
 *
 * <p>A method has its RPC's name; {@code sessiond/v1/message_service.proto} says what each is refused for. It takes
 * a request, or what fills one in. A change without a request_id gets one, the same for all its retries.
 * Thread-safe.
 */
public final class MessageClient {
  private final Calls calls;

  MessageClient(Calls calls) {
    this.calls = calls;
  }

  /** The same with another deadline for each call, its retries included. */
  public MessageClient withTimeout(Duration timeout) {
    return new MessageClient(calls.withTimeout(timeout));
  }

  /** Appends 1 to 500 messages, all or none. */
  public AppendMessagesResponse appendMessages(AppendMessagesRequest request) {
    return calls.unary(MessageServiceGrpc.getAppendMessagesMethod(), request);
  }

  /** Appends 1 to 500 messages, all or none. */
  public AppendMessagesResponse appendMessages(Consumer<AppendMessagesRequest.Builder> request) {
    return appendMessages(
        Calls.build(AppendMessagesRequest.newBuilder(), request, AppendMessagesRequest.Builder::build));
  }

  /** Every message of a session, in the order asked for. */
  public Pages<SessionMessage> listMessages(ListMessagesRequest request) {
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListMessagesResponse page =
              calls.unary(MessageServiceGrpc.getListMessagesMethod(), request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getMessagesList(), page.getNextPageToken());
        });
  }

  /** Every message of a session, in the order asked for. */
  public Pages<SessionMessage> listMessages(Consumer<ListMessagesRequest.Builder> request) {
    return listMessages(Calls.build(ListMessagesRequest.newBuilder(), request, ListMessagesRequest.Builder::build));
  }
}
