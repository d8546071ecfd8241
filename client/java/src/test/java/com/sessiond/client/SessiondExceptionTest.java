package com.sessiond.client;

import static com.sessiond.client.FakeDaemon.refusal;
import static com.sessiond.client.FakeDaemon.retryAfter;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.Any;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.sessiond.client.SessiondException.FieldViolation;
import com.sessiond.client.SessiondException.NotFound;
import com.sessiond.v1.ErrorReason;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class SessiondExceptionTest {
  @Test
  void aRefusalSaysWhyAndWhoCanFixIt() {
    SessiondException e =
        SessiondException.of(
            "m",
            refusal(
                Status.Code.INVALID_ARGUMENT,
                "INVALID_FIELD",
                "USER_FIXABLE",
                BadRequest.newBuilder()
                    .addFieldViolations(
                        BadRequest.FieldViolation.newBuilder().setField("a.b").setDescription("Too long."))
                    .build(),
                retryAfter(Duration.ofMillis(1500))));
    assertInstanceOf(SessiondException.InvalidArgument.class, e);
    assertEquals("No: INVALID_FIELD", e.getMessage());
    assertEquals(ErrorReason.INVALID_FIELD, e.reason());
    assertEquals(Category.USER_FIXABLE, e.category());
    assertEquals(Map.of("key", "value"), e.metadata());
    assertEquals(List.of(new FieldViolation("a.b", "Too long.")), e.fieldViolations());
    assertEquals(Optional.of(Duration.ofMillis(1500)), e.retryAfter());
    assertTrue(e.fromDaemon());
  }

  @Test
  void aReasonFromTheFutureKeepsItsName() {
    SessiondException e = SessiondException.of("m", refusal(Status.Code.ABORTED, "FROM_THE_FUTURE", "TEMPORARY"));
    assertEquals(ErrorReason.UNRECOGNIZED, e.reason());
    assertEquals("FROM_THE_FUTURE", e.reasonName());
    assertEquals(Category.TEMPORARY, e.category());
  }

  @Test
  void whatSomebodyElseSaidIsNotTheDaemons() {
    com.google.rpc.Status status =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.NOT_FOUND.value())
            .addDetails(
                Any.pack(
                    ErrorInfo.newBuilder()
                        .setDomain("proxy.example")
                        .setReason("NEVER_EXISTED")
                        .putMetadata("category", "TEMPORARY")
                        .build()))
            .build();
    SessiondException e = SessiondException.of("m", StatusProto.toStatusRuntimeException(status));
    assertEquals(ErrorReason.ERROR_REASON_UNSPECIFIED, e.reason());
    assertEquals("", e.reasonName());
    assertEquals(Category.UNKNOWN, e.category());
    assertFalse(e.fromDaemon());
    assertEquals(NotFound.Why.OTHER, ((NotFound) e).why());
  }

  @Test
  void everyCodeHasItsClass() {
    for (Status.Code code : Status.Code.values()) {
      if (code == Status.Code.OK) continue;
      SessiondException e = SessiondException.of("m", code.toStatus().asRuntimeException());
      StringBuilder name = new StringBuilder();
      for (String word : code.name().split("_")) name.append(word.charAt(0)).append(word.substring(1).toLowerCase());
      assertEquals(code == Status.Code.DATA_LOSS ? "Internal" : name.toString(), e.getClass().getSimpleName());
    }
  }

  @Test
  void whatIsNotThereSaysWhyAndSinceWhen() {
    com.google.rpc.Status status =
        com.google.rpc.Status.newBuilder()
            .setCode(Status.Code.NOT_FOUND.value())
            .addDetails(
                Any.pack(
                    ErrorInfo.newBuilder()
                        .setDomain("sessiond")
                        .setReason("DELETED")
                        .putMetadata("delete_time", "2026-01-02T03:04:05Z")
                        .build()))
            .build();
    NotFound e = (NotFound) SessiondException.of("m", StatusProto.toStatusRuntimeException(status));
    assertEquals(NotFound.Why.DELETED, e.why());
    assertEquals(Optional.of(Instant.parse("2026-01-02T03:04:05Z")), e.since());
  }

  @Test
  void itCanBeSerialized() throws Exception {
    SessiondException e = SessiondException.of("m", refusal(Status.Code.ABORTED, "CONFLICT", "TEMPORARY"));
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    new ObjectOutputStream(bytes).writeObject(e);
    Object read = new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray())).readObject();
    assertEquals(ErrorReason.CONFLICT, ((SessiondException) read).reason());
  }
}
