package sessiond

import (
	"context"
	"log/slog"
	"strings"

	"google.golang.org/grpc/metadata"
)

type traceKey struct{}

type trace struct{ parent, state string }

// ContextWithTraceparent returns a context whose calls carry these W3C Trace Context headers, as an HTTP request brings
// them; the state may be empty. What no header takes is not sent, and that is logged. Without it, calls that are made
// while a gRPC request is served carry that request's. Programs that use OpenTelemetry give [WithPropagator] instead.
func ContextWithTraceparent(ctx context.Context, traceparent, tracestate string) context.Context {
	return context.WithValue(ctx, traceKey{}, trace{traceparent, tracestate})
}

func propagateTraceparent(ctx context.Context, set func(key, value string)) {
	if own, ok := ctx.Value(traceKey{}).(trace); ok {
		if own.parent == "" {
			return
		}
		set("traceparent", own.parent)
		if own.state != "" {
			set("tracestate", own.state)
		}
		return
	}
	for _, key := range []string{"traceparent", "tracestate"} {
		if values := metadata.ValueFromIncomingContext(ctx, key); len(values) == 1 {
			set(key, values[0])
		}
	}
}

type unhookedKey struct{}

// unhooked is a context whose calls ask no hooks of the caller's: one has just panicked.
func unhooked(ctx context.Context) context.Context {
	return context.WithValue(ctx, unhookedKey{}, true)
}

func isUnhooked(ctx context.Context) bool { return ctx.Value(unhookedKey{}) != nil }

// outgoing adds the trace to the metadata of a call, unless the caller has set it there. What no header takes is left
// out: gRPC would refuse the call for it.
func outgoing(ctx context.Context, config *config) context.Context {
	if isUnhooked(ctx) {
		return ctx
	}
	var pairs []string
	config.propagate(ctx, func(key, value string) {
		if !fitsHeader(key, value) {
			config.logger.LogAttrs(ctx, slog.LevelWarn, "header of the trace is not sent", slog.String("key", key))
			return
		}
		pairs = append(pairs, key, value)
	})
	if len(pairs) == 0 {
		return ctx
	}
	own, _ := metadata.FromOutgoingContext(ctx)
	for i := 0; i < len(pairs); i += 2 {
		if len(own.Get(pairs[i])) == 0 {
			ctx = metadata.AppendToOutgoingContext(ctx, pairs[i], pairs[i+1])
		}
	}
	return ctx
}

// fitsHeader tells whether gRPC takes this as metadata. What it says is for those who read it.
func fitsHeader(key, value string) bool {
	const marks = "-_."
	other := func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune(marks, c))
	}
	unprintable := func(c rune) bool { return c < ' ' || c > '~' }
	return key != "" && strings.IndexFunc(key, other) < 0 &&
		(strings.HasSuffix(strings.ToLower(key), "-bin") || strings.IndexFunc(value, unprintable) < 0)
}
