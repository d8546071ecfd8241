package sessiond

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// conn is what the generated stubs call through: it gives a call its deadline, its request_id and its trace, makes it
// again where that is safe, and gives its error a type.
//
//	stub ─▶ conn.Invoke ─▶ attempt ─▶ UNAVAILABLE? ─▶ pause ─▶ attempt ─▶ …
type conn struct {
	inner  grpc.ClientConnInterface
	config config
}

func (c *conn) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(c.config.timeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	args = withRequestID(args)
	ctx = outgoing(ctx, &c.config)
	var trailer metadata.MD
	options = append(options[:len(options):len(options)], grpc.Trailer(&trailer))

	started := time.Now()
	between := pauses{next: c.config.backoffMin, longest: c.config.backoffMax}
	attempt := 1
	for {
		err := unlessUnsent(args, c.inner.Invoke(ctx, method, args, reply, options...))
		if err == nil {
			break
		}
		if status.Code(err) != codes.Unavailable {
			err = asError(ctx, method, attempt, err)
			c.logCall(ctx, method, started, attempt, err)
			return err
		}
		pause, again := between.after(err, trailer)
		failed := asError(ctx, method, attempt, err)
		if !again || pause >= time.Until(deadline) {
			c.logCall(ctx, method, started, attempt, failed)
			return failed
		}
		c.config.logger.LogAttrs(ctx, slog.LevelInfo, "call is tried again", slog.String("method", method),
			slog.Int("attempt", attempt), slog.Duration("pause", pause), slog.String("error", failed.Error()))
		if c.config.onRetry != nil && !isUnhooked(ctx) {
			c.config.onRetry(ctx, Retry{Method: method, Attempt: attempt, Err: failed, Pause: pause})
		}
		if !sleep(ctx, pause) {
			failed = asError(ctx, method, attempt, status.FromContextError(ctx.Err()).Err())
			c.logCall(ctx, method, started, attempt, failed)
			return failed
		}
		attempt++
		trailer = nil
	}
	c.logCall(ctx, method, started, attempt, nil)
	return nil
}

func (c *conn) logCall(ctx context.Context, method string, started time.Time, attempts int, err error) {
	if !c.config.logger.Enabled(ctx, slog.LevelDebug) {
		return
	}
	attrs := []slog.Attr{slog.String("method", method), slog.String("code", codeName(status.Code(err))),
		slog.Duration("duration", time.Since(started)), slog.Int("attempts", attempts)}
	if err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	c.config.logger.LogAttrs(ctx, slog.LevelDebug, "call", attrs...)
}

func (c *conn) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	return newStream(ctx, c.inner, c.config, desc, method, options...)
}

func newStream(
	ctx context.Context, inner grpc.ClientConnInterface, config config, desc *grpc.StreamDesc, method string,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := inner.NewStream(outgoing(ctx, &config), desc, method, options...)
	if err != nil {
		return nil, asError(ctx, method, 1, err)
	}
	return &typedStream{stream, ctx, method}, nil
}

// typedStream gives a stream's errors their types.
type typedStream struct {
	grpc.ClientStream
	ctx    context.Context // The caller's: the stream's own ends with the stream, whatever ended it.
	method string
}

func (s *typedStream) SendMsg(message any) error {
	return s.typed(unlessUnsent(message, s.ClientStream.SendMsg(message)))
}

func (s *typedStream) RecvMsg(message any) error { return s.typed(s.ClientStream.RecvMsg(message)) }

func (s *typedStream) typed(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return asError(s.ctx, s.method, 1, err)
}

// withRequestID returns the request, or a copy of it with a request_id where it takes one and has none. The
// caller's own is left alone: sent a second time, it is a second request.
func withRequestID(args any) any {
	request, ok := args.(interface {
		proto.Message
		GetRequestId() string
	})
	if !ok || request.GetRequestId() != "" {
		return args
	}
	given := request.ProtoReflect()
	field := given.Descriptor().Fields().ByName("request_id")
	copied := given.New() // A shallow one: what it holds is shared, and only read.
	given.Range(func(each protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		copied.Set(each, value)
		return true
	})
	copied.SetUnknown(given.GetUnknown())
	copied.Set(field, protoreflect.ValueOfString(NewRequestID()))
	return copied.Interface()
}

// NewRequestID draws a request_id for one change: a random UUID. Calls without one get one by themselves; it is for
// those who send a change again later, in another call.
func NewRequestID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // Does not fail.
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], id[:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:], id[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// pauses draws the pauses between attempts: each twice the last, and drawn from its upper half.
type pauses struct{ next, longest time.Duration }

// after is the pause after this error: not shorter than RetryInfo and grpc-retry-pushback-ms say. It is false when the
// peer says not to try again.
func (p *pauses) after(err error, trailer metadata.MD) (time.Duration, bool) {
	pause := p.next/2 + mathrand.N(p.next/2+1)
	p.next = min(2*p.next, p.longest)
	pause = max(pause, retryDelay(err))
	if pushback := trailer.Get("grpc-retry-pushback-ms"); len(pushback) > 0 {
		// gRPC's rule: what is negative or no number means never.
		ms, err := strconv.ParseInt(pushback[0], 10, 32)
		if len(pushback) > 1 || err != nil || ms < 0 {
			return 0, false
		}
		pause = max(pause, time.Duration(ms)*time.Millisecond)
	}
	return pause, true
}

// sleep waits, and says whether the time passed before the context ended.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
