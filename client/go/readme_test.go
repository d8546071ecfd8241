package sessiond_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sessiond/sessiond/client/go/sessiondtest"
)

// The blocks of README.md, by their language, in their order.
func readmeBlocks(t *testing.T, language string) []string {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllSubmatch(page, -1) {
		if string(match[1]) == language {
			blocks = append(blocks, string(match[2]))
		}
	}
	return blocks
}

// A module in a folder of its own that uses this one.
func newModule(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	goSum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	const name = "github.com/sessiond/sessiond/client/go"
	files["go.mod"] = strings.Replace(string(goMod), "module "+name, "module example", 1) +
		"\nrequire " + name + " v0.0.0\nreplace " + name + " => " + here + "\n"
	files["go.sum"] = string(goSum)
	for path, content := range files {
		if err := os.WriteFile(filepath.Join(folder, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func goCommand(t *testing.T, folder string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = folder
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go %v: %v\n%s%s", arguments, err, out, exit.Stderr)
		}
		t.Fatal(err)
	}
	return string(out)
}

func TestTheFirstExampleOfTheReadmePrintsWhatTheReadmeSays(t *testing.T) {
	program := readmeBlocks(t, "go")[0]
	want := readmeBlocks(t, "")[1]
	folder := newModule(t, map[string]string{"main.go": program})
	goCommand(t, folder, "build", "-o", "example", ".")
	run := func(address string) string {
		t.Helper()
		command := exec.Command(filepath.Join(folder, "example"))
		command.Env = append(os.Environ(), "SESSIOND_SERVER="+address)
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if got := run(daemon(t).Address); got != want {
		t.Errorf("It printed\n%s\ninstead of\n%s", got, want)
	}
	// However the connections are cut, it prints the same.
	for _, bytes := range []int64{300, 1000, 3000} {
		proxy := sessiondtest.NewProxy(t, daemon(t).Address)
		proxy.CutAfter(bytes)
		if got := run(proxy.Address); got != want {
			t.Errorf("Cut after %d bytes, it printed\n%s\ninstead of\n%s", bytes, got, want)
		}
		if !proxy.HasCut() {
			t.Errorf("The connection was not cut after %d bytes", bytes)
		}
	}
}

// The blocks behind the first are parts of programs: each has to compile, where its names are declared.
func TestTheOtherExamplesOfTheReadmeCompile(t *testing.T) {
	var program strings.Builder
	program.WriteString(`package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondtest"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

var _, _, _ = time.Second, slog.Default, errors.New

func main() {}
`)
	for i, block := range readmeBlocks(t, "go")[1:] {
		block = strings.ReplaceAll(block, "…", "_ = client")
		if strings.HasPrefix(block, "func Test") {
			program.WriteString(block)
			continue
		}
		for _, name := range []string{"client", "task"} {
			if strings.HasPrefix(block, name+", err := ") {
				block += "_, _ = " + name + ", err\n"
			}
		}
		fmt.Fprintf(&program, `
func part%d(ctx context.Context, client *sessiond.Client, id string, session *sessiondv1.Session, err error) error {
	{
		%s
	}
	return err
}
`, i, block)
	}
	goCommand(t, newModule(t, map[string]string{"main.go": program.String()}), "vet", ".")
}
