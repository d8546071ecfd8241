package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// watch hands a watch's responses from the goroutine that goes through them to whoever asks for the next.
type watch struct {
	items chan item
	end   context.CancelFunc
	ended chan struct{}
	token string // Of the last item that was answered.
}

type item struct {
	fields object
	err    error
	token  string
}

func (a *adapter) watch(client *sessiond.Client, r request) (any, error) {
	var args struct {
		Watch    string
		Request  json.RawMessage
		TimeoutS float64 `json:"timeout_s"`
	}
	if err := unmarshal(r.Args, &args); err != nil {
		return nil, err
	}
	if r.Op == "watch_open" {
		opened, err := open(client, args.Request, seconds(r.Options.SilenceS))
		if err != nil {
			return nil, err
		}
		a.mutex.Lock()
		defer a.mutex.Unlock()
		a.watches[args.Watch] = opened
		return object{}, nil
	}
	a.mutex.Lock()
	w := a.watches[args.Watch]
	a.mutex.Unlock()
	if w == nil {
		return nil, fmt.Errorf("there is no watch %q", args.Watch)
	}
	switch r.Op {
	case "watch_next":
		select {
		case next, more := <-w.items:
			if !more {
				return object{"kind": "end"}, nil
			}
			if next.token != "" {
				w.token = next.token
			}
			return next.fields, next.err
		case <-time.After(seconds(args.TimeoutS)):
			return object{"kind": "timeout"}, nil
		}
	case "watch_token":
		return object{"token": w.token}, nil
	case "watch_close":
		w.end()
		<-w.ended
		return object{}, nil
	}
	return nil, unsupported("there is no op " + r.Op)
}

func open(client *sessiond.Client, asked json.RawMessage, silence time.Duration) (*watch, error) {
	message := &sessiondv1.WatchSessionsRequest{}
	if err := read(asked, message); err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	w := &watch{items: make(chan item), end: end, ended: make(chan struct{}), token: message.GetResumeToken()}
	hand := func(next item) bool {
		select {
		case w.items <- next:
			return true
		case <-ctx.Done():
			return false
		}
	}
	options := []sessiond.WatchOption{
		sessiond.WithOnRestart(func() { hand(item{fields: object{"kind": "restart"}}) }),
	}
	if silence > 0 {
		options = append(options, sessiond.WithSilence(silence))
	}
	go func() {
		defer close(w.ended)
		defer close(w.items)
		for response, err := range client.Watch(ctx, message, options...).Responses() {
			if errors.Is(err, context.Canceled) || errors.Is(err, sessiond.ErrClosed) {
				return
			}
			if err != nil {
				hand(item{err: err})
				return
			}
			if !hand(item{fields: describeResponse(response), token: response.GetResumeToken()}) {
				return
			}
		}
	}()
	return w, nil
}

func describeResponse(response *sessiondv1.WatchSessionsResponse) object {
	if session := response.GetSession(); session != nil {
		return object{"kind": "session", "session": plain(session)}
	}
	change := response.GetChange()
	if change == nil {
		return object{"kind": "bookmark"}
	}
	fields := object{"kind": "change", "event": plain(change.GetEvent()), "matches": response.GetMatches(),
		"messages": items(change.GetMessages())["items"]}
	if change.GetSession() != nil {
		fields["session"] = plain(change.GetSession())
	}
	return fields
}
