package sessiond

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// encoding/json takes text that is not UTF-8, and puts U+FFFD in the place of what is wrong, without a word. So where
// that may have happened, the value is gone through as encoding/json goes through it.

var (
	errNotUTF8 = errors.New("it is not UTF-8")
	errHalf    = errors.New("it has a surrogate without its other half, which no UTF-8 has")
)

// What encoding/json writes, or reads, as U+FFFD; but also U+FFFD itself, and pairs of surrogates.
var replacement = regexp.MustCompile(`(?i)\\u(?:fffd|d[89a-f])`)

// An escape in JSON: two surrogates, one alone (in the group), or another.
var escape = regexp.MustCompile(`(?is)\\(?:ud[89ab]..\\ud[c-f]..|(ud[89a-f]..)|.)`)

// checkJSON refuses a value in whose JSON something stands for what is no text; made is that JSON.
func checkJSON(value any, made []byte, path string) error {
	// This finds what is no UTF-8, and U+FFFD.
	if !bytes.ContainsRune(made, utf8.RuneError) && !replacement.Match(made) {
		return nil
	}
	return checkJSONText(reflect.ValueOf(value), path)
}

// checkJSONText refuses text that is not UTF-8.
//
// REQUIRES: encoding/json has taken the value. So it does not contain itself.
func checkJSONText(value reflect.Value, path string) error {
	if value.Kind() == reflect.Interface {
		value = value.Elem()
	}
	kind := value.Kind()
	if kind == reflect.Invalid || kind == reflect.Pointer && value.IsNil() {
		return nil
	}
	if own, ok := implements[json.Marshaler](value); ok {
		text, err := own.MarshalJSON()
		return cmp.Or(err, at(path, checkMadeJSON(text)))
	}
	if own, ok := implements[encoding.TextMarshaler](value); ok {
		text, err := own.MarshalText()
		return cmp.Or(err, at(path, checkUTF8(string(text))))
	}
	switch kind {
	case reflect.String:
		return at(path, checkUTF8(value.String()))
	case reflect.Pointer:
		return checkJSONText(value.Elem(), path)
	case reflect.Slice, reflect.Array:
		for i := range value.Len() {
			if err := checkJSONText(value.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		return checkJSONMap(value, path)
	case reflect.Struct:
		return checkJSONFields(value, path)
	}
	return nil
}

func checkJSONMap(value reflect.Value, path string) error {
	type entry struct {
		name  string
		value reflect.Value
	}
	var entries []entry
	for each := value.MapRange(); each.Next(); {
		entries = append(entries, entry{keyOf(each.Key()), each.Value()})
	}
	// So that of several mistakes always the same is told.
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	for _, each := range entries {
		place := path + "." + each.name
		if err := checkUTF8(each.name); err != nil {
			return fmt.Errorf("the key %q: %w", place, err)
		}
		if err := checkJSONText(each.value, place); err != nil {
			return err
		}
	}
	return nil
}

// keyOf is a map's key as encoding/json writes it.
func keyOf(key reflect.Value) string {
	if key.Kind() == reflect.String {
		return key.String()
	}
	if own, ok := implements[encoding.TextMarshaler](key); ok {
		text, _ := own.MarshalText()
		return string(text)
	}
	return fmt.Sprint(key)
}

func checkJSONFields(value reflect.Value, path string) error {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		tag := field.Tag.Get("json")
		if tag == "-" || !field.IsExported() && !field.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(tag, ",")
		held := value.Field(i)
		if field.Anonymous && name == "" {
			if held.Kind() == reflect.Pointer {
				held = held.Elem()
			}
			if held.Kind() == reflect.Struct { // Its fields are written as this one's.
				if err := checkJSONFields(held, path); err != nil {
					return err
				}
				continue
			}
		}
		if !field.IsExported() {
			continue
		}
		if err := checkJSONText(held, path+"."+cmp.Or(name, field.Name)); err != nil {
			return err
		}
	}
	return nil
}

// implements is the value, or a pointer to it where encoding/json would take one, by its own way to be written.
func implements[T any](value reflect.Value) (T, bool) {
	if value.CanInterface() {
		if own, ok := value.Interface().(T); ok {
			return own, true
		}
	}
	if value.CanAddr() && value.Addr().CanInterface() {
		own, ok := value.Addr().Interface().(T)
		return own, ok
	}
	var none T
	return none, false
}

func checkUTF8(text string) error {
	if !utf8.ValidString(text) {
		return errNotUTF8
	}
	return nil
}

// checkMadeJSON refuses JSON that somebody else made, where reading it would change it.
func checkMadeJSON(text []byte) error {
	if !utf8.Valid(text) {
		return errNotUTF8
	}
	for _, each := range escape.FindAllSubmatch(text, -1) {
		if each[1] != nil {
			return errHalf
		}
	}
	return nil
}

// at is the error with its place before it; nil for nil.
func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}
