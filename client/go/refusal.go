package sessiond

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// Reason is why the daemon refused. The constants are named Reason…; each value's comment in sessiondv1 says when
// it is given, with which metadata, and what to do.
type Reason = sessiondv1.ErrorReason

// Category is who can fix a refusal.
type Category string

const (
	// UserFixable: whoever sent the request, by sending another.
	UserFixable Category = "USER_FIXABLE"
	// AdminRequired: whoever runs the service, or owns the calling program.
	AdminRequired Category = "ADMIN_REQUIRED"
	// Temporary: nobody; trying again may do.
	Temporary Category = "TEMPORARY"
)

// Each refusal is one of these by its category: errors.Is(err, sessiond.ErrTemporary).
var (
	ErrUserFixable   = errors.New("sessiond: the request has to be another")
	ErrAdminRequired = errors.New("sessiond: whoever runs the service has to act")
	// ErrTemporary is also every UNAVAILABLE that did not come from the daemon: a lost connection, for example.
	ErrTemporary = errors.New("sessiond: trying again may do")
)

// Refusal is the error of a call that the daemon refused.
//
//	var refusal *sessiond.Refusal
//	if errors.As(err, &refusal) {
//		log.Print(refusal.Reason, refusal.Category, refusal.Metadata["allowed"])
//	}
//
// Errors that did not come from the daemon (a lost connection, a passed deadline) are no refusals. All are statuses of
// gRPC: status.Code(err) tells their code, and errors.Is(err, context.DeadlineExceeded) is as with other packages.
type Refusal struct {
	// Method is the RPC: CreateSession.
	Method string
	Code   codes.Code
	// Reason is ReasonUnknown for reasons newer than this client.
	Reason Reason
	// Name is the reason's name, also of those newer than this client: NEVER_EXISTED.
	Name     string
	Category Category
	// Message is a sentence for a person: what is wrong, and what to do.
	Message string
	// Metadata is what the reason's comment says of it; its category is left out.
	Metadata map[string]string
	// Fields are the fields of the request that cannot be taken, if it was for that.
	Fields []Field
	// RetryAfter is how long the daemon asks to wait; 0 if it does not say.
	RetryAfter time.Duration

	status *status.Status
}

// Field is a field that cannot be taken, and why.
type Field struct {
	Path        string
	Description string
}

// Error says method, reason and sentence.
func (r *Refusal) Error() string {
	return fmt.Sprintf("sessiond: %s: %s: %s", r.Method, r.Name, r.Message)
}

// GRPCStatus is the status as it came, with all its details.
func (r *Refusal) GRPCStatus() *status.Status { return r.status }

// Is says whether target is the category's error: ErrUserFixable, ErrAdminRequired or ErrTemporary.
func (r *Refusal) Is(target error) bool {
	switch r.Category {
	case UserFixable:
		return target == ErrUserFixable
	case AdminRequired:
		return target == ErrAdminRequired
	case Temporary:
		return target == ErrTemporary
	}
	return false
}

// FixableBy says in words who can fix it.
func (r *Refusal) FixableBy() string {
	switch r.Category {
	case UserFixable:
		return "whoever sent the request"
	case AdminRequired:
		return "whoever runs the service"
	case Temporary:
		return "nobody: try again"
	}
	return "unknown"
}

// NotFound is the refusal of a call about something that is not there.
//
//	var missing *sessiond.NotFound
//	if errors.As(err, &missing) && missing.Reason == sessiond.ReasonDeleted {
//		log.Printf("deleted since %v", missing.Since)
//	}
type NotFound struct {
	// Refusal.Reason says why: never existed, deleted, archived; or which part of a session is not there.
	*Refusal
	// SessionID is the session that was asked for; empty when it was none.
	SessionID string
	// Since is when it was deleted or archived; zero otherwise.
	Since time.Time
}

// Unwrap is the refusal.
func (n *NotFound) Unwrap() error { return n.Refusal }

// IsReason says whether the error is a refusal for one of these reasons.
func IsReason(err error, reasons ...Reason) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	for _, reason := range reasons {
		if refusal.Reason == reason && reason != ReasonUnknown {
			return true
		}
	}
	return false
}

// ReasonOf is the reason of a refusal; ReasonUnknown for other errors, and for reasons newer than this client.
func ReasonOf(err error) Reason {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ReasonUnknown
}

// callError is the error of a call that ended without an answer of the daemon's.
type callError struct {
	method   string
	attempts int
	status   *status.Status
	causes   []error // Of the call's context, if that ended it.
}

func (e *callError) Error() string {
	text := fmt.Sprintf("sessiond: %s: %s: %s", e.method, codeName(e.status.Code()), e.status.Message())
	if e.attempts > 1 {
		text += fmt.Sprintf(" (%d attempts)", e.attempts)
	}
	return text
}

func (e *callError) GRPCStatus() *status.Status { return e.status }

func (e *callError) Unwrap() []error { return e.causes }

func (e *callError) Is(target error) bool {
	switch e.status.Code() {
	case codes.Unavailable:
		return target == ErrTemporary
	case codes.DeadlineExceeded:
		return target == context.DeadlineExceeded
	}
	return false
}

// codeName is NOT_FOUND of codes.NotFound.
func codeName(code codes.Code) string {
	switch code {
	case codes.OK:
		return "OK"
	case codes.Canceled:
		return "CANCELLED"
	case codes.DataLoss:
		return "DATA_LOSS"
	}
	var name strings.Builder
	for i, letter := range code.String() {
		if i > 0 && 'A' <= letter && letter <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(letter)
	}
	return strings.ToUpper(name.String())
}

// asError gives an error of gRPC its type.
func asError(ctx context.Context, method string, attempts int, err error) error {
	method = method[strings.LastIndexByte(method, '/')+1:]
	answer, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("sessiond: %s: %w", method, err)
	}
	refusal := &Refusal{Method: method, Code: answer.Code(), Message: answer.Message(), status: answer}
	fromDaemon := false
	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() != "sessiond" {
				continue
			}
			fromDaemon = true
			refusal.Name = detail.GetReason()
			refusal.Reason = Reason(sessiondv1.ErrorReason_value[refusal.Name])
			refusal.Metadata = make(map[string]string, len(detail.GetMetadata()))
			for key, value := range detail.GetMetadata() {
				if key == "category" {
					refusal.Category = Category(value)
				} else {
					refusal.Metadata[key] = value
				}
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				refusal.Fields = append(refusal.Fields, Field{violation.GetField(), violation.GetDescription()})
			}
		case *errdetails.RetryInfo:
			refusal.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	if !fromDaemon {
		failed := &callError{method: method, attempts: attempts, status: answer}
		if code := answer.Code(); code == codes.Canceled || code == codes.DeadlineExceeded {
			if ctx.Err() != nil {
				failed.causes = []error{ctx.Err(), context.Cause(ctx)}
			}
		}
		return failed
	}
	if refusal.Code != codes.NotFound {
		return refusal
	}
	missing := &NotFound{Refusal: refusal, SessionID: refusal.Metadata["session_id"]}
	for _, key := range []string{"delete_time", "archive_time"} {
		if since, err := time.Parse(time.RFC3339, refusal.Metadata[key]); err == nil {
			missing.Since = since
		}
	}
	return missing
}

// retryDelay is what RetryInfo asks for, of whomever's status.
func retryDelay(err error) time.Duration {
	answer, _ := status.FromError(err)
	for _, detail := range answer.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			return retry.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
