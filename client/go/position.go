package sessiond

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// PositionStore keeps the position of a watch, best beside what the watch's responses lead to: in the same
// transaction of a database, each change takes effect there exactly once.
type PositionStore interface {
	// Load returns the token that was saved last; "" if there is none.
	Load(ctx context.Context) (string, error)
	// Save keeps it: called behind every response, heartbeats too.
	Save(ctx context.Context, token string) error
}

// PositionFile keeps a token in a file, which is replaced as a whole, and on the disk when Save returns.
func PositionFile(path string) PositionStore { return positionFile(path) }

type positionFile string

func (f positionFile) Load(context.Context) (string, error) {
	token, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(token)), err
}

func (f positionFile) Save(_ context.Context, token string) (err error) {
	file, err := os.CreateTemp(filepath.Dir(string(f)), filepath.Base(string(f))+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.WriteString(token + "\n")
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), string(f))
}
