package sessiond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

// TaskSpec is the task that [Client.RunTask] runs.
type TaskSpec struct {
	// SessionID and Type, one of the workflow's task types, are required.
	SessionID string
	Type      string
	// StartStage is the session's next stage, to be entered together with the task's start; empty to stay.
	StartStage string
	// EndStage is the session's next stage, to be entered together with the task's completion; empty to stay.
	EndStage string
	// Attempts is how often the work is run at most: again when it has failed, behind pauses that grow, as long as the
	// task has retries left. 0 means once.
	Attempts int
	// HeartbeatTimeout is how long this worker may be silent before the daemon fails the task: in whole seconds or more.
	// 0 means 30 seconds.
	HeartbeatTimeout time.Duration
	// HeartbeatInterval is how often the worker is heard of while the work runs, and so how soon a cancellation is
	// noticed. 0 means a third of HeartbeatTimeout.
	HeartbeatInterval time.Duration
	// FinishTimeout is how long the calls may take that end the task, their retries included: also when the context has
	// ended by then. 0 means 30 seconds.
	FinishTimeout time.Duration
	// Actor is the end user on whose behalf it runs, and Reason is why: for the audit.
	Actor, Reason string
}

// Work is what a task does. It returns the task's result; or an error, which is recorded, in words of its own if it
// is a [*TaskError]. Its context ends when RunTask's does, and when the task is no longer this worker's:
// context.Cause tells ErrTaskCancelled or ErrTaskLost.
type Work func(ctx context.Context, run *TaskRun) (map[string]any, error)

var (
	// ErrTaskCancelled: somebody cancelled the task, or ended its session, while its work ran.
	ErrTaskCancelled = errors.New("sessiond: the task was cancelled")
	// ErrTaskLost: the task is no longer this worker's; the daemon failed it for silence, or another run replaced it.
	ErrTaskLost = errors.New("sessiond: the task is no longer this worker's")
)

// TaskFailed is the error of [Client.RunTask] when the work failed, and was not or no more retried. It wraps the work's
// own error. What kept the failure from being recorded, or the task from being run again, is wrapped beside it.
type TaskFailed struct {
	Task *sessiondv1.SessionTask
	Err  error
}

// Error says which task failed, and why.
func (f *TaskFailed) Error() string {
	return fmt.Sprintf("sessiond: task %s of type %s failed: %v", f.Task.GetTaskId(), f.Task.GetTaskType(), f.Err)
}

// Unwrap is the work's error.
func (f *TaskFailed) Unwrap() error { return f.Err }

// TaskError is an error of [Work] that says what is recorded of it. What is longer than the contract takes is cut, and
// details that it does not take are left out.
type TaskError struct {
	Err error
	// Category is TEMPORARY while it is going to be retried, and ADMIN_REQUIRED otherwise, when not given.
	Category sessiondv1.SessionError_Category
	// Severity is WARNING when not given. A BLOCKING one keeps the session in its stage until it is resolved, where its
	// workflow says so.
	Severity sessiondv1.SessionError_Severity
	// UserMessage is what the user is told.
	UserMessage string
	// RecoveryActions is what to do about it, in order.
	RecoveryActions []string
	// Code is your own code for this kind of error; the type of Err when empty.
	Code string
	// Details are for programs and developers; see [Struct].
	Details map[string]any
	// Permanent: trying again would not help, so it is not tried again here.
	Permanent bool
}

// Error is that of Err.
func (e *TaskError) Error() string { return e.Err.Error() }

// Unwrap is Err.
func (e *TaskError) Unwrap() error { return e.Err }

// TaskRun is one run of a task, as its work sees it. Its methods are safe for concurrent use.
type TaskRun struct {
	// SessionID is the session, and TaskID this run.
	SessionID, TaskID string
	// Attempt is 1 for the first run by this RunTask.
	Attempt int

	client *Client
	spec   TaskSpec
	end    context.CancelCauseFunc

	mutex sync.Mutex
	task  *sessiondv1.SessionTask // As it was last seen.
}

// Progress reports how far the work has come; it replaces what was reported before. Its error need not end the work:
// if the task is no longer this worker's, the work's context has ended.
func (r *TaskRun) Progress(ctx context.Context, progress map[string]any) error {
	fields, err := Struct(progress)
	if err != nil {
		return err
	}
	return r.report(ctx, &sessiondv1.ReportTaskProgressRequest{Progress: fields})
}

func (r *TaskRun) report(ctx context.Context, request *sessiondv1.ReportTaskProgressRequest) error {
	request.SessionId, request.TaskId = r.SessionID, r.TaskID
	request.Actor, request.Reason = r.spec.Actor, r.spec.Reason
	task, err := r.client.ReportTaskProgress(ctx, request)
	if err != nil {
		if gone := r.client.whyGone(ctx, r, err); gone != nil {
			r.end(gone)
			return gone
		}
		return err
	}
	r.see(task)
	return nil
}

func (r *TaskRun) see(task *sessiondv1.SessionTask) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.task = task
}

// Task is the task as it was last seen.
func (r *TaskRun) Task() *sessiondv1.SessionTask {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return proto.CloneOf(r.task)
}

// heartbeats reports that the worker is alive, until the context ends.
func (r *TaskRun) heartbeats(ctx context.Context) {
	ticker := time.NewTicker(r.spec.HeartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		// One that does not come through in time is given up: the next one is due, and may.
		beat, cancel := context.WithTimeout(ctx, max(r.spec.HeartbeatInterval, time.Second))
		err := r.report(beat, &sessiondv1.ReportTaskProgressRequest{})
		cancel()
		if err != nil && ctx.Err() == nil {
			r.client.conn.config.logger.LogAttrs(ctx, slog.LevelWarn, "heartbeat failed",
				slog.String("session_id", r.SessionID), slog.String("task_id", r.TaskID), slog.String("error", err.Error()))
		}
	}
}

// RunTask starts a task, or another run of it if it has failed before; runs its work in this goroutine, while
// another one reports that the worker is alive; and completes the task, or fails it with the work's error recorded.
//
//	task, err := client.RunTask(ctx, sessiond.TaskSpec{SessionID: id, Type: "export", Attempts: 3},
//		func(ctx context.Context, run *sessiond.TaskRun) (map[string]any, error) {
//			count, err := export(ctx)
//			return map[string]any{"tickets": count}, err
//		})
//
// Errors: the refusal of the start; [*TaskFailed]; [ErrTaskCancelled] and [ErrTaskLost]; the error of the
// completion, when that was refused (the task is failed with it) or did not come through. The task is as it was
// last seen, and nil if none was started. When the context ends and the work returns an error, the task is failed,
// so that another worker can retry it. If the work panics, or a hook of the client's in this goroutine does, the task is
// failed, and the panic goes on.
func (c *Client) RunTask(ctx context.Context, spec TaskSpec, work Work) (*sessiondv1.SessionTask, error) {
	if spec.HeartbeatTimeout == 0 {
		spec.HeartbeatTimeout = 30 * time.Second
	}
	if spec.HeartbeatInterval == 0 {
		spec.HeartbeatInterval = spec.HeartbeatTimeout / 3
	}
	if spec.FinishTimeout == 0 {
		spec.FinishTimeout = 30 * time.Second
	}
	if spec.HeartbeatTimeout < 0 || spec.HeartbeatInterval < 0 || spec.FinishTimeout < 0 {
		return nil, errors.New("sessiond: the times of a TaskSpec are 0 or more")
	}
	if err := checkText(spec.EndStage); err != nil { // Now: with the completion it would be too late.
		return nil, fmt.Errorf("sessiond: the EndStage of a TaskSpec: %w", err)
	}
	task, err := c.startTask(ctx, spec)
	if err != nil {
		return nil, err
	}
	between := pauses{next: 100 * time.Millisecond, longest: 10 * time.Second}
	for attempt := 1; ; attempt++ {
		task, err = c.runOnce(ctx, spec, task, attempt, work)
		var failed *TaskFailed
		if !errors.As(err, &failed) || attempt >= spec.Attempts || !task.GetRetryable() || isPermanent(failed.Err) {
			return task, err
		}
		pause, _ := between.after(nil, nil)
		c.conn.config.logger.LogAttrs(ctx, slog.LevelInfo, "task is run again", slog.String("session_id", spec.SessionID),
			slog.String("task_type", spec.Type), slog.Int("attempt", attempt), slog.Duration("pause", pause),
			slog.String("error", failed.Err.Error()))
		open, end := c.whileOpen(ctx)
		waited := sleep(open, pause)
		end(nil)
		if !waited {
			return task, err
		}
		taskID := NewRequestID() // Ours, so that a run of which nothing is known can be failed.
		retried, refused := c.retryTask(ctx, spec, taskID)
		if refused != nil {
			if passes(refused) {
				failed.Task = c.failUnconfirmed(ctx, spec, task, taskID, refused)
			}
			return failed.Task, fmt.Errorf("%w (and it was not run again: %w)", err, refused)
		}
		task = retried
	}
}

// failUnconfirmed fails a run that may have begun, though nobody has said so: the daemon would wait for its worker. It
// returns the task as it is then, or as it was before if the run has not begun.
func (c *Client) failUnconfirmed(
	ctx context.Context, spec TaskSpec, task *sessiondv1.SessionTask, taskID string, why error,
) *sessiondv1.SessionTask {
	run := &TaskRun{SessionID: spec.SessionID, TaskID: taskID, client: c, spec: spec, task: task}
	failed, err := run.fail(ctx, &TaskError{Err: why, Category: sessiondv1.SessionError_TEMPORARY,
		UserMessage: fmt.Sprintf("The task %s was not run again.", spec.Type)}, false)
	if err != nil {
		return task
	}
	return failed
}

func isPermanent(err error) bool {
	var given *TaskError
	return errors.As(err, &given) && given.Permanent
}

// startTask starts the task, or continues the one that has failed.
func (c *Client) startTask(ctx context.Context, spec TaskSpec) (*sessiondv1.SessionTask, error) {
	taskID := NewRequestID() // A UUID: ours, so that what is reported is about this run, whatever happens.
	run := &TaskRun{SessionID: spec.SessionID, TaskID: taskID, client: c, spec: spec}
	var task *sessiondv1.SessionTask
	var err error
	run.whole(ctx, func() {
		task, err = c.StartTask(ctx, &sessiondv1.StartTaskRequest{
			SessionId:        spec.SessionID,
			TaskType:         spec.Type,
			TaskId:           taskID,
			HeartbeatTimeout: durationpb.New(spec.HeartbeatTimeout),
			AdvanceToStage:   spec.StartStage,
			Actor:            spec.Actor,
			Reason:           spec.Reason,
		})
	})
	if !IsReason(err, ReasonTaskFailed) {
		return task, err
	}
	return c.retryTask(ctx, spec, NewRequestID())
}

// retryTask runs the task again, as a run of this id.
func (c *Client) retryTask(ctx context.Context, spec TaskSpec, taskID string) (*sessiondv1.SessionTask, error) {
	run := &TaskRun{SessionID: spec.SessionID, TaskID: taskID, client: c, spec: spec}
	var task *sessiondv1.SessionTask
	var err error
	run.whole(ctx, func() {
		task, err = c.RetryTask(ctx, &sessiondv1.RetryTaskRequest{
			SessionId: spec.SessionID, TaskId: taskID, Actor: spec.Actor, Reason: spec.Reason})
	})
	return task, err
}

// whole does something to its end. When it panics, or leaves its goroutine, the run is failed: the daemon would wait
// for its worker. Hooks are not asked then: it may have been one of them.
func (r *TaskRun) whole(ctx context.Context, do func()) {
	ended := false
	defer func() {
		if !ended {
			_, _ = r.fail(unhooked(ctx), &TaskError{Err: errors.New("the worker panicked"), Code: "panic"}, false)
		}
	}()
	do()
	ended = true
}

// runOnce runs the work for one run of the task, to that run's end.
func (c *Client) runOnce(
	ctx context.Context, spec TaskSpec, task *sessiondv1.SessionTask, attempt int, work Work,
) (ended *sessiondv1.SessionTask, err error) {
	workCtx, end := c.whileOpen(ctx)
	defer end(nil)
	run := &TaskRun{SessionID: spec.SessionID, TaskID: task.GetTaskId(), Attempt: attempt,
		client: c, spec: spec, end: end, task: task}
	run.whole(ctx, func() { ended, err = run.toItsEnd(ctx, workCtx, work) })
	return ended, err
}

// toItsEnd does the work, with heartbeats beside it, and tells the daemon what came of it.
func (r *TaskRun) toItsEnd(ctx, workCtx context.Context, work Work) (*sessiondv1.SessionTask, error) {
	beating, stopBeating := context.WithCancel(workCtx)
	var beats sync.WaitGroup
	beats.Add(1)
	go func() {
		defer beats.Done()
		r.heartbeats(beating)
	}()
	stop := func() {
		stopBeating()
		beats.Wait()
	}

	defer stop() // Also when it panics.
	result, err := work(workCtx, r)
	stop()

	if gone := context.Cause(workCtx); errors.Is(gone, ErrTaskCancelled) || errors.Is(gone, ErrTaskLost) {
		return r.Task(), gone
	}
	if err == nil {
		task, err := r.complete(ctx, result)
		var failed *TaskFailed // It was failed already, or that was refused: its result has no form.
		if err == nil || errors.As(err, &failed) || errors.Is(err, ErrTaskCancelled) || errors.Is(err, ErrTaskLost) ||
			passes(err) {
			return task, err
		}
		// It was refused for good: the daemon would wait for the worker until its heartbeat timeout.
		task, failing := r.fail(ctx, &TaskError{Err: err, Permanent: true}, false)
		if failing != nil {
			return task, fmt.Errorf("%w (and that was not recorded: %w)", err, failing)
		}
		return task, err
	}
	task := r.Task()
	retry := r.Attempt < r.spec.Attempts && !isPermanent(err) && ctx.Err() == nil &&
		task.GetRetryCount()+1 < task.GetMaxRetries()
	why := err
	if given := (*TaskError)(nil); ctx.Err() != nil && !errors.As(err, &given) {
		why = &TaskError{Err: err, Category: sessiondv1.SessionError_TEMPORARY,
			UserMessage: fmt.Sprintf("The task %s was interrupted: its worker was stopped.", r.spec.Type)}
	}
	task, failing := r.fail(ctx, why, retry)
	if errors.Is(failing, ErrTaskCancelled) || errors.Is(failing, ErrTaskLost) {
		return task, failing
	}
	if failing != nil {
		return task, fmt.Errorf("%w (and that was not recorded: %w)", &TaskFailed{task, err}, failing)
	}
	return task, &TaskFailed{task, err}
}

// finish is a context for the calls that end a task: they are made even if the work's has ended.
func (r *TaskRun) finish(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), r.spec.FinishTimeout)
}

func (r *TaskRun) complete(ctx context.Context, result map[string]any) (*sessiondv1.SessionTask, error) {
	ctx, cancel := r.finish(ctx)
	defer cancel()
	fields, err := Struct(result)
	if err != nil {
		why := &TaskError{Err: err, Permanent: true}
		task, failing := r.fail(ctx, why, false)
		return task, errors.Join(&TaskFailed{task, why}, failing)
	}
	task, err := r.client.CompleteTask(ctx, &sessiondv1.CompleteTaskRequest{
		SessionId:      r.SessionID,
		TaskId:         r.TaskID,
		Result:         fields,
		AdvanceToStage: r.spec.EndStage,
		Actor:          r.spec.Actor,
		Reason:         r.spec.Reason,
	})
	return r.ended(ctx, task, err)
}

func (r *TaskRun) fail(ctx context.Context, why error, retry bool) (*sessiondv1.SessionTask, error) {
	ctx, cancel := r.finish(ctx)
	defer cancel()
	request := &sessiondv1.FailTaskRequest{
		SessionId: r.SessionID, TaskId: r.TaskID, Actor: r.spec.Actor, Reason: r.spec.Reason,
	}
	request.FailureContext, request.Error = record(why, r.spec.Type, retry)
	task, err := r.client.FailTask(ctx, request)
	if code := status.Code(err); (code == codes.InvalidArgument || code == codes.ResourceExhausted) && !passes(err) {
		// The details are the work's own, and may be longer than the daemon takes. The task must not stay for them.
		request.Error.TechnicalDetails = leftOut(err)
		task, err = r.client.FailTask(ctx, request)
	}
	return r.ended(ctx, task, err)
}

// ended is what a call that ends the task has brought.
func (r *TaskRun) ended(ctx context.Context, task *sessiondv1.SessionTask, err error) (*sessiondv1.SessionTask, error) {
	if err == nil {
		r.see(task)
		return task, nil
	}
	if gone := r.client.whyGone(ctx, r, err); gone != nil {
		return r.Task(), gone
	}
	return r.Task(), err
}

// whyGone is ErrTaskCancelled or ErrTaskLost if the refusal means that the task is no longer this worker's; else nil.
func (c *Client) whyGone(ctx context.Context, run *TaskRun, err error) error {
	gone := ErrTaskCancelled
	switch ReasonOf(err) {
	case ReasonStaleTask, ReasonTaskCompleted, ReasonTaskNotFound:
		gone = ErrTaskLost
	case ReasonTaskNotRunning:
		var refusal *Refusal
		if errors.As(err, &refusal) && refusal.Metadata["status"] != sessiondv1.SessionTask_CANCELLED.String() {
			gone = ErrTaskLost
		}
	case ReasonSessionNotActive, ReasonDeleted, ReasonNeverExisted, ReasonArchived:
	default:
		return nil
	}
	// How it ended, it says best itself. Where it cannot be asked, the refusal has to do.
	request := &sessiondv1.GetTaskRequest{SessionId: run.SessionID, IncludeDeleted: true}
	if task, err := c.GetTask(ctx, request); err == nil && task.GetTaskId() == run.TaskID {
		run.see(task)
		if task.GetStatus() == sessiondv1.SessionTask_FAILED {
			gone = ErrTaskLost
		}
	}
	return fmt.Errorf("%w: %w", gone, err)
}
