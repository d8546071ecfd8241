package com.sessiond.client;

import com.google.protobuf.Any;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.rpc.BadRequest;
import com.google.rpc.Code;
import com.google.rpc.Status;
import io.grpc.protobuf.StatusProto;
import java.util.List;

/** The texts of requests. */
final class Texts {
  private Texts() {}

  /** Whether there is a surrogate without its other half, which no UTF-8 has. */
  static boolean hasHalf(String text) {
    for (int i = 0; i < text.length(); i++) {
      if (!Character.isSurrogate(text.charAt(i))) continue;
      if (i + 1 == text.length() || !Character.isSurrogatePair(text.charAt(i), text.charAt(i + 1))) return true;
      i++;
    }
    return false;
  }

  /**
   * The request. Throws SessiondException.InvalidArgument where one of its texts has half of a character: Protobuf would
   * send it as a question mark.
   */
  static <Q extends Message> Q checked(String method, Q request) {
    try {
      check(request, "");
    } catch (Half e) {
      String description = "has half of a character (a surrogate without its other half), which no UTF-8 has";
      BadRequest.FieldViolation violation =
          BadRequest.FieldViolation.newBuilder().setField(e.place).setDescription("It " + description).build();
      Status status =
          Status.newBuilder()
              .setCode(Code.INVALID_ARGUMENT_VALUE)
              .setMessage("The request cannot be sent: " + e.place + " " + description)
              .addDetails(Any.pack(BadRequest.newBuilder().addFieldViolations(violation).build()))
              .build();
      throw SessiondException.of(method, StatusProto.toStatusRuntimeException(status));
    }
    return request;
  }

  private static void check(Object value, String place) throws Half {
    if (value instanceof String text) {
      if (hasHalf(text)) throw new Half(place);
    } else if (value instanceof Struct struct) {
      for (var entry : struct.getFieldsMap().entrySet()) {
        check(entry.getKey(), place);
        check(entry.getValue(), place + "." + entry.getKey());
      }
    } else if (value instanceof Value given) {
      switch (given.getKindCase()) {
        case STRING_VALUE -> check(given.getStringValue(), place);
        case STRUCT_VALUE -> check(given.getStructValue(), place);
        case LIST_VALUE -> checkAll(given.getListValue().getValuesList(), place);
        default -> {}
      }
    } else if (value instanceof Message message) {
      for (var entry : message.getAllFields().entrySet()) checkField(entry.getKey(), entry.getValue(), place);
    }
  }

  private static void checkField(FieldDescriptor field, Object value, String path) throws Half {
    String place = path.isEmpty() ? field.getName() : path + "." + field.getName();
    if (field.isMapField()) {
      for (Object each : (List<?>) value) {
        Message entry = (Message) each;
        Object key = entry.getField(entry.getDescriptorForType().findFieldByName("key"));
        check(key, place);
        check(entry.getField(entry.getDescriptorForType().findFieldByName("value")), place + "." + key);
      }
    } else if (field.isRepeated()) {
      checkAll((List<?>) value, place);
    } else {
      check(value, place);
    }
  }

  private static void checkAll(List<?> values, String place) throws Half {
    int index = 0;
    for (Object each : values) check(each, place + "[" + index++ + "]");
  }

  private static final class Half extends Exception {
    private static final long serialVersionUID = 1L;

    private final String place;

    private Half(String place) {
      this.place = place;
    }
  }
}
