//go:build linux

package sessiondtest_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondtest"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

func TestADaemonIsStartedAndEnded(t *testing.T) {
	var address string
	t.Run("started", func(t *testing.T) {
		server := sessiondtest.Start(t, "--log-level", "info")
		address = server.Address
		info, err := server.Client().GetServerInfo(t.Context(), &sessiondv1.GetServerInfoRequest{})
		if err != nil || info.GetVersion() == "" {
			t.Fatal(info, err)
		}
		page, err := http.Get("http://" + server.HTTPAddress + "/readyz")
		if err != nil || page.StatusCode != http.StatusOK {
			t.Error(page, err)
		}
		if page != nil {
			_ = page.Body.Close()
		}
		if !strings.Contains(server.Log(), "ready") {
			t.Errorf("Its log is %q", server.Log())
		}
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", address)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("It still listens: %v", err)
	}
	if conn != nil {
		_ = conn.Close()
	}
}

func TestADaemonThatCannotStartSaysWhy(t *testing.T) {
	if _, err := sessiondtest.Run(t.Context(), "--no-such-option"); err == nil ||
		errors.Is(err, sessiondtest.ErrNoBinary) {
		t.Errorf("It was %v", err)
	} else if !strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("It does not say why: %v", err)
	}
	t.Setenv("SESSIOND_BINARY", filepath.Join(t.TempDir(), "nowhere"))
	if _, err := sessiondtest.Run(t.Context()); !errors.Is(err, sessiondtest.ErrNoBinary) {
		t.Errorf("It was %v", err)
	}
}

// A test that is killed leaves no daemon behind.
func TestADaemonEndsWithItsTest(t *testing.T) {
	if os.Getenv("SESSIONDTEST_HANG") != "" {
		server := sessiondtest.Start(t)
		_, _ = os.Stdout.WriteString("ready " + server.Address + "\n")
		select {}
	}
	if os.Getenv("SESSIOND_BINARY") == "" {
		sessiondtest.Start(t) // Skips where there is none.
	}
	hanging := exec.Command(os.Args[0], "-test.run", "^TestADaemonEndsWithItsTest$")
	hanging.Env = append(os.Environ(), "SESSIONDTEST_HANG=1")
	out, err := hanging.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hanging.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "ready "))
	_ = hanging.Process.Signal(syscall.SIGKILL)
	_ = hanging.Wait()
	client, err := sessiond.Dial(sessiond.WithAddress(address), sessiond.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for deadline := time.Now().Add(15 * time.Second); ; {
		_, err := client.GetServerInfo(t.Context(), &sessiondv1.GetServerInfoRequest{})
		if err != nil && strings.Contains(err.Error(), "refused") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("The daemon at %s still runs: %v", address, err)
		}
	}
}
