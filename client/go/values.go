package sessiond

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Struct makes a Struct of the contract (context, result, progress, metadata, …) of a map. Values are those of
// encoding/json: strings, numbers, bools, nil, slices, maps, and structs by their JSON; times become RFC 3339. Its way
// back is the Struct's own AsMap.
//
// Numbers are IEEE doubles there: an integer that would lose digits is refused, and so are NaN and infinities. Send
// identifiers as strings. Text is UTF-8 without NUL characters; other text is refused.
func Struct(values map[string]any) (*structpb.Struct, error) {
	if values == nil {
		return nil, nil
	}
	fields, err := structOf(values, "")
	if err != nil {
		return nil, fmt.Errorf("sessiond: %w", err)
	}
	return fields, nil
}

func structOf(values map[string]any, path string) (*structpb.Struct, error) {
	fields := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(values))}
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys) // So that of several mistakes always the same is told.
	for _, key := range keys {
		at := key
		if path != "" {
			at = path + "." + key
		}
		if err := checkText(key); err != nil {
			return nil, fmt.Errorf("the key %q: %w", at, err)
		}
		value, err := valueOf(values[key], at)
		if err != nil {
			return nil, err
		}
		fields.Fields[key] = value
	}
	return fields, nil
}

// The largest integer up to which every one is a double: 2^53.
const exactMax = 1 << 53

func valueOf(value any, path string) (*structpb.Value, error) {
	switch value := value.(type) {
	case nil:
		return structpb.NewNullValue(), nil
	case string:
		if err := checkText(value); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return structpb.NewStringValue(value), nil
	case bool:
		return structpb.NewBoolValue(value), nil
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return nil, fmt.Errorf("%s: %v has no form in JSON", path, value)
		}
		return structpb.NewNumberValue(value), nil
	case float32:
		return valueOf(float64(value), path)
	case int:
		return integer(int64(value), path)
	case int32:
		return structpb.NewNumberValue(float64(value)), nil
	case int64:
		return integer(value, path)
	case uint32:
		return structpb.NewNumberValue(float64(value)), nil
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return integer(whole, path)
		}
		number, err := value.Float64()
		whole, isWhole := new(big.Int).SetString(value.String(), 10)
		if exact, _ := big.NewFloat(number).Int(nil); err != nil || isWhole && whole.Cmp(exact) != 0 {
			return nil, fmt.Errorf("%s: %s does not fit a double: send it as a string", path, value)
		}
		return structpb.NewNumberValue(number), nil
	case time.Time:
		return structpb.NewStringValue(value.UTC().Format(time.RFC3339Nano)), nil
	case map[string]any:
		fields, err := structOf(value, path)
		return structpb.NewStructValue(fields), err
	case []any:
		list := &structpb.ListValue{Values: make([]*structpb.Value, len(value))}
		for i, each := range value {
			var err error
			if list.Values[i], err = valueOf(each, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return nil, err
			}
		}
		return structpb.NewListValue(list), nil
	case *structpb.Value:
		return checked(value, path)
	case *structpb.Struct:
		return checked(structpb.NewStructValue(value), path)
	}
	return byJSON(value, path)
}

// checkText refuses what no text of the contract may hold.
func checkText(text string) error {
	switch {
	case !utf8.ValidString(text):
		return errNotUTF8
	case strings.ContainsRune(text, 0):
		return errors.New("it has a NUL character")
	}
	return nil
}

// checked is a value that is made already, if it can be sent.
func checked(value *structpb.Value, path string) (*structpb.Value, error) {
	if _, err := proto.Marshal(value); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return value, nil
}

func integer(value int64, path string) (*structpb.Value, error) {
	if value > exactMax || value < -exactMax {
		return nil, fmt.Errorf("%s: %d does not fit a double: send it as a string", path, value)
	}
	return structpb.NewNumberValue(float64(value)), nil
}

// byJSON takes any other value by what encoding/json makes of it.
func byJSON(value any, path string) (*structpb.Value, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := checkJSON(value, text, path); err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var plain any
	if err := decoder.Decode(&plain); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return valueOf(plain, path)
}
