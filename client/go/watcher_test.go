package sessiond_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondtest"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

type watchStream = grpc.ServerStreamingServer[sessiondv1.WatchSessionsResponse]

// send sends responses: `session`, `bookmark`, `heartbeat`, or the sequence of a change, each with a token of its own.
func send(stream watchStream, token string, what string) error {
	response := &sessiondv1.WatchSessionsResponse{ResumeToken: token}
	switch what {
	case "session":
		response.Kind = &sessiondv1.WatchSessionsResponse_Session{Session: &sessiondv1.Session{SessionId: token}}
	case "bookmark":
		response.Kind = &sessiondv1.WatchSessionsResponse_Bookmark{Bookmark: &sessiondv1.WatchBookmark{}}
	case "heartbeat":
		response.Kind = &sessiondv1.WatchSessionsResponse_Heartbeat{Heartbeat: &sessiondv1.WatchHeartbeat{}}
	default:
		response.Kind = &sessiondv1.WatchSessionsResponse_Change{Change: &sessiondv1.SessionChange{}}
	}
	return stream.Send(response)
}

// collect goes through a watch and answers with the tokens of what came, and the error at the end.
func collect(watch *sessiond.Watcher, most int) (tokens []string, err error) {
	for response, err := range watch.Responses() {
		if err != nil {
			return tokens, err
		}
		token := response.GetResumeToken()
		if response.GetBookmark() != nil {
			token += "=bookmark"
		}
		if tokens = append(tokens, token); len(tokens) == most {
			break
		}
	}
	return tokens, nil
}

func TestAWatchResumesBehindWhatPassesAndEndsOnWhatCannot(t *testing.T) {
	passing := []error{
		nil, // The end of the stream, without an error.
		status.Error(codes.Unavailable, ""), status.Error(codes.Internal, "RST_STREAM"), status.Error(codes.Unknown, ""),
		status.Error(codes.Canceled, ""), status.Error(codes.DeadlineExceeded, ""),
		refusal(codes.Unavailable, "DRAINING", "TEMPORARY"), refusal(codes.ResourceExhausted, "OVERLOADED", "TEMPORARY"),
	}
	for _, final := range []error{
		refusal(codes.OutOfRange, "RESUME_TOKEN_EXPIRED", "USER_FIXABLE"),
		refusal(codes.Internal, "SCHEMA_MISMATCH", "ADMIN_REQUIRED"),
		status.Error(codes.PermissionDenied, ""), status.Error(codes.Unimplemented, ""),
	} {
		var asked []string
		stream := 0
		f := &fake{watch: func(request *sessiondv1.WatchSessionsRequest, to watchStream) error {
			asked = append(asked, fmt.Sprintf("%s/%v", request.GetResumeToken(), request.GetInitialState()))
			stream++
			if stream == 1 {
				_ = send(to, "s", "session")
			}
			_ = send(to, fmt.Sprintf("b%d", stream), "bookmark")
			_ = send(to, fmt.Sprintf("c%d", stream), "change")
			_ = send(to, fmt.Sprintf("h%d", stream), "heartbeat")
			if stream > len(passing) {
				return final
			}
			return passing[stream-1]
		}}
		client := f.serve(t, sessiond.WithBackoff(time.Millisecond, 2*time.Millisecond))
		watch := client.Watch(t.Context(), &sessiondv1.WatchSessionsRequest{InitialState: true})
		tokens, err := collect(watch, 0)
		if want := []string{"s", "b1=bookmark", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8",
			"c9"}; !reflect.DeepEqual(tokens, want) {
			t.Errorf("There came %q", tokens)
		}
		want := []string{"/true", "h1/false", "h2/false", "h3/false", "h4/false", "h5/false", "h6/false", "h7/false",
			"h8/false"}
		if !reflect.DeepEqual(asked, want) {
			t.Errorf("The streams began at %q", asked)
		}
		if status.Code(err) != status.Code(final) || errors.Is(err, context.Canceled) || watch.ResumeToken() != "h9" {
			t.Errorf("It ended at %s with %v instead of %v", watch.ResumeToken(), err, final)
		}
	}
}

func TestAWatchSaysWhenTheInitialStateIsToldAnew(t *testing.T) {
	streams := 0
	f := &fake{watch: func(_ *sessiondv1.WatchSessionsRequest, to watchStream) error {
		streams++
		_ = send(to, fmt.Sprintf("s%d", streams), "session")
		if streams == 1 {
			return unavailable
		}
		_ = send(to, fmt.Sprintf("b%d", streams), "bookmark")
		if streams == 2 {
			return unavailable
		}
		return status.Error(codes.Unimplemented, "")
	}}
	restarts, retries := 0, 0
	client := f.serve(t)
	tokens, _ := collect(client.Watch(t.Context(), &sessiondv1.WatchSessionsRequest{InitialState: true},
		sessiond.WithOnRestart(func() { restarts++ }),
		sessiond.WithOnWatchRetry(func(err error, pause time.Duration) { retries++ })), 0)
	if want := []string{"s1", "s2", "b2=bookmark", "s3"}; !reflect.DeepEqual(tokens, want) || restarts != 1 ||
		retries != 2 {
		t.Errorf("There came %q, with %d restarts and %d retries", tokens, restarts, retries)
	}
}

func TestAWatchGoesOnOverAnotherConnectionBehindSilence(t *testing.T) {
	t.Parallel()
	var peers []string
	f := &fake{}
	f.watch = func(request *sessiondv1.WatchSessionsRequest, to watchStream) error {
		from, _ := peer.FromContext(to.Context())
		peers = append(peers, from.Addr.String())
		if len(peers) == 1 {
			_ = send(to, "b", "bookmark")
			<-to.Context().Done() // Silence.
			return nil
		}
		_ = send(to, "c"+request.GetResumeToken(), "change")
		return status.Error(codes.Unimplemented, "")
	}
	client := f.serve(t)
	const silence = 5 * time.Second
	began := time.Now()
	tokens, _ := collect(client.Watch(t.Context(), &sessiondv1.WatchSessionsRequest{},
		sessiond.WithSilence(silence)), 0)
	if want := []string{"b=bookmark", "cb"}; !reflect.DeepEqual(tokens, want) {
		t.Errorf("There came %q", tokens)
	}
	if len(peers) != 2 || peers[0] == peers[1] {
		t.Errorf("The connections were %q", peers)
	}
	if took := time.Since(began); took < silence || took > time.Minute {
		t.Errorf("It took %v", took)
	}
}

func TestALoopThatTakesItsTimeIsNoSilence(t *testing.T) {
	t.Parallel()
	streams := 0
	f := &fake{watch: func(_ *sessiondv1.WatchSessionsRequest, to watchStream) error {
		streams++
		_ = send(to, "1", "change")
		_ = send(to, "2", "change")
		return status.Error(codes.Unimplemented, "")
	}}
	client := f.serve(t)
	const silence = 5 * time.Second // It includes the connection's making.
	for _, err := range client.Watch(t.Context(), &sessiondv1.WatchSessionsRequest{},
		sessiond.WithSilence(silence)).Responses() {
		if err != nil || streams != 1 {
			break
		}
		time.Sleep(silence + time.Second) // Longer than the silence that is borne: the loop's own time, not the daemon's.
	}
	if streams != 1 {
		t.Errorf("There were %d streams", streams)
	}
}

func TestWhereALoopIsLeftItGoesOn(t *testing.T) {
	var asked []string
	f := &fake{watch: func(request *sessiondv1.WatchSessionsRequest, to watchStream) error {
		asked = append(asked, request.GetResumeToken())
		from := 0
		_, _ = fmt.Sscan(request.GetResumeToken(), &from)
		for i := from + 1; i <= 4; i++ {
			what := "change"
			if i == 1 {
				what = "bookmark"
			}
			_ = send(to, fmt.Sprint(i), what)
		}
		return status.Error(codes.Unimplemented, "")
	}}
	client := f.serve(t)
	file := filepath.Join(t.TempDir(), "token")
	watch := client.Watch(t.Context(), &sessiondv1.WatchSessionsRequest{InitialState: true},
		sessiond.WithPosition(sessiond.PositionFile(file)))
	first, _ := collect(watch, 1)
	second, _ := collect(watch, 2)
	saved, _ := os.ReadFile(file)
	// Another program, that starts where this one was.
	watch = client.Watch(t.Context(), &sessiondv1.WatchSessionsRequest{InitialState: true},
		sessiond.WithPosition(sessiond.PositionFile(file)))
	third, _ := collect(watch, 0)
	if got, want := [][]string{first, second, third}, [][]string{{"1=bookmark"}, {"1=bookmark", "2"}, {"2", "3",
		"4"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("There came %q", got)
	}
	if !reflect.DeepEqual(asked, []string{"", "", "1"}) || string(saved) != "1\n" || watch.ResumeToken() != "4" {
		t.Errorf("The streams began at %q; saved was %q, at the end %q", asked, saved, watch.ResumeToken())
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) != 0 {
		t.Errorf("%q are left", left)
	}
}

func TestAPositionThatCannotBeSavedEndsTheWatch(t *testing.T) {
	f := &fake{watch: func(_ *sessiondv1.WatchSessionsRequest, to watchStream) error {
		_ = send(to, "1", "change")
		<-to.Context().Done()
		return nil
	}}
	watch := f.serve(t).Watch(t.Context(), &sessiondv1.WatchSessionsRequest{},
		sessiond.WithPosition(sessiond.PositionFile(filepath.Join(t.TempDir(), "no", "folder"))))
	if tokens, err := collect(watch, 0); len(tokens) != 1 || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("There came %q, then %v", tokens, err)
	}
}

func TestAWatchEndsWithItsContextAndWithItsClient(t *testing.T) {
	f := &fake{watch: func(_ *sessiondv1.WatchSessionsRequest, to watchStream) error {
		_ = send(to, "1", "change")
		<-to.Context().Done()
		return nil
	}}
	client := f.serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := collect(client.Watch(ctx, &sessiondv1.WatchSessionsRequest{}), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("With its context: %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = client.Close() })
	if _, err := collect(client.Watch(t.Context(), &sessiondv1.WatchSessionsRequest{}), 0); !errors.Is(err,
		sessiond.ErrClosed) {
		t.Errorf("With its client: %v", err)
	}
}

func TestAWatchMissesAndRepeatsNothingHoweverItsConnectionsAreCut(t *testing.T) {
	server := daemon(t)
	client := server.Client()
	defer client.Close()
	session, err := client.Create(t.Context(), sessiond.NewSession{Workflow: "interview", OwnerID: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	const changes, cutsAtLeast = 200, 3
	proxy := sessiondtest.NewProxy(t, server.Address)
	// A cut hits nothing while the watch pauses.
	watching, err := sessiond.Dial(sessiond.WithAddress(proxy.Address),
		sessiond.WithBackoff(time.Millisecond, 2*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer watching.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cuts := 0
	watch := watching.Watch(ctx, &sessiondv1.WatchSessionsRequest{SessionIds: []string{session.GetSessionId()},
		InitialState: true},
		sessiond.WithOnWatchRetry(func(error, time.Duration) { cuts++ }))
	failed := make(chan error, 1)
	var enough atomic.Bool
	var sequences []int32
	for response, err := range watch.Responses() {
		if err != nil {
			t.Fatalf("Behind %d changes and %d cuts: %v", len(sequences), cuts, err)
		}
		if response.GetBookmark() != nil {
			go func() {
				for i := 0; !enough.Load(); i++ {
					_, err := client.Update(ctx, session.GetSessionId(),
						sessiond.Changes{SetLabels: map[string]string{"n": fmt.Sprint(i)}})
					if err != nil {
						failed <- err
						return
					}
					if i%25 == 10 {
						proxy.Cut()
					}
				}
				failed <- nil
			}()
		}
		if event := response.GetChange().GetEvent(); event != nil {
			sequences = append(sequences, event.GetSequence())
			if len(sequences) >= changes && cuts >= cutsAtLeast {
				break
			}
		}
	}
	enough.Store(true)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	for i, sequence := range sequences {
		if sequence != int32(i)+2 {
			t.Fatalf("Event %d came as number %d: %v", sequence, i, sequences)
		}
	}
}

func TestWhatIsSavedIsOneLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	tokens := sessiond.PositionFile(file)
	if token, err := tokens.Load(t.Context()); token != "" || err != nil {
		t.Errorf("Without a file: %q, %v", token, err)
	}
	if err := errors.Join(tokens.Save(t.Context(), "one"), tokens.Save(t.Context(), "two")); err != nil {
		t.Fatal(err)
	}
	if token, err := tokens.Load(t.Context()); token != "two" || err != nil {
		t.Errorf("%q, %v", token, err)
	}
	if content, _ := os.ReadFile(file); strings.Count(string(content), "\n") != 1 {
		t.Errorf("%q", content)
	}
}

func TestAWatchWhoseRequestCannotBeSentEnds(t *testing.T) {
	f := &fake{watch: func(*sessiondv1.WatchSessionsRequest,
		grpc.ServerStreamingServer[sessiondv1.WatchSessionsResponse]) error {
		return nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := f.serve(t).Watch(ctx, &sessiondv1.WatchSessionsRequest{SessionIds: []string{"\xff"}},
		sessiond.WithOnWatchRetry(func(err error, _ time.Duration) {
			t.Errorf("It is tried again: %v", err)
			cancel()
		}))
	for response, err := range watch.Responses() {
		if err == nil || !strings.Contains(err.Error(), "session_ids") || status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v, %v", response, err)
		}
	}
}
