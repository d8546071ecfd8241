// Command release lays this module down as a proxy of modules serves it: its zip, its go.mod and its version. A
// proxy of one's own takes the folder as it is, and so does GOPROXY=file://FOLDER.
//
//	go run ./internal/release FOLDER      in the module's folder, of a checkout
package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	sessiond "github.com/sessiond/sessiond/client/go"
)

const module = "github.com/sessiond/sessiond/client/go"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./internal/release FOLDER")
		os.Exit(2)
	}
	if err := release(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func release(folder string) error {
	version := "v" + sessiond.Version
	out := filepath.Join(folder, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	files, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git does not list the module's files: %w", err)
	}
	var packed bytes.Buffer
	archive := zip.NewWriter(&packed)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		content, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // Deleted, and not yet committed.
		}
		if err != nil {
			return err
		}
		entry, err := archive.Create(module + "@" + version + "/" + name)
		if err != nil {
			return err
		}
		if _, err := entry.Write(content); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	goMod, err := os.ReadFile("go.mod")
	if err != nil {
		return err
	}
	date, err := exec.Command("git", "log", "-1", "--format=%cI").Output()
	if err != nil {
		return fmt.Errorf("git does not say when this was committed: %w", err)
	}
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(date)))
	if err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": at.UTC()})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": info, version + ".mod": goMod, version + ".zip": packed.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%s %s: %d KiB in %s\n", module, version, packed.Len()>>10, out)
	return nil
}
