package sessiond

import (
	"context"
	"iter"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// Sessions is every session that matches, page after page, from the request's page_token on. Pages are read as they
// are needed, each with the deadline and the retries of a call. A page that cannot be read ends the sequence with
// its error.
//
//	for session, err := range client.Sessions(ctx, request) {
//		if err != nil {
//			return err
//		}
//		…
//	}
func (c *Client) Sessions(
	ctx context.Context, request *sessiondv1.ListSessionsRequest,
) iter.Seq2[*sessiondv1.Session, error] {
	return pages(ctx, request, c.ListSessions, (*sessiondv1.ListSessionsResponse).GetSessions)
}

// Events is every event of a session, the oldest first; read as [Client.Sessions] is.
func (c *Client) Events(
	ctx context.Context, request *sessiondv1.ListSessionEventsRequest,
) iter.Seq2[*sessiondv1.SessionEvent, error] {
	return pages(ctx, request, c.ListSessionEvents, (*sessiondv1.ListSessionEventsResponse).GetEvents)
}

// Tasks is every current task that matches; read as [Client.Sessions] is.
func (c *Client) Tasks(
	ctx context.Context, request *sessiondv1.ListTasksRequest,
) iter.Seq2[*sessiondv1.SessionTask, error] {
	return pages(ctx, request, c.ListTasks, (*sessiondv1.ListTasksResponse).GetTasks)
}

// Errors is every error that matches, the newest first; read as [Client.Sessions] is.
func (c *Client) Errors(
	ctx context.Context, request *sessiondv1.ListErrorsRequest,
) iter.Seq2[*sessiondv1.SessionError, error] {
	return pages(ctx, request, c.ListErrors, (*sessiondv1.ListErrorsResponse).GetErrors)
}

// Messages is every message of a session, in the order asked for; read as [Client.Sessions] is.
func (c *Client) Messages(
	ctx context.Context, request *sessiondv1.ListMessagesRequest,
) iter.Seq2[*sessiondv1.SessionMessage, error] {
	return pages(ctx, request, c.ListMessages, (*sessiondv1.ListMessagesResponse).GetMessages)
}

// Artifacts is every artifact of a session, the oldest first; read as [Client.Sessions] is.
func (c *Client) Artifacts(
	ctx context.Context, request *sessiondv1.ListArtifactsRequest,
) iter.Seq2[*sessiondv1.SessionArtifact, error] {
	return pages(ctx, request, c.ListArtifacts, (*sessiondv1.ListArtifactsResponse).GetArtifacts)
}

// Workflows is every definition, by name; read as [Client.Sessions] is.
func (c *Client) Workflows(
	ctx context.Context, request *sessiondv1.ListWorkflowsRequest,
) iter.Seq2[*sessiondv1.Workflow, error] {
	return pages(ctx, request, c.ListWorkflows, (*sessiondv1.ListWorkflowsResponse).GetWorkflows)
}

func pages[Request proto.Message, Response interface{ GetNextPageToken() string }, Item any](
	ctx context.Context, request Request,
	call func(context.Context, Request, ...grpc.CallOption) (Response, error), items func(Response) []Item,
) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		page := proto.CloneOf(request)
		message := page.ProtoReflect()
		token := message.Descriptor().Fields().ByName("page_token")
		for {
			response, err := call(ctx, page)
			if err != nil {
				var none Item
				yield(none, err)
				return
			}
			for _, item := range items(response) {
				if !yield(item, nil) {
					return
				}
			}
			if response.GetNextPageToken() == "" {
				return
			}
			message.Set(token, protoreflect.ValueOfString(response.GetNextPageToken()))
		}
	}
}
