package sessiond_test

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	sessiond "github.com/sessiond/sessiond/client/go"
)

func TestAStructIsMadeOfWhatJSONTakes(t *testing.T) {
	type ticket struct {
		Key   string `json:"key"`
		Count int    `json:"count"`
	}
	made, err := sessiond.Struct(map[string]any{
		"text": "ü", "whole": 3, "big": int64(1) << 53, "part": 0.5, "yes": true, "none": nil, "list": []any{1, "a", nil},
		"strings": []string{"a", "b"}, "deep": map[string]any{"x": map[string]any{"y": 1}}, "tickets": []ticket{{"A-1", 2}},
		"huge": []float64{1e20, 1e300}, "at": time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600)),
		"number":   json.Number("12"),
		"counters": map[string]int32{"a": 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"text": "ü", "whole": 3., "big": float64(1 << 53), "part": 0.5, "yes": true, "none": nil, "list": []any{1., "a",
			nil},
		"strings": []any{"a", "b"}, "deep": map[string]any{"x": map[string]any{"y": 1.}},
		"tickets": []any{map[string]any{"key": "A-1", "count": 2.}},
		"huge":    []any{1e20, 1e300}, "at": "2026-01-02T02:04:05.0000006Z", "number": 12.,
		"counters": map[string]any{"a": 1.},
	}
	if got := made.AsMap(); !reflect.DeepEqual(got, want) {
		t.Errorf("It became %v", got)
	}
	if none, err := sessiond.Struct(nil); none != nil || err != nil {
		t.Error("No map is no Struct")
	}
}

func TestAValueThatAStructCannotHoldIsRefusedByItsPath(t *testing.T) {
	for path, value := range map[string]any{
		"a.b[1]": map[string]any{"b": []any{1, int64(1)<<53 + 1}}, "a": math.NaN(), "a.c": map[string]any{"c": math.Inf(1)},
		"a.d": map[string]any{"d": func() {}}, "a.e": map[string]any{"e": json.Number("1e400")},
		"a.f": map[string]any{"f": []uint64{math.MaxUint64}}, "a.g": map[string]any{"g": "\xff"},
		"a.h[0]": map[string]any{"h": []string{"\x00"}}, `"a.\xff"`: map[string]any{"\xff": 1},
		"a.i": map[string]any{"i": structpb.NewStringValue("\xff")},
	} {
		if _, err := sessiond.Struct(map[string]any{"a": value}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

type word string

type spelled struct{ text string }

func (s spelled) MarshalText() ([]byte, error) { return []byte(s.text), nil }

type given struct{ text string }

func (g *given) MarshalJSON() ([]byte, error) { return []byte(g.text), nil }

type base struct {
	Note string
}

// encoding/json would put U+FFFD in the place of what is no text.
func TestTextThatIsNotUTF8IsRefusedByItsPathWhateverHoldsIt(t *testing.T) {
	const bad = "a\xffb"
	type ticket struct {
		base
		Key    string            `json:"key,omitempty"`
		Labels map[string]string `json:"labels"`
		Word   *word
		Quoted string `json:",string"`
		hidden string
		Left   string `json:"-"`
		Any    any
		Bytes  []byte
	}
	text := word(bad)
	for path, value := range map[string]any{
		"v:":          text,
		"v[1]:":       []string{"a", bad},
		"v[0].x:":     []map[string]string{{"x": bad}},
		`"v.a\xffb":`: map[string]int{bad: 1},
		`"v.b\xffb":`: map[spelled]int{{"b\xffb"}: 1},
		"v.key:":      ticket{Key: bad},
		"v.Note:":     &ticket{base: base{Note: bad}},
		"v.labels.x:": []any{ticket{Labels: map[string]string{"x": bad}}}[0],
		"v.Word:":     ticket{Word: &text},
		"v.Quoted:":   ticket{Quoted: bad},
		"v.Any[0]:":   ticket{Any: [1]any{&text}},
		"v.x:":        map[string]any{"x": spelled{bad}},
		"v[2]:":       []spelled{{}, {}, {bad}},
		"v[0]:":       []json.RawMessage{json.RawMessage(`"` + bad + `"`)},
		"v.y:":        map[string]*given{"y": {`"` + bad + `"`}},
		"v.z[0]:":     map[string][]given{"z": {{`"\ud800"`}}},
		"v.k:":        map[string]*given{"k": {`{"\udc00x": 1}`}},
	} {
		made, err := sessiond.Struct(map[string]any{"v": value})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("%s %v, %v", path, made, err)
		}
	}
	// What is not sent does not matter, and U+FFFD that was there before is text like any other.
	for name, value := range map[string]any{
		"left out":   ticket{hidden: bad, Left: bad, Bytes: []byte(bad)},
		"U+FFFD":     []word{"\uFFFD"},
		"its escape": []json.RawMessage{json.RawMessage(`"\ufffd"`)},
		"a pair":     []json.RawMessage{json.RawMessage(`"\ud83d\ude00"`)},
		"no escape":  []json.RawMessage{json.RawMessage(`"\\ud800"`)},
		"nothing":    [3]any{(*given)(nil), struct{ *base }{}, word("\uFFFD")},
	} {
		if _, err := sessiond.Struct(map[string]any{"v": value}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheVersionIsTheDaemons(t *testing.T) {
	cmake, err := os.ReadFile("../../CMakeLists.txt")
	if os.IsNotExist(err) {
		t.Skip("The daemon's tree is not here.")
	}
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`project\(sessiond VERSION (\S+)`).FindSubmatch(cmake); found == nil ||
		string(found[1]) != sessiond.Version {
		t.Errorf("The daemon is %s, this client %s", found, sessiond.Version)
	}
}
