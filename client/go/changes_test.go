package sessiond_test

import (
	"reflect"
	"testing"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

func TestASessionIsCreatedAndChangedFromPlainMaps(t *testing.T) {
	client := newClient(t)
	session, err := client.Create(t.Context(), sessiond.NewSession{
		Workflow: "ticket_export", Namespace: "go-test", Creating: true, Actor: "ada", Reason: "test",
		Context: map[string]any{"site_name": "Berlin", "site_description": "old"},
		Labels:  map[string]string{"team.name": "a", "draft": "yes"},
	})
	if err != nil || session.GetState() != sessiondv1.Session_CREATING {
		t.Fatal(session, err)
	}
	owner, name, hold := "u1", "Ada", true
	session, err = client.Update(t.Context(), session.GetSessionId(), sessiond.Changes{
		SetContext: map[string]any{"site_name": "Hamburg"}, RemoveContextKeys: []string{"site_description"},
		SetLabels: map[string]string{"team.name": "b"}, RemoveLabelKeys: []string{"draft"},
		Increment: map[string]int32{"total_tickets_generated": 3},
		OwnerID:   &owner, OwnerDisplayName: &name, Hold: &hold, Etag: session.GetEtag(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := session.GetContext().AsMap(); !reflect.DeepEqual(got, map[string]any{"site_name": "Hamburg"}) {
		t.Errorf("The context is %v", got)
	}
	if got := session.GetLabels(); !reflect.DeepEqual(got, map[string]string{"team.name": "b"}) {
		t.Errorf("The labels are %v", got)
	}
	if session.GetCounters()["total_tickets_generated"] != 3 || session.GetOwnerId() != owner ||
		session.GetOwnerDisplayName() != name || !session.GetHold() {
		t.Errorf("It is %v", session)
	}
	stale := "r1"
	if _, err = client.Update(t.Context(), session.GetSessionId(), sessiond.Changes{Hold: new(bool),
		Etag: stale}); !sessiond.IsReason(err, sessiond.ReasonEtagMismatch) {
		t.Errorf("%v", err)
	}
	if _, err = client.Update(t.Context(), session.GetSessionId(), sessiond.Changes{}); !sessiond.IsReason(err,
		sessiond.ReasonInvalidFieldMask) {
		t.Errorf("No change at all: %v", err)
	}

	other, err := client.Create(t.Context(), sessiond.NewSession{Workflow: "interview", OwnerID: "u1",
		References: map[string]string{"job_posting": "j1"}})
	if err != nil {
		t.Fatal(err)
	}
	other, err = client.Update(t.Context(), other.GetSessionId(),
		sessiond.Changes{RemoveReferenceKeys: []string{"job_posting"}})
	if err != nil || len(other.GetReferences()) != 0 {
		t.Errorf("%v, %v", other, err)
	}
}

func TestARefusalOfTheDaemonSaysSinceWhen(t *testing.T) {
	client := newClient(t)
	session, err := client.Create(t.Context(), sessiond.NewSession{Workflow: "interview", OwnerID: "u1"})
	if err != nil {
		t.Fatal(err)
	}
	id := session.GetSessionId()
	deleted, err := client.DeleteSession(t.Context(), &sessiondv1.DeleteSessionRequest{SessionId: id, Force: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{SessionId: id})
	missing, ok := err.(*sessiond.NotFound)
	if !ok || missing.Reason != sessiond.ReasonDeleted || missing.SessionID != id ||
		!missing.Since.Equal(deleted.GetDeleteTime().AsTime()) {
		t.Errorf("%#v", err)
	}
}
