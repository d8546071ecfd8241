package sessiond_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// inUpload is a session in the stage before the one in which tasks of type `processing` run.
func inUpload(t *testing.T, client *sessiond.Client) string {
	t.Helper()
	session, err := client.Create(t.Context(), sessiond.NewSession{Workflow: "ticket_export", OwnerID: "u",
		OwnerDisplayName: "U"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.AdvanceSession(t.Context(), &sessiondv1.AdvanceSessionRequest{
		SessionId: session.GetSessionId(), TargetStage: "upload"})
	if err != nil {
		t.Fatal(err)
	}
	return session.GetSessionId()
}

func newClient(t *testing.T, options ...sessiond.Option) *sessiond.Client {
	t.Helper()
	client := daemon(t).Client(options...)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// errorsOf are the errors of a session, the newest first.
func errorsOf(t *testing.T, client *sessiond.Client, id string) (all []*sessiondv1.SessionError) {
	t.Helper()
	for each, err := range client.Errors(t.Context(), &sessiondv1.ListErrorsRequest{SessionId: id}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, each)
	}
	return all
}

func TestATaskThatFailsIsRunAgainAndThenCompleted(t *testing.T) {
	client := newClient(t)
	id := inUpload(t, client)
	task, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing", StartStage: "processing",
		EndStage: "review", Attempts: 3, Actor: "ada", Reason: "test"},
		func(ctx context.Context, run *sessiond.TaskRun) (map[string]any, error) {
			if err := run.Progress(ctx, map[string]any{"attempt": run.Attempt}); err != nil {
				return nil, err
			}
			if run.Attempt < 3 {
				return nil, fmt.Errorf("attempt %d: \x00 of \xff", run.Attempt)
			}
			return map[string]any{"tickets": []string{"A-1"}}, nil
		})
	if err != nil || task.GetStatus() != sessiondv1.SessionTask_COMPLETED || task.GetRetryCount() != 2 ||
		task.GetProgress().AsMap()["attempt"] != 3. || fmt.Sprint(task.GetResult().AsMap()) != "map[tickets:[A-1]]" {
		t.Fatalf("%v, %v", task, err)
	}
	session, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{SessionId: id})
	if err != nil || session.GetStage() != "review" {
		t.Errorf("It is in %s: %v", session.GetStage(), err)
	}
	recorded := errorsOf(t, client, id)
	if len(recorded) != 2 || recorded[0].GetCategory() != sessiondv1.SessionError_TEMPORARY ||
		recorded[0].GetSeverity() != sessiondv1.SessionError_WARNING ||
		recorded[0].GetErrorCode() != "*fmt.wrapError" && recorded[0].GetErrorCode() != "*errors.errorString" ||
		!strings.Contains(recorded[0].GetUserMessage(), "processing") {
		t.Errorf("Recorded was %v", recorded)
	}
}

func TestAFailureIsRecordedInTheWordsOfATaskError(t *testing.T) {
	client := newClient(t)
	id := inUpload(t, client)
	cause := errors.New("401 of the tracker")
	attempts := 0
	task, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing",
		StartStage: "processing", Attempts: 3},
		func(context.Context, *sessiond.TaskRun) (map[string]any, error) {
			attempts++
			return nil, fmt.Errorf("exporting: %w", &sessiond.TaskError{Err: cause,
				Category: sessiondv1.SessionError_USER_FIXABLE,
				Severity: sessiondv1.SessionError_INFO, UserMessage: "Your key is no longer valid.",
				RecoveryActions: []string{"Renew it."},
				Code:            "KEY", Details: map[string]any{"status": 401}, Permanent: true})
		})
	var failed *sessiond.TaskFailed
	if !errors.As(err, &failed) || !errors.Is(err, cause) || attempts != 1 ||
		failed.Task.GetStatus() != sessiondv1.SessionTask_FAILED ||
		task.GetFailureContext().AsMap()["message"] != "exporting: 401 of the tracker" {
		t.Errorf("After %d attempts: %v, %v", attempts, task, err)
	}
	recorded := errorsOf(t, client, id)
	if len(recorded) != 1 || recorded[0].GetCategory() != sessiondv1.SessionError_USER_FIXABLE ||
		recorded[0].GetErrorCode() != "KEY" ||
		recorded[0].GetSeverity() != sessiondv1.SessionError_INFO ||
		recorded[0].GetUserMessage() != "Your key is no longer valid." ||
		recorded[0].GetRecoveryActions()[0] != "Renew it." || recorded[0].GetTechnicalDetails().AsMap()["status"] != 401. {
		t.Errorf("Recorded was %v", recorded)
	}
	// Another worker goes on with it.
	task, err = client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing"},
		func(context.Context, *sessiond.TaskRun) (map[string]any, error) { return nil, nil })
	if err != nil || task.GetStatus() != sessiondv1.SessionTask_COMPLETED || task.GetRetryCount() != 1 {
		t.Errorf("%v, %v", task, err)
	}
}

func TestWordsThatTheContractDoesNotTakeAreMadeFit(t *testing.T) {
	client := newClient(t)
	id := inUpload(t, client)
	long := strings.Repeat("é", 4096)
	task, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing",
		StartStage: "processing"},
		func(context.Context, *sessiond.TaskRun) (map[string]any, error) {
			return nil, &sessiond.TaskError{Err: errors.New("\x00\xff" + long), UserMessage: "\x00\xff" + long,
				RecoveryActions: append([]string{" ", "\x00" + long}, make([]string, 60)...), Code: "a\n\x00\xff" + long,
				Details: map[string]any{"log": "\xff"}}
		})
	var failed *sessiond.TaskFailed
	if !errors.As(err, &failed) || task.GetStatus() != sessiondv1.SessionTask_FAILED {
		t.Fatalf("%v, %v", task, err)
	}
	fit := "\uFFFD\uFFFD" + long
	if message := task.GetFailureContext().AsMap()["message"]; message != fit[:4096] {
		t.Errorf("The message is %.40q", message)
	}
	recorded := errorsOf(t, client, id)[0]
	if recorded.GetUserMessage() != fit[:4096] || len(recorded.GetRecoveryActions()) != 1 ||
		recorded.GetRecoveryActions()[0] != "\uFFFD"+long[:1020] ||
		recorded.GetErrorCode() != "a \uFFFD\uFFFD"+long[:248] ||
		recorded.GetTechnicalDetails().AsMap()["details_left_out"] != "sessiond: log: it is not UTF-8" {
		t.Errorf("Recorded was %.2000v", recorded)
	}
	// Nothing to read is no message, and what is too long is no detail.
	_, err = client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing"},
		func(context.Context, *sessiond.TaskRun) (map[string]any, error) {
			return nil, &sessiond.TaskError{Err: errors.New(""), UserMessage: " \u200B\n",
				Details: map[string]any{"log": strings.Repeat("x", 70_000)}}
		})
	recorded = errorsOf(t, client, id)[0]
	if left, _ := recorded.GetTechnicalDetails().AsMap()["details_left_out"].(string); !strings.Contains(left, "65536") ||
		recorded.GetUserMessage() != "The task processing failed." {
		t.Errorf("Recorded was %.2000v, after %v", recorded, err)
	}
}

func TestAWorkerThatIsStoppedLeavesItsTaskToBeRetried(t *testing.T) {
	client := newClient(t)
	id := inUpload(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	task, err := client.RunTask(ctx, sessiond.TaskSpec{SessionID: id, Type: "processing", StartStage: "processing",
		Attempts: 3},
		func(ctx context.Context, _ *sessiond.TaskRun) (map[string]any, error) {
			cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		})
	if !errors.Is(err, context.Canceled) || !task.GetRetryable() {
		t.Errorf("%v, %v", task, err)
	}
	recorded := errorsOf(t, client, id)
	if len(recorded) != 1 || recorded[0].GetCategory() != sessiondv1.SessionError_TEMPORARY ||
		!strings.Contains(recorded[0].GetUserMessage(), "interrupted") {
		t.Errorf("Recorded was %v", recorded)
	}
}

func TestWorkThatPanicsFailsItsTaskAndPanics(t *testing.T) {
	client := newClient(t)
	id := inUpload(t, client)
	func() {
		defer func() {
			if recover() != "oh" {
				t.Error("The panic did not go on")
			}
		}()
		_, _ = client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing", StartStage: "processing"},
			func(context.Context, *sessiond.TaskRun) (map[string]any, error) { panic("oh") })
	}()
	task, err := client.GetTask(t.Context(), &sessiondv1.GetTaskRequest{SessionId: id})
	if err != nil || task.GetStatus() != sessiondv1.SessionTask_FAILED ||
		errorsOf(t, client, id)[0].GetErrorCode() != "panic" {
		t.Errorf("%v, %v", task, err)
	}
}

func TestAHookThatPanicsLeavesNoTaskRunning(t *testing.T) {
	plain := newClient(t)
	for name, lost := range map[string]string{
		"with the completion":                "",
		"behind a start that took effect":    sessiondv1.TaskService_StartTask_FullMethodName,
		"behind a retry that took effect":    sessiondv1.TaskService_RetryTask_FullMethodName,
		"behind a failure that took effect":  sessiondv1.TaskService_FailTask_FullMethodName,
		"behind a completion that took none": sessiondv1.TaskService_CompleteTask_FullMethodName,
	} {
		t.Run(name, func(t *testing.T) {
			id := inUpload(t, plain)
			panics := false
			client := newClient(t, sessiond.WithPropagator(func(context.Context, func(key, value string)) {
				if panics {
					panic("oh")
				}
			}), sessiond.WithOnRetry(func(context.Context, sessiond.Retry) { panic("oh") }),
				sessiond.WithDialOptions(grpc.WithUnaryInterceptor(func(ctx context.Context, method string,
					request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
					if method == lost && method == sessiondv1.TaskService_CompleteTask_FullMethodName {
						return status.Error(codes.Unavailable, "lost")
					}
					err := invoke(ctx, method, request, reply, conn, options...)
					if method == lost && err == nil {
						lost = "" // The next one goes well.
						return status.Error(codes.Unavailable, "lost")
					}
					return err
				})))
			defer func() {
				if recover() != "oh" {
					t.Error("The panic did not go on")
				}
				task, err := plain.GetTask(t.Context(), &sessiondv1.GetTaskRequest{SessionId: id})
				if err != nil || task.GetStatus() != sessiondv1.SessionTask_FAILED {
					t.Errorf("%v, %v", task, err)
				}
			}()
			_, _ = client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing",
				StartStage: "processing", Attempts: 2}, func(context.Context, *sessiond.TaskRun) (map[string]any, error) {
				panics = lost == ""
				if lost == sessiondv1.TaskService_RetryTask_FullMethodName ||
					lost == sessiondv1.TaskService_FailTask_FullMethodName {
					return nil, errors.New("busy")
				}
				return nil, nil
			})
		})
	}
}

func TestACompletionThatCannotBeFailsTheTask(t *testing.T) {
	const sentMax = 32 << 10
	for name, each := range map[string]struct {
		endStage string
		result   map[string]any
		refused  bool
	}{
		"a stage that is not next":  {"completed", nil, true},
		"a result without a form":   {"", map[string]any{"x": math.NaN()}, false},
		"a result that is no text":  {"", map[string]any{"log": "\xff"}, false},
		"a result with a NUL":       {"", map[string]any{"log": "\x00"}, false},
		"a result that is not sent": {"", map[string]any{"log": strings.Repeat("x", sentMax)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, sessiond.WithDialOptions(grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(sentMax))))
			id := inUpload(t, client)
			task, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing",
				StartStage: "processing",
				EndStage:   each.endStage, Attempts: 2},
				func(context.Context, *sessiond.TaskRun) (map[string]any, error) { return each.result, nil })
			if err == nil || sessiond.IsReason(err, sessiond.ReasonInvalidTransition) != each.refused ||
				task.GetStatus() != sessiondv1.SessionTask_FAILED || len(errorsOf(t, client, id)) != 1 {
				t.Errorf("%v, %v", task, err)
			}
		})
	}
}

func TestAFailureThatIsRefusedIsToldOnce(t *testing.T) {
	failures := 0
	client, err := sessiond.Dial(sessiond.WithDialOptions(grpc.WithUnaryInterceptor(func(_ context.Context, method string,
		_, reply any, _ *grpc.ClientConn, _ grpc.UnaryInvoker, _ ...grpc.CallOption) error {
		if method == sessiondv1.TaskService_FailTask_FullMethodName {
			failures++
			return refusal(codes.PermissionDenied, "NOT_ALLOWED", "ADMIN_REQUIRED")
		}
		reply.(*sessiondv1.SessionTask).TaskId = "t1"
		return nil
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, err = client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: "s1", Type: "processing"},
		func(context.Context, *sessiond.TaskRun) (map[string]any, error) {
			return map[string]any{"x": math.NaN()}, nil
		})
	var failed *sessiond.TaskFailed
	if failures != 1 || !errors.As(err, &failed) || !sessiond.IsReason(err, sessiond.ReasonNotAllowed) {
		t.Errorf("FailTask was called %d times: %v", failures, err)
	}
}

// behind calls the daemon, and then what may change its answer.
func behind(answer func(method string, err error) error) sessiond.Option {
	return sessiond.WithDialOptions(grpc.WithUnaryInterceptor(func(ctx context.Context, method string,
		request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		return answer(method, invoke(ctx, method, request, reply, conn, options...))
	}))
}

func TestARetryThatIsRefusedHidesNeitherWhyTheWorkFailedNorATaskThatRuns(t *testing.T) {
	busy := errors.New("busy")
	plain := newClient(t)
	for name, each := range map[string]struct {
		// What comes of FailTask and of RetryTask, on the daemon and to the worker.
		fail  func(worker *sessiond.Client, id string, stop func())
		retry func(stop func(), err error) error
		// How often the task has failed in the end, and what the worker is told.
		failures int32
		told     codes.Code
	}{
		"refused": {fail: func(_ *sessiond.Client, id string, _ func()) {
			if _, err := plain.StopSession(t.Context(), &sessiondv1.StopSessionRequest{SessionId: id}); err != nil {
				t.Error(err)
			}
		}, failures: 1, told: codes.FailedPrecondition},
		"lost": {retry: func(func(), error) error { return status.Error(codes.Internal, "reset") },
			failures: 2, told: codes.Internal},
		"late": {retry: func(func(), error) error { return status.Error(codes.DeadlineExceeded, "late") },
			failures: 2, told: codes.DeadlineExceeded},
		"stopped in the pause": {fail: func(_ *sessiond.Client, _ string, stop func()) { stop() }, failures: 1},
		"closed in the pause":  {fail: func(worker *sessiond.Client, _ string, _ func()) { _ = worker.Close() }, failures: 1},
		"stopped while it is retried": {retry: func(stop func(), _ error) error {
			stop()
			return status.Error(codes.Canceled, "context canceled")
		}, failures: 2, told: codes.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			id := inUpload(t, plain)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var client *sessiond.Client
			client = newClient(t, behind(func(method string, err error) error {
				switch {
				case method == sessiondv1.TaskService_FailTask_FullMethodName && each.fail != nil:
					each.fail(client, id, stop)
				case method == sessiondv1.TaskService_RetryTask_FullMethodName && each.retry != nil:
					return each.retry(stop, err)
				}
				return err
			}))
			task, err := client.RunTask(ctx, sessiond.TaskSpec{SessionID: id, Type: "processing", StartStage: "processing",
				Attempts: 3}, func(context.Context, *sessiond.TaskRun) (map[string]any, error) { return nil, busy })
			var failed *sessiond.TaskFailed
			if !errors.As(err, &failed) || failed.Err != busy || !strings.Contains(err.Error(), "failed: busy") ||
				strings.Contains(err.Error(), "not run again") != (each.told != codes.OK) {
				t.Errorf("%v", err)
			}
			if joined, ok := err.(interface{ Unwrap() []error }); ok != (each.told != codes.OK) ||
				ok && status.Code(joined.Unwrap()[1]) != each.told {
				t.Errorf("%v", err)
			}
			now, err := plain.GetTask(t.Context(), &sessiondv1.GetTaskRequest{SessionId: id})
			if err != nil || now.GetStatus() != sessiondv1.SessionTask_FAILED || now.GetRetryCount() != each.failures ||
				now.GetTaskId() != task.GetTaskId() {
				t.Errorf("%v, %v; the worker has %v", now, err, task)
			}
			if recorded := errorsOf(t, plain, id); len(recorded) != int(each.failures) || each.failures == 2 &&
				(recorded[0].GetUserMessage() != "The task processing was not run again." ||
					recorded[0].GetCategory() != sessiondv1.SessionError_TEMPORARY) {
				t.Errorf("Recorded was %v", recorded)
			}
		})
	}
}

func TestACompletionThatIsRefusedIsToldAlsoWhereTheFailureIsRefusedToo(t *testing.T) {
	client := newClient(t, behind(func(method string, err error) error {
		if method == sessiondv1.TaskService_FailTask_FullMethodName {
			return refusal(codes.PermissionDenied, "NOT_ALLOWED", "ADMIN_REQUIRED")
		}
		return err
	}))
	_, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: inUpload(t, client), Type: "processing",
		StartStage: "processing", EndStage: "completed"},
		func(context.Context, *sessiond.TaskRun) (map[string]any, error) { return nil, nil })
	if !sessiond.IsReason(err, sessiond.ReasonInvalidTransition) || !strings.Contains(err.Error(), "NOT_ALLOWED") {
		t.Errorf("%v", err)
	}
}

func TestWorkIsToldThatItsTaskIsNoLongerItsOwn(t *testing.T) {
	client := newClient(t)
	for name, each := range map[string]struct {
		do   func(ctx context.Context, run *sessiond.TaskRun) error
		want error
	}{
		"cancelled": {func(ctx context.Context, run *sessiond.TaskRun) error {
			_, err := client.CancelTask(ctx, &sessiondv1.CancelTaskRequest{SessionId: run.SessionID, TaskId: run.TaskID})
			return err
		}, sessiond.ErrTaskCancelled},
		"its session deleted": {func(ctx context.Context, run *sessiond.TaskRun) error {
			_, err := client.DeleteSession(ctx, &sessiondv1.DeleteSessionRequest{SessionId: run.SessionID, Force: true})
			return err
		}, sessiond.ErrTaskCancelled},
		"failed by somebody": {func(ctx context.Context, run *sessiond.TaskRun) error {
			_, err := client.FailTask(ctx, &sessiondv1.FailTaskRequest{SessionId: run.SessionID, TaskId: run.TaskID})
			return err
		}, sessiond.ErrTaskLost},
		// Of the last attempt: the session fails with it, and so it is the session that refuses the heartbeat.
		"its session failed with it": {func(ctx context.Context, run *sessiond.TaskRun) error {
			_, err := client.FailTask(ctx, &sessiondv1.FailTaskRequest{SessionId: run.SessionID, TaskId: run.TaskID})
			return err
		}, sessiond.ErrTaskLost},
	} {
		t.Run(name, func(t *testing.T) {
			id := inUpload(t, client)
			task, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing",
				StartStage: "processing",
				Attempts:   3, HeartbeatInterval: 50 * time.Millisecond},
				func(ctx context.Context, run *sessiond.TaskRun) (map[string]any, error) {
					if name == "its session failed with it" && run.Attempt < 3 {
						return nil, errors.New("not yet")
					}
					if err := each.do(ctx, run); err != nil {
						t.Error(err)
					}
					select {
					case <-ctx.Done():
						if !errors.Is(context.Cause(ctx), each.want) {
							t.Errorf("The work was told %v", context.Cause(ctx))
						}
					case <-time.After(10 * time.Second):
						t.Error("The work was not told")
					}
					return map[string]any{"late": true}, nil
				})
			if !errors.Is(err, each.want) || task == nil {
				t.Errorf("%v, %v", task, err)
			}
		})
	}
}

func TestATaskThatCannotBeStartedIsNotRun(t *testing.T) {
	client := newClient(t)
	work := func(context.Context, *sessiond.TaskRun) (map[string]any, error) {
		t.Error("The work was run")
		return nil, nil
	}
	task, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: "0192f3c4-9f2e-7abc-8def-0123456789ab",
		Type: "processing"}, work)
	if !sessiond.IsReason(err, sessiond.ReasonNeverExisted) || task != nil {
		t.Errorf("%v, %v", task, err)
	}
	if _, err := client.RunTask(t.Context(), sessiond.TaskSpec{HeartbeatTimeout: -1}, work); err == nil {
		t.Error("A negative time was taken")
	}
	_, err = client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: inUpload(t, client), Type: "processing",
		StartStage: "processing", EndStage: "\xff"}, work)
	if err == nil || !strings.Contains(err.Error(), "EndStage") {
		t.Errorf("A stage that is no text: %v", err)
	}
}

func TestAClientThatIsClosedEndsItsTasks(t *testing.T) {
	client := daemon(t).Client(sessiond.WithTimeout(time.Minute))
	id := inUpload(t, client)
	_, err := client.RunTask(t.Context(), sessiond.TaskSpec{SessionID: id, Type: "processing", StartStage: "processing",
		FinishTimeout: time.Second},
		func(ctx context.Context, _ *sessiond.TaskRun) (map[string]any, error) {
			_ = client.Close()
			<-ctx.Done()
			return nil, context.Cause(ctx)
		})
	if !errors.Is(err, sessiond.ErrClosed) {
		t.Errorf("%v", err)
	}
}
