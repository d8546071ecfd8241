package sessiond

import (
	"context"

	"google.golang.org/grpc/metadata"
)

type traceKey struct{}

type trace struct{ parent, state string }

// ContextWithTraceparent returns a context whose calls carry these W3C Trace Context headers, as an HTTP request brings
// them; the state may be empty. Without it, calls that are made while a gRPC request is served carry that request's.
// Programs that use OpenTelemetry give [WithPropagator] instead.
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

// outgoing adds the trace to the metadata of a call, unless the caller has set it there.
func outgoing(ctx context.Context, propagate func(ctx context.Context, set func(key, value string))) context.Context {
	var pairs []string
	propagate(ctx, func(key, value string) { pairs = append(pairs, key, value) })
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
