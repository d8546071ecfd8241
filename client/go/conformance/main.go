// Command conformance is the adapter of this client for the conformance suite: it answers requests on stdin, JSON
// lines, on stdout. docs/conformance.md of the project says what they are.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

type object = map[string]any

type request struct {
	ID      int             `json:"id"`
	Op      string          `json:"op"`
	Client  string          `json:"client"`
	Args    json.RawMessage `json:"args"`
	Options struct {
		TimeoutS float64 `json:"timeout_s"`
		Take     *int    `json:"take"`
		SilenceS float64 `json:"silence_s"`
	} `json:"options"`
}

// unsupported is the error of an op that this adapter does not know.
type unsupported string

func (u unsupported) Error() string { return string(u) }

type adapter struct {
	mutex   sync.Mutex
	clients map[string]*sessiond.Client
	watches map[string]*watch
}

func main() {
	a := &adapter{clients: map[string]*sessiond.Client{}, watches: map[string]*watch{}}
	var out sync.Mutex
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		go func() {
			answer := a.answer(line)
			out.Lock()
			defer out.Unlock()
			_ = json.NewEncoder(os.Stdout).Encode(answer)
		}()
	}
}

func (a *adapter) answer(line []byte) (answer object) {
	var r request
	if err := json.Unmarshal(line, &r); err != nil {
		return object{"broken": err.Error()}
	}
	defer func() {
		if trouble := recover(); trouble != nil {
			answer = object{"id": r.ID, "broken": fmt.Sprint(trouble)}
		}
	}()
	ok, err := a.do(r)
	var unknown unsupported
	switch {
	case err == nil:
		return object{"id": r.ID, "ok": ok}
	case errors.As(err, &unknown):
		return object{"id": r.ID, "unsupported": err.Error()}
	}
	if _, typed := status.FromError(err); !typed && !errors.Is(err, context.Canceled) {
		return object{"id": r.ID, "broken": err.Error()}
	}
	return object{"id": r.ID, "error": describe(err)}
}

func describe(err error) object {
	code := status.Code(err)
	described := object{
		"code": strings.ToUpper(snake(code.String())), "class": code.String(), "reason": "", "category": "",
		"message": status.Convert(err).Message(), "metadata": object{}, "fields": []string{},
		"retry_after_s": nil, "from_daemon": false,
	}
	if code == codes.Canceled {
		described["code"], described["class"] = "CANCELLED", "Cancelled"
	}
	var refusal *sessiond.Refusal
	if !errors.As(err, &refusal) {
		return described
	}
	fields := []string{}
	for _, field := range refusal.Fields {
		fields = append(fields, field.Path)
	}
	described["reason"], described["category"] = refusal.Name, refusal.Category
	described["message"], described["metadata"] = refusal.Message, refusal.Metadata
	described["fields"], described["from_daemon"] = fields, true
	if refusal.RetryAfter > 0 {
		described["retry_after_s"] = refusal.RetryAfter.Seconds()
	}
	if missing := (*sessiond.NotFound)(nil); code == codes.NotFound && !errors.As(err, &missing) {
		described["class"] = "Refusal" // The library's type for these was not there.
	}
	return described
}

func (a *adapter) do(r request) (any, error) {
	switch r.Op {
	case "hello":
		return object{"language": "go", "version": sessiond.Version, "protocol": 1}, nil
	case "connect":
		return a.connect(r)
	}
	a.mutex.Lock()
	client := a.clients[r.Client]
	a.mutex.Unlock()
	if client == nil {
		return nil, fmt.Errorf("there is no client %q", r.Client)
	}
	ctx := context.Background()
	if r.Options.TimeoutS > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, seconds(r.Options.TimeoutS))
		defer cancel()
	}
	switch {
	case r.Op == "disconnect":
		return object{}, client.Close()
	case strings.HasPrefix(r.Op, "watch_"):
		return a.watch(client, r)
	case r.Op == "run_task":
		return runTask(ctx, client, r)
	case r.Op == "list_recoverable_sessions":
		response, err := call(ctx, client, r)
		if err != nil {
			return nil, err
		}
		return items(response.(*sessiondv1.ListRecoverableSessionsResponse).GetSessions()), nil
	case strings.HasPrefix(r.Op, "list_"):
		return list(ctx, client, r)
	}
	response, err := call(ctx, client, r)
	if err != nil {
		return nil, err
	}
	return plain(response), nil
}

func (a *adapter) connect(r request) (any, error) {
	var args struct {
		Address       string
		Environment   map[string]string
		TimeoutS      float64 `json:"timeout_s"`
		Token         string
		TokenCallback bool   `json:"token_callback"`
		CAFile        string `json:"ca_file"`
		CertFile      string `json:"cert_file"`
		KeyFile       string `json:"key_file"`
		Traceparent   string
	}
	if err := unmarshal(r.Args, &args); err != nil {
		return nil, err
	}
	options := []sessiond.Option{
		sessiond.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	}
	if args.Address != "" {
		options = append(options, sessiond.WithAddress(args.Address))
	}
	if args.TimeoutS > 0 {
		options = append(options, sessiond.WithTimeout(seconds(args.TimeoutS)))
	}
	if args.Token != "" {
		options = append(options, sessiond.WithToken(args.Token))
	}
	if args.TokenCallback {
		var mutex sync.Mutex
		asked := 0
		options = append(options, sessiond.WithTokenSource(func(context.Context) (string, error) {
			mutex.Lock()
			defer mutex.Unlock()
			asked++
			return fmt.Sprintf("token-%d", asked), nil
		}))
	}
	if args.CAFile != "" {
		options = append(options, sessiond.WithTLSFiles(args.CAFile, args.CertFile, args.KeyFile))
	}
	if args.Traceparent != "" {
		options = append(options, sessiond.WithPropagator(func(_ context.Context, set func(key, value string)) {
			set("traceparent", args.Traceparent)
		}))
	}
	for name, value := range args.Environment {
		_ = os.Setenv(name, value)
		defer os.Unsetenv(name)
	}
	client, err := sessiond.Dial(options...)
	if err != nil {
		return nil, err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	a.clients[r.Client] = client
	return object{}, nil
}

// call makes the unary call whose RPC the op is named after.
func call(ctx context.Context, client *sessiond.Client, r request) (proto.Message, error) {
	method := reflect.ValueOf(client).MethodByName(camel(r.Op))
	if !method.IsValid() {
		return nil, unsupported("there is no call " + r.Op)
	}
	message, err := messageOf(method, r.Args)
	if err != nil {
		return nil, err
	}
	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), message})
	if err, _ := results[1].Interface().(error); err != nil {
		return nil, err
	}
	return results[0].Interface().(proto.Message), nil
}

// list goes through the iterator of an RPC: list_session_events is Events.
func list(ctx context.Context, client *sessiond.Client, r request) (any, error) {
	name := strings.TrimPrefix(r.Op, "list_")
	if name == "session_events" {
		name = "events"
	}
	method := reflect.ValueOf(client).MethodByName(camel(name))
	if !method.IsValid() {
		return nil, unsupported("there is no list " + r.Op)
	}
	message, err := messageOf(method, r.Args)
	if err != nil {
		return nil, err
	}
	found := []proto.Message{}
	if r.Options.Take != nil && *r.Options.Take == 0 {
		return items(found), nil
	}
	for item, failed := range method.Call([]reflect.Value{reflect.ValueOf(ctx), message})[0].Seq2() {
		if err, _ := failed.Interface().(error); err != nil {
			return nil, err
		}
		found = append(found, item.Interface().(proto.Message))
		if r.Options.Take != nil && len(found) == *r.Options.Take {
			break
		}
	}
	return items(found), nil
}

func items[Message proto.Message](messages []Message) object {
	all := []any{}
	for _, message := range messages {
		all = append(all, plain(message))
	}
	return object{"items": all}
}

// messageOf makes the second argument of a method of JSON.
func messageOf(method reflect.Value, args json.RawMessage) (reflect.Value, error) {
	value := reflect.New(method.Type().In(1).Elem())
	return value, read(args, value.Interface().(proto.Message))
}

// read takes a message's JSON, in which a mask is a list.
func read(args json.RawMessage, message proto.Message) error {
	if len(args) == 0 {
		return nil
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(args, &fields); err != nil {
		return err
	}
	var paths []string
	if update, ok := message.(*sessiondv1.UpdateSessionRequest); ok && fields["update_mask"] != nil {
		if err := json.Unmarshal(fields["update_mask"], &paths); err != nil {
			return err
		}
		delete(fields, "update_mask")
		defer func() { update.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths} }()
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, message)
}

func plain(message proto.Message) json.RawMessage {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		panic(err)
	}
	return text
}

func unmarshal(args json.RawMessage, into any) error {
	if len(args) == 0 {
		return nil
	}
	return json.Unmarshal(args, into)
}

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

// camel is GetSession of get_session; snake is Get_Session of GetSession.
func camel(name string) string {
	var out strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		out.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return out.String()
}

func snake(name string) string {
	var out strings.Builder
	for i, letter := range name {
		if i > 0 && 'A' <= letter && letter <= 'Z' {
			out.WriteByte('_')
		}
		out.WriteRune(letter)
	}
	return out.String()
}
