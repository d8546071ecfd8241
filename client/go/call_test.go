package sessiond_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/structpb"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

var unavailable = status.Error(codes.Unavailable, "gone for a moment")

func TestAClientHasEveryCallOfTheContract(t *testing.T) {
	client := reflect.TypeFor[*sessiond.Client]()
	calls := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("sessiond.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			for j := range file.Services().Get(i).Methods().Len() {
				method := file.Services().Get(i).Methods().Get(j)
				if _, ok := client.MethodByName(string(method.Name())); !ok {
					t.Errorf("There is no %s", method.FullName())
				}
				calls++
			}
		}
		return true
	})
	if calls < 40 {
		t.Errorf("There are only %d calls", calls)
	}
}

func TestEveryReasonHasAConstantAndIsTheContracts(t *testing.T) {
	// The constants are generated; this holds that they are of this contract.
	if len(sessiondv1.ErrorReason_name) < 40 || sessiond.ReasonSchemaMismatch.String() != "SCHEMA_MISMATCH" {
		t.Error("The reasons are not those of the contract")
	}
}

func TestACallWithoutADeadlineGetsTheClients(t *testing.T) {
	f := &fake{get: inTurn()}
	client := f.serve(t, sessiond.WithTimeout(3*time.Second))
	if _, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := client.GetSession(ctx, &sessiondv1.GetSessionRequest{}); err != nil {
		t.Fatal(err)
	}
	calls := f.seen()
	if d := calls[0].deadline; d <= 0 || d > 3*time.Second {
		t.Errorf("The deadline was %v", d)
	}
	if d := calls[1].deadline; d <= 10*time.Second || d > 20*time.Second {
		t.Errorf("The context's deadline became %v", d)
	}
}

func TestACallThatItsContextEndsSaysSo(t *testing.T) {
	longest, end := context.WithTimeout(t.Context(), time.Minute) // In place of the client's.
	defer end()
	ctx, cancel := context.WithCancelCause(longest)
	cause := errors.New("nobody wants it")
	f := &fake{get: func(ctx context.Context, request *sessiondv1.GetSessionRequest) (*sessiondv1.Session, error) {
		switch request.GetSessionId() {
		case "connects":
			return &sessiondv1.Session{}, nil
		case "is cancelled":
			cancel(cause)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	client := f.serve(t, sessiond.WithTimeout(50*time.Millisecond))
	if _, err := client.GetSession(longest, &sessiondv1.GetSessionRequest{SessionId: "connects"}); err != nil {
		t.Fatal(err)
	}
	_, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
	if !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("It was %v", err)
	}
	_, err = client.GetSession(ctx, &sessiondv1.GetSessionRequest{SessionId: "is cancelled"})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, cause) || status.Code(err) != codes.Canceled {
		t.Errorf("It was %v", err)
	}
	// A daemon that cancels is not the caller.
	hurried := &fake{get: inTurn(status.Error(codes.Canceled, "in a hurry"))}
	_, err = hurried.serve(t).GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
	if errors.Is(err, context.Canceled) || status.Code(err) != codes.Canceled {
		t.Errorf("It was %v", err)
	}
	// The second may have ended before it was sent.
	if n := len(f.seen()); n > 3 {
		t.Errorf("There were %d attempts of three calls", n)
	}
}

func TestARequestIDIsTheSameForAllAttemptsOfACallAndNoOther(t *testing.T) {
	failing := 2
	f := &fake{}
	f.create = func(context.Context, *sessiondv1.CreateSessionRequest) (*sessiondv1.Session, error) {
		if failing--; failing >= 0 {
			return nil, unavailable
		}
		return &sessiondv1.Session{}, nil
	}
	client := f.serve(t)
	request := &sessiondv1.CreateSessionRequest{Session: &sessiondv1.Session{Workflow: "execution"}, Reason: "why"}
	given := proto.CloneOf(request)
	for range 2 {
		if _, err := client.CreateSession(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	if !proto.Equal(given, request) {
		t.Errorf("The caller's request was changed: %v", request)
	}
	request.RequestId = "mine"
	if _, err := client.CreateSession(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	calls := f.seen()
	ids := []string{calls[0].requestID, calls[1].requestID, calls[2].requestID, calls[3].requestID, calls[4].requestID}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(ids[0]) {
		t.Errorf("%q is no UUID", ids[0])
	}
	if ids[0] != ids[1] || ids[1] != ids[2] || ids[3] == ids[2] || ids[3] == "" || ids[4] != "mine" {
		t.Errorf("The request ids were %q", ids)
	}
}

func TestOnlyUnavailableIsTriedAgain(t *testing.T) {
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		f := &fake{get: inTurn(status.Error(code, "once"))}
		client := f.serve(t)
		_, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
		if want := code == codes.Unavailable; (err == nil) != want || (len(f.seen()) == 2) != want {
			t.Errorf("%v: %d attempts, %v", code, len(f.seen()), err)
		}
		if err != nil && status.Code(err) != code {
			t.Errorf("%v became %v", code, err)
		}
	}
}

func TestThePauseIsAsLongAsTheDaemonAsksFor(t *testing.T) {
	pushback := func(ms string) error {
		return refusal(codes.Unavailable, "DRAINING", "TEMPORARY")
	}
	for _, each := range []struct {
		name     string
		err      error
		trailer  string
		least    time.Duration
		most     time.Duration
		attempts int
	}{
		{"nothing", unavailable, "", 25 * time.Millisecond, 90 * time.Millisecond, 2},
		{"RetryInfo", refusal(codes.Unavailable, "DRAINING", "TEMPORARY", retryInfo(300*time.Millisecond)), "",
			300 * time.Millisecond, 900 * time.Millisecond, 2},
		{"a pushback", pushback(""), "250", 250 * time.Millisecond, 900 * time.Millisecond, 2},
		{"a negative pushback", pushback(""), "-1", 0, time.Second, 1},
		{"a pushback that is no number", pushback(""), "soon", 0, time.Second, 1},
		{"longer than the deadline", refusal(codes.Unavailable, "DRAINING", "TEMPORARY", retryInfo(time.Minute)), "",
			0, time.Second, 1},
	} {
		t.Run(each.name, func(t *testing.T) {
			first := true
			f := &fake{}
			f.get = func(ctx context.Context, _ *sessiondv1.GetSessionRequest) (*sessiondv1.Session, error) {
				if !first {
					return &sessiondv1.Session{}, nil
				}
				first = false
				if each.trailer != "" {
					_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", each.trailer))
				}
				return nil, each.err
			}
			var retries []sessiond.Retry
			client := f.serve(t, sessiond.WithOnRetry(func(_ context.Context, retry sessiond.Retry) {
				retries = append(retries, retry)
			}))
			_, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
			calls := f.seen()
			if len(calls) != each.attempts || (err == nil) != (each.attempts == 2) {
				t.Fatalf("%d attempts: %v", len(calls), err)
			}
			if len(retries) != each.attempts-1 {
				t.Errorf("The hook was called %d times", len(retries))
			}
			if each.attempts == 2 {
				// How much longer it was than it was to be is the machine's doing.
				if gap := calls[1].at.Sub(calls[0].at); gap < each.least {
					t.Errorf("The pause was %v", gap)
				}
				if retries[0].Attempt != 1 || retries[0].Pause < each.least || retries[0].Pause > each.most ||
					!errors.Is(retries[0].Err, sessiond.ErrTemporary) {
					t.Errorf("The hook was told %+v", retries[0])
				}
			}
		})
	}
}

func TestPausesGrowAndAreDrawn(t *testing.T) {
	const count = 8
	errs := slices.Repeat([]error{unavailable}, count)
	errs = append(errs, refusal(codes.Unavailable, "DRAINING", "TEMPORARY", retryInfo(time.Hour))) // Ends the call.
	f := &fake{get: inTurn(errs...)}
	var pauses []time.Duration
	client := f.serve(t, sessiond.WithTimeout(time.Minute), sessiond.WithBackoff(10*time.Millisecond,
		40*time.Millisecond),
		sessiond.WithOnRetry(func(_ context.Context, retry sessiond.Retry) { pauses = append(pauses, retry.Pause) }))
	_, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
	if !sessiond.IsReason(err, sessiond.ReasonDraining) {
		t.Errorf("It was %v", err)
	}
	if len(pauses) != count {
		t.Fatalf("The pauses were %v", pauses)
	}
	distinct := map[time.Duration]bool{}
	for i, pause := range pauses {
		most := min(10*time.Millisecond<<min(i, 10), 40*time.Millisecond)
		if pause < most/2 || pause > most+1 {
			t.Errorf("Pause %d was %v, not between %v and %v", i, pause, most/2, most)
		}
		distinct[pause] = true
	}
	if len(distinct) < len(pauses)/2 {
		t.Errorf("The pauses are not drawn: %v", pauses)
	}
}

func TestARefusalHasItsReason(t *testing.T) {
	proxy, err := status.New(codes.NotFound, "a proxy's").WithDetails(
		&errdetails.ErrorInfo{Reason: "DELETED", Domain: "proxy.example",
			Metadata: map[string]string{"category": "USER_FIXABLE"}})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{get: inTurn(
		refusal(codes.NotFound, "DELETED", "USER_FIXABLE"),
		refusal(codes.Internal, "SOMETHING_NEW", "ADMIN_REQUIRED"),
		status.Error(codes.NotFound, "a proxy's"),
		proxy.Err(),
	)}
	client := f.serve(t)
	_, err = client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
	var missing *sessiond.NotFound
	var refused *sessiond.Refusal
	if !errors.As(err, &missing) || !errors.As(err, &refused) || missing.Reason != sessiond.ReasonDeleted ||
		missing.SessionID != "s1" {
		t.Fatalf("It was %#v", err)
	}
	if !sessiond.IsReason(err, sessiond.ReasonArchived, sessiond.ReasonDeleted) ||
		sessiond.IsReason(err, sessiond.ReasonArchived) ||
		sessiond.ReasonOf(err) != sessiond.ReasonDeleted {
		t.Error("Its reason is not told")
	}
	if !errors.Is(err, sessiond.ErrUserFixable) || errors.Is(err, sessiond.ErrTemporary) ||
		status.Code(err) != codes.NotFound {
		t.Error("Its category or code is not told")
	}
	if refused.Error() != "sessiond: GetSession: DELETED: A sentence." ||
		refused.FixableBy() != "whoever sent the request" ||
		refused.Metadata["category"] != "" {
		t.Errorf("It says %v", refused)
	}

	_, err = client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
	if !errors.As(err, &refused) || refused.Reason != sessiond.ReasonUnknown || refused.Name != "SOMETHING_NEW" ||
		!errors.Is(err, sessiond.ErrAdminRequired) || sessiond.IsReason(err, sessiond.ReasonUnknown) {
		t.Errorf("It was %#v", err)
	}

	for range 2 {
		_, err = client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
		if errors.As(err, &refused) || errors.As(err, &missing) || status.Code(err) != codes.NotFound {
			t.Errorf("What did not come from the daemon is taken for its refusal: %v", err)
		}
	}
}

func TestATraceIsPassedOn(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	f := &fake{get: inTurn()}
	client := f.serve(t)
	incoming := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", parent, "authorization", "secret"))
	for i, each := range []struct {
		ctx  context.Context
		want []string
	}{
		{t.Context(), nil},
		{sessiond.ContextWithTraceparent(t.Context(), parent, "a=b"), []string{parent, "a=b"}},
		{incoming, []string{parent}},
		{metadata.AppendToOutgoingContext(incoming, "traceparent", "own"), []string{"own"}},
	} {
		if _, err := client.GetSession(each.ctx, &sessiondv1.GetSessionRequest{}); err != nil {
			t.Fatal(err)
		}
		md := f.seen()[i].metadata
		if got := append(md.Get("traceparent"), md.Get("tracestate")...); !reflect.DeepEqual(got, each.want) &&
			len(got)+len(each.want) > 0 {
			t.Errorf("%d: %q was sent instead of %q", i, got, each.want)
		}
		if len(md.Get("authorization")) != 0 {
			t.Errorf("%d: the request's own authorization was passed on", i)
		}
	}
	if agent := f.seen()[0].metadata.Get("user-agent")[0]; !strings.HasPrefix(agent, "sessiond-go/"+sessiond.Version+" ") {
		t.Errorf("The user agent is %q", agent)
	}
}

func TestAHeaderOfTheTraceThatCannotBeSentIsLeftOutAndLogged(t *testing.T) {
	for name, each := range map[string]struct{ key, value string }{
		"a value of two lines":     {"traceparent", "no\ntrace"},
		"a value that is no ASCII": {"traceparent", "\u00e4"},
		"a key that is none":       {"trace parent", "00"},
		"no key":                   {"", "00"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			f := &fake{get: inTurn()}
			client := f.serve(t, sessiond.WithLogger(slog.New(slog.NewTextHandler(&log, nil))),
				sessiond.WithPropagator(func(_ context.Context, set func(key, value string)) {
					set(each.key, each.value)
					set("Tracestate", "a=b, c")
					set("trace-bin", "\x00")
				}))
			if _, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{}); err != nil {
				t.Fatal(err)
			}
			md := f.seen()[0].metadata
			if len(md.Get(each.key)) != 0 || !reflect.DeepEqual(md.Get("tracestate"), []string{"a=b, c"}) ||
				!reflect.DeepEqual(md.Get("trace-bin"), []string{"\x00"}) {
				t.Errorf("Sent was %v", md)
			}
			if !strings.Contains(log.String(), "level=WARN msg=\"header of the trace is not sent\"") {
				t.Errorf("The log is\n%s", log.String())
			}
		})
	}
}

func TestALogHasCallsAndNoSecrets(t *testing.T) {
	var log bytes.Buffer
	f := &fake{get: inTurn(unavailable)}
	client := f.serve(t, sessiond.WithToken("canary"),
		sessiond.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	if _, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{SessionId: "canary"}); err != nil {
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, `msg="call is tried again"`) || !strings.Contains(text, "code=OK") ||
		!strings.Contains(text, "attempts=2") || strings.Contains(text, "canary") {
		t.Errorf("The log is\n%s", text)
	}
}

func TestAListIsReadPageByPageAsItIsNeeded(t *testing.T) {
	asked := []string{}
	f := &fake{list: func(request *sessiondv1.ListSessionsRequest) (*sessiondv1.ListSessionsResponse, error) {
		asked = append(asked, request.GetPageToken()+"/"+request.GetFilter())
		page, _ := strconv.Atoi(request.GetPageToken())
		switch page {
		case 1: // An empty page that is not the last.
			return &sessiondv1.ListSessionsResponse{NextPageToken: "2"}, nil
		case 3:
			return nil, refusal(codes.InvalidArgument, "INVALID_PAGE_TOKEN", "USER_FIXABLE")
		}
		return &sessiondv1.ListSessionsResponse{
			Sessions:      []*sessiondv1.Session{{SessionId: "a" + strconv.Itoa(page)}, {SessionId: "b" + strconv.Itoa(page)}},
			NextPageToken: strconv.Itoa(page + 1),
		}, nil
	}}
	client := f.serve(t)
	request := &sessiondv1.ListSessionsRequest{Filter: "f"}
	for session, err := range client.Sessions(t.Context(), request) {
		if err != nil || session.GetSessionId() != "a0" {
			t.Fatal(session, err)
		}
		break
	}
	if len(asked) != 1 || request.GetPageToken() != "" {
		t.Errorf("Asked for %q; the request became %v", asked, request)
	}
	asked = nil
	var got []string
	var last error
	for session, err := range client.Sessions(t.Context(), request) {
		got, last = append(got, session.GetSessionId()), err
	}
	if !reflect.DeepEqual(got, []string{"a0", "b0", "a2", "b2", ""}) ||
		!sessiond.IsReason(last, sessiond.ReasonInvalidPageToken) ||
		!reflect.DeepEqual(asked, []string{"/f", "1/f", "2/f", "3/f"}) || request.GetPageToken() != "" {
		t.Errorf("%q came, then %v, of the pages %q", got, last, asked)
	}
}

func TestTextThatIsNotUTF8IsRefusedByItsPlace(t *testing.T) {
	f := &fake{}
	client := f.serve(t)
	bad := "a\xff"
	list, err := structpb.NewList([]any{"", map[string]any{"b": ""}})
	if err != nil {
		t.Fatal(err)
	}
	list.Values[1].GetStructValue().Fields["b"] = structpb.NewStringValue(bad)
	for place, session := range map[string]*sessiondv1.Session{
		"session.owner_id":             {OwnerId: bad},
		"session.labels.x":             {Labels: map[string]string{"x": bad}},
		"session.labels":               {Labels: map[string]string{bad: "x"}},
		"session.files[1].uri":         {Files: []*sessiondv1.SessionArtifact{{}, {Uri: bad}}},
		"session.current_task.task_id": {CurrentTask: &sessiondv1.SessionTask{TaskId: bad}},
		"session.context.a[1].b": {Context: &structpb.Struct{Fields: map[string]*structpb.Value{
			"a": structpb.NewListValue(list)}}},
	} {
		_, err := client.CreateSession(t.Context(), &sessiondv1.CreateSessionRequest{Session: session})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), ": "+place+": it is not UTF-8") {
			t.Errorf("%s: %v", place, err)
		}
	}
	if calls := f.seen(); len(calls) != 0 {
		t.Errorf("It was sent: %v", calls)
	}
}
