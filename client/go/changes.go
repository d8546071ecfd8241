package sessiond

import (
	"context"

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

// Update is UpdateSession, from plain maps.
func (c *Client) Update(ctx context.Context, sessionID string, changes Changes) (*sessiondv1.Session, error) {
	fields, err := Struct(changes.SetContext)
	if err != nil {
		return nil, err
	}
	request := &sessiondv1.UpdateSessionRequest{
		Session:             &sessiondv1.Session{SessionId: sessionID},
		SetContext:          fields,
		RemoveContextKeys:   changes.RemoveContextKeys,
		SetLabels:           changes.SetLabels,
		RemoveLabelKeys:     changes.RemoveLabelKeys,
		SetReferences:       changes.SetReferences,
		RemoveReferenceKeys: changes.RemoveReferenceKeys,
		CounterIncrements:   changes.Increment,
		Etag:                changes.Etag,
		Actor:               changes.Actor,
		Reason:              changes.Reason,
		RequestId:           changes.RequestID,
	}
	var paths []string
	if changes.OwnerID != nil {
		request.Session.OwnerId = *changes.OwnerID
		paths = append(paths, "owner_id")
	}
	if changes.OwnerDisplayName != nil {
		request.Session.OwnerDisplayName = *changes.OwnerDisplayName
		paths = append(paths, "owner_display_name")
	}
	if changes.Hold != nil {
		request.Session.Hold = *changes.Hold
		paths = append(paths, "hold")
	}
	if len(paths) > 0 {
		request.UpdateMask = &fieldmaskpb.FieldMask{Paths: paths}
	}
	return c.UpdateSession(ctx, request)
}
