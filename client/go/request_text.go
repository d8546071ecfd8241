package sessiond

import (
	"fmt"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// unlessUnsent is the error; but INVALID_ARGUMENT, with the field's name, where the request has text that is not UTF-8.
// gRPC names no field then, and calls that INTERNAL, which passes by itself.
func unlessUnsent(request any, err error) error {
	if status.Code(err) != codes.Internal {
		return err
	}
	message, ok := request.(proto.Message)
	if !ok {
		return err
	}
	if _, unsent := proto.Marshal(message); unsent == nil {
		return err
	}
	place := badText(message.ProtoReflect(), "")
	if place == "" {
		return err
	}
	return status.Errorf(codes.InvalidArgument, "the request cannot be sent: %s: %v", place, errNotUTF8)
}

// badText is the place of a text that is not UTF-8; "" if there is none.
func badText(message protoreflect.Message, path string) (place string) {
	plain := isPlain(message)
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		at := path
		if !plain {
			at = within(path, string(field.Name()))
		}
		switch {
		case field.IsMap():
			value.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
				if place = badTextOf(key.Interface(), at); place == "" {
					place = badTextOf(value.Interface(), within(at, key.String()))
				}
				return place == ""
			})
		case field.IsList():
			for i := 0; i < value.List().Len() && place == ""; i++ {
				place = badTextOf(value.List().Get(i).Interface(), fmt.Sprintf("%s[%d]", at, i))
			}
		default:
			place = badTextOf(value.Interface(), at)
		}
		return place == ""
	})
	return place
}

func badTextOf(value any, at string) string {
	switch value := value.(type) {
	case string:
		if !utf8.ValidString(value) {
			return at
		}
	case protoreflect.Message:
		return badText(value, at)
	}
	return ""
}

// isPlain says whether it is JSON in a message, whose own fields nobody wants to read of.
func isPlain(message protoreflect.Message) bool {
	switch message.Interface().(type) {
	case *structpb.Struct, *structpb.Value, *structpb.ListValue:
		return true
	}
	return false
}

func within(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
