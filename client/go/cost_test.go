package sessiond_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// BenchmarkCost is what a call costs beside one of the bare generated stub, in turns of 100 calls: `ratio` is the
// median over all pairs of turns. Against a server of this process that does nothing, and against the daemon.
//
//	go test -run '^$' -bench Cost -benchtime 200x .
func BenchmarkCost(b *testing.B) {
	const message = "0192f3c4-9f2e-7abc-8def-0123456789ab"
	answer := &sessiondv1.Session{SessionId: message, Workflow: "interview", Labels: map[string]string{"team": "a"}}
	f := &fake{
		get: func(context.Context, *sessiondv1.GetSessionRequest) (*sessiondv1.Session, error) { return answer, nil },
		create: func(context.Context, *sessiondv1.CreateSessionRequest) (*sessiondv1.Session, error) {
			return answer, nil
		},
	}
	f.quiet = true
	f.listen(b)

	b.Run("nothing/get", func(b *testing.B) {
		inTurns(b, f.address, func(ctx context.Context, client sessiondv1.SessionServiceClient) error {
			_, err := client.GetSession(ctx, &sessiondv1.GetSessionRequest{SessionId: message})
			return err
		})
	})
	b.Run("nothing/create", func(b *testing.B) {
		inTurns(b, f.address, func(ctx context.Context, client sessiondv1.SessionServiceClient) error {
			_, err := client.CreateSession(ctx, &sessiondv1.CreateSessionRequest{Session: answer})
			return err
		})
	})
	b.Run("daemon/get", func(b *testing.B) {
		session, err := daemon(b).Client().Create(b.Context(), sessiond.NewSession{Workflow: "interview", OwnerID: "u"})
		if err != nil {
			b.Fatal(err)
		}
		inTurns(b, daemon(b).Address, func(ctx context.Context, client sessiondv1.SessionServiceClient) error {
			_, err := client.GetSession(ctx, &sessiondv1.GetSessionRequest{SessionId: session.GetSessionId()})
			return err
		})
	})
	b.Run("daemon/create", func(b *testing.B) {
		inTurns(b, daemon(b).Address, func(ctx context.Context, client sessiondv1.SessionServiceClient) error {
			_, err := client.CreateSession(ctx, &sessiondv1.CreateSessionRequest{
				Session: &sessiondv1.Session{Workflow: "interview", OwnerId: "u"}})
			return err
		})
	})
}

func inTurns(b *testing.B, address string, call func(context.Context, sessiondv1.SessionServiceClient) error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	client, err := sessiond.Dial(sessiond.WithAddress(address))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	stub := sessiondv1.NewSessionServiceClient(conn)
	turn := func(by sessiondv1.SessionServiceClient) time.Duration {
		const calls = 100
		began := time.Now()
		for range calls {
			// The stub's calls get a deadline too: nobody should make one without.
			ctx, cancel := b.Context(), context.CancelFunc(func() {})
			if by == stub {
				ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
			}
			err := call(ctx, by)
			cancel()
			if err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began) / calls
	}
	turn(stub)
	turn(client.SessionServiceClient)
	var bare, whole []time.Duration
	var ratios []float64
	for i := range b.N {
		var s, c time.Duration
		if i%2 == 0 {
			s, c = turn(stub), turn(client.SessionServiceClient)
		} else {
			c, s = turn(client.SessionServiceClient), turn(stub)
		}
		bare, whole, ratios = append(bare, s), append(whole, c), append(ratios, float64(c)/float64(s))
	}
	slices.Sort(ratios)
	slices.Sort(bare)
	slices.Sort(whole)
	b.ReportMetric(float64(bare[len(bare)/2].Nanoseconds()), "stub-ns/call")
	b.ReportMetric(float64(whole[len(whole)/2].Nanoseconds()), "client-ns/call")
	b.ReportMetric(ratios[len(ratios)/2], "ratio")
}
