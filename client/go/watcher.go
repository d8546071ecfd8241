package sessiond

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

const (
	// The daemon's default when the request does not set it.
	heartbeatDefault = 15 * time.Second
	// Three: one may be late, and one lost with a connection that recovers.
	heartbeatsMissed = 3
	// The daemon's longest read takes 30 s, and it may send nothing before that ends.
	silenceAtFirst = 40 * time.Second
)

// Watcher is a watch that resumes by itself, after lost connections and restarts of the daemon. Its methods are
// safe for concurrent use, but only one goroutine at a time may go through its responses.
type Watcher struct {
	client  *Client
	ctx     context.Context
	request *sessiondv1.WatchSessionsRequest // Only for whoever goes through the responses, like all down to mutex.

	position   PositionStore
	silenceMax time.Duration
	onRetry    func(err error, pause time.Duration)
	onRestart  func()

	own        *grpc.ClientConn // The watcher's own connection, after a silence on the client's.
	taken      string           // The token of the last response that came.
	heard      bool             // Any response has come.
	told       bool             // Any was given to the caller.
	bookmark   bool             // The bookmark was given to the caller.
	bookmarked bool             // The present stream has brought its bookmark.
	failing    bool             // The last stream has ended, and no response has come since.

	mutex sync.Mutex
	token string
}

// WatchOption says how a [Watcher] resumes.
type WatchOption func(*Watcher)

// WithPosition keeps the watch's position in a store: it is loaded before the first stream, where it takes the
// place of the request's resume_token and initial_state, and saved behind every response. A program that is started
// again goes on where it was.
func WithPosition(store PositionStore) WatchOption {
	return func(w *Watcher) { w.position = store }
}

// WithSilence is after how long without a response the connection is taken for dead, and the watch goes on over
// another one. Without it, three heartbeat intervals; at least 40 seconds before a stream's bookmark, because the
// daemon may read for 30 before it sends anything.
func WithSilence(longest time.Duration) WatchOption {
	return func(w *Watcher) { w.silenceMax = longest }
}

// WithOnWatchRetry is called when a stream has ended, before the pause behind which it is resumed: for counters.
func WithOnWatchRetry(onRetry func(err error, pause time.Duration)) WatchOption {
	return func(w *Watcher) { w.onRetry = onRetry }
}

// WithOnRestart is called when a stream has ended before its bookmark: the initial state comes again from its
// start, and what came of it is to be forgotten. It is called by whoever goes through the responses, between two of
// them.
func WithOnRestart(onRestart func()) WatchOption {
	return func(w *Watcher) { w.onRestart = onRestart }
}

// Watch returns a watch of what the request asks for. It does not connect yet. It ends with the context, and with the
// client.
//
//	watch := client.Watch(ctx, &sessiondv1.WatchSessionsRequest{InitialState: true},
//		sessiond.WithPosition(sessiond.PositionFile("watch.position")))
//	for response, err := range watch.Responses() {
//		if err != nil {
//			return err
//		}
//		if session := response.GetSession(); session != nil { … }
//		if change := response.GetChange(); change != nil { … }
//	}
func (c *Client) Watch(
	ctx context.Context, request *sessiondv1.WatchSessionsRequest, options ...WatchOption,
) *Watcher {
	w := &Watcher{client: c, ctx: ctx, request: proto.CloneOf(request), token: request.GetResumeToken()}
	w.taken = w.token
	for _, option := range options {
		option(w)
	}
	return w
}

// Responses is the initial state, if it was asked for; then one bookmark; and then every change, once and in order,
// however often the stream breaks off. Heartbeats are left out. A step waits until there is a response: for ever,
// if need be.
//
// It ends with an error that waiting does not mend: the context's; a refusal of the request (INVALID_FILTER,
// INVALID_RESUME_TOKEN, …); or RESUME_TOKEN_EXPIRED, behind which a new watch is needed, with initial_state and
// without a token. UNAVAILABLE, INTERNAL and UNKNOWN that are no such refusals, ends without an error, and silence
// are mended.
//
// Leaving the loop ends the stream. The next Responses goes on behind ResumeToken: the response at which the loop
// was left comes again, because nobody knows whether it was dealt with. Where it was, watch anew with its own
// resume_token.
func (w *Watcher) Responses() iter.Seq2[*sessiondv1.WatchSessionsResponse, error] {
	return func(yield func(*sessiondv1.WatchSessionsResponse, error) bool) {
		ctx, cancel := w.client.whileOpen(w.ctx)
		defer cancel(nil)
		defer w.closeOwn()
		if err := w.load(); err != nil {
			yield(nil, err)
			return
		}
		between := pauses{next: w.client.conn.config.backoffMin, longest: w.client.conn.config.backoffMax}
		for {
			err := w.stream(ctx, yield, &between)
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				yield(nil, fmt.Errorf("sessiond: the watch was ended: %w", context.Cause(ctx)))
				return
			}
			if !passes(err) {
				yield(nil, err)
				return
			}
			w.failing = true
			pause, _ := between.after(err, nil)
			w.client.conn.config.logger.LogAttrs(w.ctx, slog.LevelInfo, "watch broke off",
				slog.Duration("pause", pause), slog.String("error", err.Error()))
			if w.onRetry != nil {
				w.onRetry(err, pause)
			}
			sleep(ctx, pause)
		}
	}
}

// ResumeToken is the position of the watch: one with this resume_token misses nothing. A response is covered by it
// once the loop has gone on to the next, so it may be stored at any time. A token from before the bookmark starts
// the initial state again: forget what came of it before.
func (w *Watcher) ResumeToken() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.token
}

// errSilence is why a stream is given up on which nothing is heard.
var errSilence = errors.New("nothing was heard")

// stream goes through one stream; nil when the caller has left the loop.
func (w *Watcher) stream(
	ctx context.Context, yield func(*sessiondv1.WatchSessionsResponse, error) bool, between *pauses,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.taken != "" {
		w.request.ResumeToken = w.taken
		// The token says whether the initial state was complete. Asking for both is refused: also when the caller does.
		if w.heard {
			w.request.InitialState = false
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(w.silence(), func() { cancel(errSilence) })
	defer silence.Stop()
	w.bookmarked = false
	stream, err := w.open(ctx)
	for err == nil {
		silence.Reset(w.silence())
		var response *sessiondv1.WatchSessionsResponse
		if response, err = stream.Recv(); err != nil {
			break
		}
		silence.Stop() // The caller may take its time.
		*between = pauses{next: w.client.conn.config.backoffMin, longest: between.longest}
		forCaller := w.note(response)
		if forCaller && !yield(response, nil) {
			if response.GetBookmark() != nil {
				w.bookmark = false // It comes again, too.
			}
			return nil
		}
		if err := w.moveOn(response.GetResumeToken()); err != nil {
			yield(nil, err)
			return nil
		}
	}
	if errors.Is(err, io.EOF) {
		return status.Error(codes.Unavailable, "the stream was ended")
	}
	if context.Cause(ctx) == errSilence {
		w.closeOwn()
		if redial := w.client.redial; redial != nil {
			// The connection may be dead without anybody having noticed: a new stream on it would hear nothing either.
			if w.own, err = redial(); err != nil {
				return err
			}
		}
		return status.Errorf(codes.Unavailable, "%v for %v", errSilence, w.silence())
	}
	return err
}

func (w *Watcher) open(ctx context.Context) (sessiondv1.SessionService_WatchSessionsClient, error) {
	if w.own == nil {
		return w.client.WatchSessions(ctx, w.request)
	}
	own := &conn{inner: w.own, config: w.client.conn.config}
	return sessiondv1.NewSessionServiceClient(own).WatchSessions(ctx, w.request)
}

func (w *Watcher) closeOwn() {
	if w.own != nil {
		_ = w.own.Close()
		w.own = nil
	}
}

func (w *Watcher) silence() time.Duration {
	if w.silenceMax > 0 {
		return w.silenceMax
	}
	interval := heartbeatDefault
	if w.request.GetHeartbeatInterval() != nil {
		interval = w.request.GetHeartbeatInterval().AsDuration()
	}
	longest := heartbeatsMissed * interval
	if !w.bookmarked {
		longest = max(longest, silenceAtFirst)
	}
	return longest
}

// note records a response, and says whether it is for the caller.
func (w *Watcher) note(response *sessiondv1.WatchSessionsResponse) bool {
	w.heard = true
	w.taken = response.GetResumeToken()
	if w.failing {
		w.failing = false
		restarts := w.told && !w.bookmark
		w.client.conn.config.logger.LogAttrs(w.ctx, slog.LevelInfo, "watch resumed", slog.Bool("restarts", restarts))
		if restarts && w.onRestart != nil {
			w.onRestart()
		}
	}
	switch response.GetKind().(type) {
	case *sessiondv1.WatchSessionsResponse_Session, *sessiondv1.WatchSessionsResponse_Change:
		w.told = true
		return true
	case *sessiondv1.WatchSessionsResponse_Bookmark:
		w.bookmarked = true
		first := !w.bookmark
		w.bookmark = true
		return first
	}
	return false
}

func (w *Watcher) moveOn(token string) error {
	w.mutex.Lock()
	w.token = token
	w.mutex.Unlock()
	if w.position == nil {
		return nil
	}
	if err := w.position.Save(w.ctx, token); err != nil {
		return fmt.Errorf("sessiond: the watch's position cannot be saved: %w", err)
	}
	return nil
}

// load begins where the loop was left, or at the store's token.
func (w *Watcher) load() error {
	if w.heard {
		w.taken = w.ResumeToken()
		w.failing = true
		return nil
	}
	if w.position == nil {
		return nil
	}
	token, err := w.position.Load(w.ctx)
	if err != nil {
		return fmt.Errorf("sessiond: the watch's position cannot be loaded: %w", err)
	}
	if token != "" {
		w.request.InitialState = false
		w.taken = token
		w.mutex.Lock()
		w.token = token
		w.mutex.Unlock()
	}
	return nil
}

// passes says whether the same request may succeed in a moment. What has a category is the daemon's own word. Of the
// rest, CANCELLED is a daemon that went down in a hurry, DEADLINE_EXCEEDED a proxy that limits the life of streams,
// INTERNAL and UNKNOWN one that resets them.
func passes(err error) bool {
	var refusal *Refusal
	if errors.As(err, &refusal) && refusal.Category != "" {
		return refusal.Category == Temporary
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Internal, codes.Unknown:
		return true
	}
	return false
}
