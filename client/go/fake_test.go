package sessiond_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// fake is a daemon that answers what a test says, and remembers what it was asked.
type fake struct {
	sessiondv1.UnimplementedSessionServiceServer
	get    func(ctx context.Context, request *sessiondv1.GetSessionRequest) (*sessiondv1.Session, error)
	create func(ctx context.Context, request *sessiondv1.CreateSessionRequest) (*sessiondv1.Session, error)
	list   func(request *sessiondv1.ListSessionsRequest) (*sessiondv1.ListSessionsResponse, error)
	watch  func(request *sessiondv1.WatchSessionsRequest,
		stream grpc.ServerStreamingServer[sessiondv1.WatchSessionsResponse]) error

	quiet bool // Remembers nothing.

	mutex   sync.Mutex
	calls   []call
	address string
}

type call struct {
	metadata  metadata.MD
	deadline  time.Duration // 0 for none.
	requestID string
	at        time.Time
}

func (f *fake) note(ctx context.Context, requestID string) {
	if f.quiet {
		return
	}
	md, _ := metadata.FromIncomingContext(ctx)
	noted := call{metadata: md, requestID: requestID, at: time.Now()}
	if deadline, ok := ctx.Deadline(); ok {
		noted.deadline = time.Until(deadline)
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.calls = append(f.calls, noted)
}

func (f *fake) seen() []call {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]call(nil), f.calls...)
}

func (f *fake) GetSession(ctx context.Context, request *sessiondv1.GetSessionRequest) (*sessiondv1.Session, error) {
	f.note(ctx, "")
	return f.get(ctx, request)
}

func (f *fake) CreateSession(ctx context.Context, request *sessiondv1.CreateSessionRequest) (*sessiondv1.Session,
	error) {
	f.note(ctx, request.GetRequestId())
	return f.create(ctx, request)
}

func (f *fake) ListSessions(ctx context.Context,
	request *sessiondv1.ListSessionsRequest) (*sessiondv1.ListSessionsResponse, error) {
	f.note(ctx, "")
	return f.list(request)
}

func (f *fake) WatchSessions(
	request *sessiondv1.WatchSessionsRequest, stream grpc.ServerStreamingServer[sessiondv1.WatchSessionsResponse],
) error {
	f.note(stream.Context(), "")
	return f.watch(request, stream)
}

// serve starts it, and returns a client of it.
func (f *fake) serve(t testing.TB, options ...sessiond.Option) *sessiond.Client {
	t.Helper()
	f.listen(t)
	client, err := sessiond.Dial(append([]sessiond.Option{sessiond.WithAddress(f.address)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (f *fake) listen(t testing.TB, options ...grpc.ServerOption) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	sessiondv1.RegisterSessionServiceServer(server, f)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	f.address = listener.Addr().String()
}

// refusal is a status as the daemon makes them.
func refusal(code codes.Code, reason, category string, details ...protoadapt.MessageV1) error {
	all := append([]protoadapt.MessageV1{&errdetails.ErrorInfo{
		Reason: reason, Domain: "sessiond", Metadata: map[string]string{"category": category, "session_id": "s1"},
	}}, details...)
	made, err := status.New(code, "A sentence.").WithDetails(all...)
	if err != nil {
		panic(err)
	}
	return made.Err()
}

func retryInfo(delay time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(delay)}
}

// inTurn answers the first call with the first error, and so on; all further ones with a session.
func inTurn(errs ...error) func(context.Context, *sessiondv1.GetSessionRequest) (*sessiondv1.Session, error) {
	var mutex sync.Mutex
	return func(context.Context, *sessiondv1.GetSessionRequest) (*sessiondv1.Session, error) {
		mutex.Lock()
		defer mutex.Unlock()
		if len(errs) == 0 {
			return &sessiondv1.Session{SessionId: "s1"}, nil
		}
		err := errs[0]
		errs = errs[1:]
		return nil, err
	}
}
