package sessiond_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sessiond/sessiond/client/go/sessiondtest"
)

// One daemon for all tests that take one, started by the first.
var (
	shared    *sessiondtest.Server
	sharedErr error
	start     sync.Once
)

func daemon(t testing.TB) *sessiondtest.Server {
	t.Helper()
	start.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		shared, sharedErr = sessiondtest.Run(ctx)
	})
	if errors.Is(sharedErr, sessiondtest.ErrNoBinary) && os.Getenv("CI") != "true" {
		t.Skip(sharedErr)
	}
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		if err := shared.Stop(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}
