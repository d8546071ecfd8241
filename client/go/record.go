package sessiond

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// What the contract takes: bytes of a message, of a recovery action and of a name; and recovery actions.
const messageMax, actionMax, nameMax, actionsMax = 4096, 1024, 256, 50

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
	typeName := asName(fmt.Sprintf("%T", cause))
	recorded := &sessiondv1.SessionError{
		Category:    given.Category,
		Severity:    given.Severity,
		UserMessage: asMessage(given.UserMessage, messageMax),
		ErrorCode:   asName(given.Code),
	}
	for _, action := range given.RecoveryActions {
		action = asMessage(action, actionMax)
		if !isBlank(action) && len(recorded.RecoveryActions) < actionsMax {
			recorded.RecoveryActions = append(recorded.RecoveryActions, action)
		}
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
	if isBlank(recorded.UserMessage) {
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
		details = leftOut(err)
	}
	recorded.TechnicalDetails = details
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"message": structpb.NewStringValue(asMessage(cause.Error(), messageMax)),
		"type":    structpb.NewStringValue(typeName),
	}}, recorded
}

// leftOut is recorded in place of details that cannot be.
func leftOut(why error) *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"details_left_out": structpb.NewStringValue(asMessage(why.Error(), messageMax))}}
}

// asMessage is the text as a message can hold it, at most so many bytes.
func asMessage(text string, bytesMax int) string { return cut(printable(text), bytesMax) }

// asName is the text as a name can hold it: in one line.
func asName(text string) string {
	return cut(strings.NewReplacer("\n", " ", "\t", " ").Replace(printable(text)), nameMax)
}

// isBlank says whether there is nothing to read in the text: the daemon refuses such a message.
func isBlank(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) })
}

// printable is the text without what the contract's cannot hold: broken UTF-8 and control characters.
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
