package sessiond

import (
	"context"
	"regexp"
	"slices"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// NewSession is what [Client.Create] creates.
type NewSession struct {
	// Workflow is required.
	Workflow string
	// Namespace is `default` when empty.
	Namespace        string
	OwnerID          string
	OwnerDisplayName string
	// Context are the workflow's own fields; see [Struct].
	Context    map[string]any
	References map[string]string
	Labels     map[string]string
	// SessionID is an id of your own; empty: the daemon draws one.
	SessionID string
	// Creating leaves it in CREATING, to be filled and then activated.
	Creating bool
	// Actor is the end user on whose behalf it is created, and Reason is why: for the audit.
	Actor, Reason string
	// RequestID is drawn when empty.
	RequestID string
}

// Create is CreateSession, from plain maps.
func (c *Client) Create(ctx context.Context, session NewSession) (*sessiondv1.Session, error) {
	fields, err := Struct(session.Context)
	if err != nil {
		return nil, err
	}
	return c.CreateSession(ctx, &sessiondv1.CreateSessionRequest{
		Session: &sessiondv1.Session{
			Workflow:         session.Workflow,
			Namespace:        session.Namespace,
			OwnerId:          session.OwnerID,
			OwnerDisplayName: session.OwnerDisplayName,
			Context:          fields,
			References:       session.References,
			Labels:           session.Labels,
		},
		SessionId: session.SessionID,
		Creating:  session.Creating,
		RequestId: session.RequestID,
		Actor:     session.Actor,
		Reason:    session.Reason,
	})
}

// Changes is what [Client.Update] changes: what is set here, all or nothing.
type Changes struct {
	// SetContext sets these fields of the context; see [Struct].
	SetContext map[string]any
	// RemoveContextKeys takes these away.
	RemoveContextKeys   []string
	SetLabels           map[string]string
	RemoveLabelKeys     []string
	SetReferences       map[string]string
	RemoveReferenceKeys []string
	// Increment adds to counters.
	Increment map[string]int32
	// OwnerDisplayName, Hold and OwnerID are set when they are not nil; OwnerID while the session is CREATING.
	OwnerDisplayName *string
	Hold             *bool
	OwnerID          *string
	// Etag is the one that the session must still have; empty for any.
	Etag string
	// Actor is the end user on whose behalf it is changed, and Reason is why: for the audit.
	Actor, Reason string
	// RequestID is drawn when empty.
	RequestID string
}

// Update is UpdateSession, with the update_mask that goes with the changes.
func (c *Client) Update(ctx context.Context, sessionID string, changes Changes) (*sessiondv1.Session, error) {
	request, err := changes.request(sessionID)
	if err != nil {
		return nil, err
	}
	return c.UpdateSession(ctx, request)
}

func (c Changes) request(sessionID string) (*sessiondv1.UpdateSessionRequest, error) {
	fields, err := Struct(c.SetContext)
	if err != nil {
		return nil, err
	}
	session := &sessiondv1.Session{
		SessionId:  sessionID,
		Context:    fields,
		Labels:     c.SetLabels,
		References: c.SetReferences,
	}
	var paths []string
	if c.OwnerID != nil {
		session.OwnerId = *c.OwnerID
		paths = append(paths, "owner_id")
	}
	if c.OwnerDisplayName != nil {
		session.OwnerDisplayName = *c.OwnerDisplayName
		paths = append(paths, "owner_display_name")
	}
	if c.Hold != nil {
		session.Hold = *c.Hold
		paths = append(paths, "hold")
	}
	paths = append(paths, keyPaths("context", c.SetContext, c.RemoveContextKeys)...)
	paths = append(paths, keyPaths("labels", c.SetLabels, c.RemoveLabelKeys)...)
	paths = append(paths, keyPaths("references", c.SetReferences, c.RemoveReferenceKeys)...)
	request := &sessiondv1.UpdateSessionRequest{
		Session:           session,
		CounterIncrements: c.Increment,
		Etag:              c.Etag,
		Actor:             c.Actor,
		Reason:            c.Reason,
		RequestId:         c.RequestID,
	}
	if len(paths) > 0 {
		request.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths}
	}
	return request, nil
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// keyPaths are the paths of a map's keys, sorted, so that the same changes are the same request.
func keyPaths[Value any](field string, set map[string]Value, removed []string) []string {
	keys := slices.Clone(removed)
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	for i, key := range keys {
		if !plainKey.MatchString(key) {
			key = "`" + key + "`"
		}
		keys[i] = field + "." + key
	}
	return keys
}
