// Package sessiondtest starts a daemon for the tests of a program that uses sessiond:
//
//	func TestExport(t *testing.T) {
//		client := sessiondtest.Start(t).Client()
//		…
//	}
//
// Each daemon has a PostgreSQL of its own and throws its data away. It is the program that SESSIOND_BINARY names,
// else `sessiond` on the PATH; where there is none, the test is skipped, or fails if CI=true. Starting one takes
// seconds: share it among tests, in sessions and namespaces of their own (see [Run]).
package sessiondtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	sessiond "github.com/sessiond/sessiond/client/go"
)

// ErrNoBinary is why [Run] cannot start a daemon: it is not there.
var ErrNoBinary = errors.New("sessiondtest: there is no sessiond: put it on the PATH, or name it in SESSIOND_BINARY")

// Server is a daemon that runs.
type Server struct {
	// Address is where it listens: HOST:PORT.
	Address string
	// HTTPAddress is where /readyz and /metrics are: HOST:PORT.
	HTTPAddress string

	t      testing.TB // nil for one that Run started.
	cmd    *exec.Cmd
	log    *tail
	exited chan struct{}
	once   sync.Once
}

// Start starts a daemon that ends with the test. Options are added to `sessiond serve`.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := Run(ctx, options...)
	if errors.Is(err, ErrNoBinary) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	server.t = t
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// Run starts a daemon for more than one test: in TestMain, which ends it with [Server.Stop]. The context ends only the
// wait for it.
func Run(ctx context.Context, options ...string) (*Server, error) {
	binary := os.Getenv("SESSIOND_BINARY")
	if binary == "" {
		found, err := exec.LookPath("sessiond")
		if err != nil {
			return nil, ErrNoBinary
		}
		binary = found
	} else if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoBinary, err)
	}
	arguments := append([]string{"serve", "--ephemeral", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"},
		options...)
	server := &Server{cmd: exec.Command(binary, arguments...), log: &tail{}, exited: make(chan struct{})}
	lines, err := server.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	server.cmd.SysProcAttr = attributes()
	ready := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// On Linux the daemon ends with this thread: so this goroutine stays on it for as long as the daemon runs.
		runtime.LockOSThread()
		defer close(server.exited)
		err := server.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		server.read(lines, ready)
		_ = server.cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("sessiondtest: %w", err)
	}
	select {
	case <-ready:
		return server, nil
	case <-server.exited:
		return nil, fmt.Errorf("sessiondtest: sessiond ended before it was ready:\n%s", server.log)
	case <-ctx.Done():
		err := fmt.Errorf("sessiondtest: sessiond was not ready in time: %w\n%s", ctx.Err(), server.log)
		return nil, errors.Join(err, server.Stop())
	}
}

// Client returns a new client of the daemon; where the test has started it, it is closed with the test.
func (s *Server) Client(options ...sessiond.Option) *sessiond.Client {
	client, err := sessiond.Dial(append([]sessiond.Option{sessiond.WithAddress(s.Address)}, options...)...)
	if err != nil {
		if s.t == nil {
			panic(err)
		}
		s.t.Fatal(err)
	}
	if s.t != nil {
		s.t.Cleanup(func() { _ = client.Close() })
	}
	return client
}

// Log is the end of what the daemon has logged.
func (s *Server) Log() string { return s.log.String() }

// On a busy machine its end takes its time.
const stopMax = time.Minute

// Stop ends the daemon, and waits for its end. A second time it does nothing.
func (s *Server) Stop() (err error) {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.exited:
		case <-time.After(stopMax):
			_ = s.cmd.Process.Kill()
			<-s.exited
			err = fmt.Errorf("sessiondtest: sessiond did not end within %v:\n%s", stopMax, s.log)
		}
	})
	return err
}

// read keeps the daemon's log, and closes ready when its line has come.
func (s *Server) read(lines io.Reader, ready chan<- struct{}) {
	scanner := bufio.NewScanner(lines)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		s.log.add(scanner.Bytes())
		var line struct{ Logger, Msg, Grpc, HTTP string }
		if s.Address == "" && json.Unmarshal(scanner.Bytes(), &line) == nil && line.Msg == "ready" {
			s.Address, s.HTTPAddress = line.Grpc, line.HTTP
			close(ready)
		}
	}
	_, _ = io.Copy(io.Discard, lines) // Whatever it says: it must not have to wait for us.
}

// tail keeps the last lines of a log.
type tail struct {
	mutex sync.Mutex
	text  []byte
}

const tailBytes = 64 << 10

func (l *tail) add(line []byte) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.text = append(append(l.text, line...), '\n')
	if len(l.text) > tailBytes {
		cut := len(l.text) - tailBytes/2
		if end := bytes.IndexByte(l.text[cut:], '\n'); end >= 0 {
			cut += end + 1
		}
		l.text = append([]byte(nil), l.text[cut:]...)
	}
}

func (l *tail) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return string(l.text)
}
