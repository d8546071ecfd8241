package sessiond

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// record is what is told of a work's error: the task's failure_context, for programs, and the error that is recorded in
// the session.
func record(why error, taskType string, retry bool) (*structpb.Struct, *sessiondv1.SessionError) {
	var given *TaskError
	cause := why
	if errors.As(why, &given) {
		if why == error(given) {
			cause = given.Err
		}
	} else {
		given = &TaskError{}
	}
	message := cut(printable(cause.Error()), 4096)
	typeName := cut(printable(fmt.Sprintf("%T", cause)), 256)
	recorded := &sessiondv1.SessionError{
		Category:        given.Category,
		Severity:        given.Severity,
		UserMessage:     given.UserMessage,
		RecoveryActions: given.RecoveryActions,
		ErrorCode:       given.Code,
	}
	if recorded.Category == sessiondv1.SessionError_CATEGORY_UNSPECIFIED {
		recorded.Category = sessiondv1.SessionError_ADMIN_REQUIRED
		if retry {
			recorded.Category = sessiondv1.SessionError_TEMPORARY
		}
	}
	if recorded.Severity == sessiondv1.SessionError_SEVERITY_UNSPECIFIED {
		recorded.Severity = sessiondv1.SessionError_WARNING
	}
	if recorded.UserMessage == "" {
		recorded.UserMessage = fmt.Sprintf("The task %s failed.", taskType)
		if retry {
			recorded.UserMessage = fmt.Sprintf("The task %s failed and is run again.", taskType)
		}
	}
	if recorded.ErrorCode == "" {
		recorded.ErrorCode = typeName
	}
	details, err := Struct(given.Details)
	if err != nil {
		details = &structpb.Struct{Fields: map[string]*structpb.Value{
			"details_left_out": structpb.NewStringValue(printable(err.Error()))}}
	}
	recorded.TechnicalDetails = details
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"message": structpb.NewStringValue(message),
		"type":    structpb.NewStringValue(typeName),
	}}, recorded
}

// printable is the text without what a Struct or a name cannot hold: broken UTF-8 and control characters.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// cut is the text's beginning, at most so many bytes, in whole characters.
func cut(text string, bytesMax int) string {
	if len(text) <= bytesMax {
		return text
	}
	return strings.ToValidUTF8(text[:bytesMax], "")
}
