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
