package sessiond

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// Client makes calls to the daemon. It has every RPC as a method: those of the embedded interfaces, whose comments say
// what they answer. It is safe for concurrent use, and one is enough for a program.
//
// To test without a daemon, put an implementation of your own into one of the embedded interfaces; to test with
// one, see package sessiondtest.
type Client struct {
	sessiondv1.SessionServiceClient
	sessiondv1.TaskServiceClient
	sessiondv1.ErrorServiceClient
	sessiondv1.MessageServiceClient
	sessiondv1.ArtifactServiceClient
	sessiondv1.WorkflowServiceClient
	sessiondv1.AdminServiceClient

	conn *conn
	// Another connection to the same daemons; nil for a Client made by New.
	redial func() (*grpc.ClientConn, error)
	close  func() error
	// Ends with Close: what goes on by itself ends with it.
	open context.Context
	end  context.CancelCauseFunc
}

// ErrClosed ends the watches and tasks of a client that was closed.
var ErrClosed = errors.New("sessiond: the client is closed")

// Option says how a [Client] connects and calls.
type Option func(*config)

type config struct {
	address     string
	credentials credentials.TransportCredentials // nil: plaintext.
	token       TokenSource
	plainToken  bool
	timeout     time.Duration
	backoffMin  time.Duration
	backoffMax  time.Duration
	logger      *slog.Logger
	onRetry     func(ctx context.Context, retry Retry)
	propagate   func(ctx context.Context, set func(key, value string))
	dialOptions []grpc.DialOption
	err         error // Of the first option that cannot be taken.
}

func (c *config) refuse(err error) {
	if c.err == nil {
		c.err = err
	}
}

// WithAddress names the daemon: HOST:PORT, unix:/PATH, or a target of gRPC such as dns:///HOST:PORT. Without it, Dial
// takes the variable SESSIOND_SERVER; without that, 127.0.0.1:7377.
func WithAddress(address string) Option {
	return func(c *config) {
		if address == "" {
			c.refuse(errors.New("sessiond: WithAddress: the address is empty: give HOST:PORT, or leave the option out"))
		}
		c.address = address
	}
}

// WithTimeout is how long a call may take in all, including its retries, when its context has no deadline. Without it,
// 10 seconds. Streams have none.
func WithTimeout(timeout time.Duration) Option {
	return func(c *config) { c.timeout = timeout }
}

// WithBackoff is the pause before the first retry and the longest one. Pauses double, and each is drawn between
// half and the whole of that, so that many clients do not return at the same time; if the daemon asks for a longer
// one, it gets it. Without it, 50 milliseconds and 2 seconds.
func WithBackoff(first, longest time.Duration) Option {
	return func(c *config) { c.backoffMin, c.backoffMax = first, longest }
}

// WithLogger logs retries, resumed watches and tasks at their turns, and at level Debug every call with its method,
// duration and code. Neither payloads nor tokens are logged.
func WithLogger(logger *slog.Logger) Option {
	return func(c *config) { c.logger = logger }
}

// Retry is a call that is about to be made again.
type Retry struct {
	Method  string // For example /sessiond.v1.SessionService/GetSession.
	Attempt int    // The attempt that failed: 1 for the first.
	Err     error
	Pause   time.Duration
}

// WithOnRetry is called for every retry, before its pause: for counters. If it panics, so does the call; see
// [WithPropagator].
func WithOnRetry(onRetry func(ctx context.Context, retry Retry)) Option {
	return func(c *config) { c.onRetry = onRetry }
}

// WithPropagator is called for every call, and sets the headers that carry its trace: `traceparent`, `tracestate`,
// `baggage`. It replaces the default, which is described at [ContextWithTraceparent]. What no header takes is not sent,
// and that is logged.
//
// If it panics, so does the call: that is the program's to see. In a call of [Client.RunTask] the task is failed first.
// It runs in the goroutine of the call; for heartbeats that is one of this package's, where no recover of yours is.
//
//	sessiond.WithPropagator(func(ctx context.Context, set func(key, value string)) {
//		carrier := propagation.MapCarrier{}
//		otel.GetTextMapPropagator().Inject(ctx, carrier)
//		for key, value := range carrier {
//			set(key, value)
//		}
//	})
func WithPropagator(propagate func(ctx context.Context, set func(key, value string))) Option {
	return func(c *config) { c.propagate = propagate }
}

// WithDialOptions are options of gRPC for [Dial]; they come behind those that Dial gives by itself.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(c *config) { c.dialOptions = append(c.dialOptions, options...) }
}

func configOf(options []Option) config {
	c := config{
		timeout:    10 * time.Second,
		backoffMin: 50 * time.Millisecond,
		backoffMax: 2 * time.Second,
		logger:     slog.New(slog.DiscardHandler),
		propagate:  propagateTraceparent,
	}
	for _, option := range options {
		option(&c)
	}
	return c
}

// Dial returns a client of the daemon that [WithAddress] or SESSIOND_SERVER names. It does not wait for a connection:
// the first call does. The connection is plaintext unless [WithTLS] or [WithTLSFiles] is given. Calls carry a token if
// [WithToken], [WithTokenSource], [WithTokenFile] or the variable SESSIOND_TOKEN_FILE gives one.
func Dial(options ...Option) (*Client, error) {
	c := configOf(options)
	if c.err != nil {
		return nil, c.err
	}
	if c.address == "" {
		c.address = os.Getenv("SESSIOND_SERVER")
	}
	if c.address == "" {
		c.address = "127.0.0.1:7377"
	}
	if err := checkAddress(c.address); err != nil {
		return nil, err
	}
	if path := os.Getenv("SESSIOND_TOKEN_FILE"); c.token == nil && path != "" {
		c.token = FileToken(path)
	}
	transport := c.credentials
	if transport == nil {
		transport = insecure.NewCredentials()
		if c.token != nil && !c.plainToken && !isLocal(c.address) {
			return nil, errors.New("sessiond: a token would be sent to " + c.address +
				" without encryption: use WithTLS or WithTLSFiles, or WithPlaintextToken where a proxy beside you encrypts")
		}
	}
	dialOptions := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithUserAgent("sessiond-go/" + Version),
		// Retries are this package's: a policy that a resolver brings would multiply them.
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		// Back soon after the daemon was restarted.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2,
				MaxDelay: 2 * time.Second},
			MinConnectTimeout: time.Second,
		}),
		// Finds a peer that died without a word; the daemon accepts a ping a second.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
	if c.token != nil {
		dialOptions = append(dialOptions, grpc.WithPerRPCCredentials(bearer{source: c.token}))
	}
	dialOptions = append(dialOptions, c.dialOptions...)
	redial := func() (*grpc.ClientConn, error) { return grpc.NewClient(c.address, dialOptions...) }
	inner, err := redial()
	if err != nil {
		return nil, err
	}
	client := newClient(inner, c)
	client.redial = redial
	client.close = inner.Close
	return client, nil
}

// New returns a client over a connection of your own, which stays yours to close. Options about the connection are not
// for it.
func New(inner grpc.ClientConnInterface, options ...Option) *Client {
	return newClient(inner, configOf(options))
}

func newClient(inner grpc.ClientConnInterface, c config) *Client {
	conn := &conn{inner: inner, config: c}
	open, end := context.WithCancelCause(context.Background())
	return &Client{
		SessionServiceClient:  sessiondv1.NewSessionServiceClient(conn),
		TaskServiceClient:     sessiondv1.NewTaskServiceClient(conn),
		ErrorServiceClient:    sessiondv1.NewErrorServiceClient(conn),
		MessageServiceClient:  sessiondv1.NewMessageServiceClient(conn),
		ArtifactServiceClient: sessiondv1.NewArtifactServiceClient(conn),
		WorkflowServiceClient: sessiondv1.NewWorkflowServiceClient(conn),
		AdminServiceClient:    sessiondv1.NewAdminServiceClient(conn),
		conn:                  conn,
		close:                 func() error { return nil },
		open:                  open,
		end:                   end,
	}
}

// Conn is the connection that the client's calls are made through, with their deadlines, retries and typed errors: for
// generated code of other services of the daemon.
func (c *Client) Conn() grpc.ClientConnInterface { return c.conn }

// Close ends the connection that [Dial] made with the calls on it, and all watches and tasks.
func (c *Client) Close() error {
	c.end(ErrClosed)
	return c.close()
}

// whileOpen is a context that ends when either ctx does or the client is closed.
func (c *Client) whileOpen(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.open, func() { cancel(ErrClosed) })
	return ctx, func(cause error) {
		stop()
		cancel(cause)
	}
}
