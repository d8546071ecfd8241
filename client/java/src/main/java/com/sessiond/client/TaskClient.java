package com.sessiond.client;

import com.sessiond.v1.CancelTaskRequest;
import com.sessiond.v1.CompleteTaskRequest;
import com.sessiond.v1.FailTaskRequest;
import com.sessiond.v1.GetTaskRequest;
import com.sessiond.v1.ListTasksRequest;
import com.sessiond.v1.ListTasksResponse;
import com.sessiond.v1.ReportTaskProgressRequest;
import com.sessiond.v1.RetryTaskRequest;
import com.sessiond.v1.SessionTask;
import com.sessiond.v1.StartTaskRequest;
import com.sessiond.v1.TaskServiceGrpc;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Tracks the background task of a session. {@link SessiondClient#task} does all of it around work of yours.
 *
 * <p>A method has its RPC's name; {@code sessiond/v1/task_service.proto} says what each is refused for. It takes a
 * request, or what fills one in. A change without a request_id gets one, the same for all its retries. Thread-safe.
 */
public final class TaskClient {
  private final Calls calls;

  TaskClient(Calls calls) {
    this.calls = calls;
  }

  /** The same with another deadline for each call, its retries included. */
  public TaskClient withTimeout(Duration timeout) {
    return new TaskClient(calls.withTimeout(timeout));
  }

  /** Starts a task. */
  public SessionTask startTask(StartTaskRequest request) {
    return calls.unary(TaskServiceGrpc.getStartTaskMethod(), request);
  }

  /** Starts a task. */
  public SessionTask startTask(Consumer<StartTaskRequest.Builder> request) {
    return startTask(Calls.build(StartTaskRequest.newBuilder(), request, StartTaskRequest.Builder::build));
  }

  /** Answers the current task. */
  public SessionTask getTask(GetTaskRequest request) {
    return calls.unary(TaskServiceGrpc.getGetTaskMethod(), request);
  }

  /** Answers the current task. */
  public SessionTask getTask(Consumer<GetTaskRequest.Builder> request) {
    return getTask(Calls.build(GetTaskRequest.newBuilder(), request, GetTaskRequest.Builder::build));
  }

  /** Says how far it has come, or only that its worker is alive. */
  public SessionTask reportTaskProgress(ReportTaskProgressRequest request) {
    return calls.unary(TaskServiceGrpc.getReportTaskProgressMethod(), request);
  }

  /** Says how far it has come, or only that its worker is alive. */
  public SessionTask reportTaskProgress(Consumer<ReportTaskProgressRequest.Builder> request) {
    return reportTaskProgress(
        Calls.build(ReportTaskProgressRequest.newBuilder(), request, ReportTaskProgressRequest.Builder::build));
  }

  /** Ends it well. */
  public SessionTask completeTask(CompleteTaskRequest request) {
    return calls.unary(TaskServiceGrpc.getCompleteTaskMethod(), request);
  }

  /** Ends it well. */
  public SessionTask completeTask(Consumer<CompleteTaskRequest.Builder> request) {
    return completeTask(Calls.build(CompleteTaskRequest.newBuilder(), request, CompleteTaskRequest.Builder::build));
  }

  /** Ends it badly, and records an error with it. */
  public SessionTask failTask(FailTaskRequest request) {
    return calls.unary(TaskServiceGrpc.getFailTaskMethod(), request);
  }

  /** Ends it badly, and records an error with it. */
  public SessionTask failTask(Consumer<FailTaskRequest.Builder> request) {
    return failTask(Calls.build(FailTaskRequest.newBuilder(), request, FailTaskRequest.Builder::build));
  }

  /** Ends it because nobody wants it any more. */
  public SessionTask cancelTask(CancelTaskRequest request) {
    return calls.unary(TaskServiceGrpc.getCancelTaskMethod(), request);
  }

  /** Ends it because nobody wants it any more. */
  public SessionTask cancelTask(Consumer<CancelTaskRequest.Builder> request) {
    return cancelTask(Calls.build(CancelTaskRequest.newBuilder(), request, CancelTaskRequest.Builder::build));
  }

  /** Runs a FAILED task again, as a new run with a new id. */
  public SessionTask retryTask(RetryTaskRequest request) {
    return calls.unary(TaskServiceGrpc.getRetryTaskMethod(), request);
  }

  /** Runs a FAILED task again, as a new run with a new id. */
  public SessionTask retryTask(Consumer<RetryTaskRequest.Builder> request) {
    return retryTask(Calls.build(RetryTaskRequest.newBuilder(), request, RetryTaskRequest.Builder::build));
  }

  /** Every current task that matches, the newest started first. */
  public Pages<SessionTask> listTasks(ListTasksRequest request) {
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListTasksResponse page =
              calls.unary(TaskServiceGrpc.getListTasksMethod(), request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getTasksList(), page.getNextPageToken());
        });
  }

  /** Every current task that matches, the newest started first. */
  public Pages<SessionTask> listTasks(Consumer<ListTasksRequest.Builder> request) {
    return listTasks(Calls.build(ListTasksRequest.newBuilder(), request, ListTasksRequest.Builder::build));
  }
}
