package main

import (
	"context"
	"errors"
	"time"

	sessiond "github.com/sessiond/sessiond/client/go"
)

// attempt is what the work does in one attempt.
type attempt struct {
	Progress        []object `json:"progress"`
	SleepS          float64  `json:"sleep_s"`
	UntilCancelledS float64  `json:"until_cancelled_s"`
	Fail            string   `json:"fail"`
	Succeed         object   `json:"succeed"`
}

func runTask(ctx context.Context, client *sessiond.Client, r request) (any, error) {
	var args struct {
		SessionID          string    `json:"session_id"`
		TaskType           string    `json:"task_type"`
		HeartbeatTimeoutS  float64   `json:"heartbeat_timeout_s"`
		HeartbeatIntervalS float64   `json:"heartbeat_interval_s"`
		StartStage         string    `json:"start_stage"`
		EndStage           string    `json:"end_stage"`
		AttemptsMax        int       `json:"attempts_max"`
		Work               []attempt `json:"work"`
	}
	if err := unmarshal(r.Args, &args); err != nil {
		return nil, err
	}
	attempts := 0
	task, err := client.RunTask(ctx, sessiond.TaskSpec{
		SessionID:         args.SessionID,
		Type:              args.TaskType,
		StartStage:        args.StartStage,
		EndStage:          args.EndStage,
		Attempts:          args.AttemptsMax,
		HeartbeatTimeout:  seconds(args.HeartbeatTimeoutS),
		HeartbeatInterval: seconds(args.HeartbeatIntervalS),
	}, func(ctx context.Context, run *sessiond.TaskRun) (map[string]any, error) {
		attempts = run.Attempt
		return work(ctx, run, args.Work[min(run.Attempt, len(args.Work))-1])
	})
	answer := object{"attempts": attempts, "message": ""}
	if task != nil {
		answer["task"] = plain(task)
	}
	var failed *sessiond.TaskFailed
	switch {
	case err == nil:
		answer["outcome"] = "completed"
	case errors.Is(err, sessiond.ErrTaskCancelled):
		answer["outcome"] = "cancelled"
	case errors.Is(err, sessiond.ErrTaskLost):
		answer["outcome"] = "lost"
	case errors.As(err, &failed):
		answer["outcome"], answer["message"] = "failed", failed.Err.Error()
	default:
		return nil, err
	}
	return answer, nil
}

func work(ctx context.Context, run *sessiond.TaskRun, script attempt) (map[string]any, error) {
	for _, progress := range script.Progress {
		if err := run.Progress(ctx, progress); err != nil {
			return nil, err
		}
	}
	if script.SleepS > 0 && wait(ctx, script.SleepS) {
		return nil, context.Cause(ctx)
	}
	if script.UntilCancelledS > 0 {
		if wait(ctx, script.UntilCancelledS) {
			return nil, context.Cause(ctx)
		}
		return nil, errors.New("not cancelled")
	}
	if script.Fail != "" {
		return nil, errors.New(script.Fail)
	}
	return script.Succeed, nil
}

// wait says whether the work was interrupted before the time had passed.
func wait(ctx context.Context, s float64) bool {
	select {
	case <-time.After(seconds(s)):
		return false
	case <-ctx.Done():
		return true
	}
}
