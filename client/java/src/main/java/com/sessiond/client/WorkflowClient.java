package com.sessiond.client;

import com.sessiond.v1.CreateWorkflowRequest;
import com.sessiond.v1.GetWorkflowRequest;
import com.sessiond.v1.ListWorkflowsRequest;
import com.sessiond.v1.ListWorkflowsResponse;
import com.sessiond.v1.ValidateWorkflowRequest;
import com.sessiond.v1.ValidateWorkflowResponse;
import com.sessiond.v1.Workflow;
import com.sessiond.v1.WorkflowServiceGrpc;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Lists, checks and creates workflow definitions.
 *
 * <p>A method has its RPC's name; {@code sessiond/v1/workflow_service.proto} says what each is refused for. It takes
 * a request, or what fills one in. A change without a request_id gets one, the same for all its retries.
 * Thread-safe.
 */
public final class WorkflowClient {
  private final Calls calls;

  WorkflowClient(Calls calls) {
    this.calls = calls;
  }

  /** The same with another deadline for each call, its retries included. */
  public WorkflowClient withTimeout(Duration timeout) {
    return new WorkflowClient(calls.withTimeout(timeout));
  }

  /** Every definition, by name. */
  public Pages<Workflow> listWorkflows(ListWorkflowsRequest request) {
    return new Pages<>(
        request.getPageToken(),
        token -> {
          ListWorkflowsResponse page =
              calls.unary(
                  WorkflowServiceGrpc.getListWorkflowsMethod(), request.toBuilder().setPageToken(token).build());
          return new Pages.Page<>(page.getWorkflowsList(), page.getNextPageToken());
        });
  }

  /** Every definition, by name. */
  public Pages<Workflow> listWorkflows(Consumer<ListWorkflowsRequest.Builder> request) {
    return listWorkflows(Calls.build(ListWorkflowsRequest.newBuilder(), request, ListWorkflowsRequest.Builder::build));
  }

  /** Answers one definition. */
  public Workflow getWorkflow(GetWorkflowRequest request) {
    return calls.unary(WorkflowServiceGrpc.getGetWorkflowMethod(), request);
  }

  /** Answers one definition. */
  public Workflow getWorkflow(Consumer<GetWorkflowRequest.Builder> request) {
    return getWorkflow(Calls.build(GetWorkflowRequest.newBuilder(), request, GetWorkflowRequest.Builder::build));
  }

  /** Creates the next revision of a workflow. */
  public Workflow createWorkflow(CreateWorkflowRequest request) {
    return calls.unary(WorkflowServiceGrpc.getCreateWorkflowMethod(), request);
  }

  /** Creates the next revision of a workflow. */
  public Workflow createWorkflow(Consumer<CreateWorkflowRequest.Builder> request) {
    return createWorkflow(
        Calls.build(CreateWorkflowRequest.newBuilder(), request, CreateWorkflowRequest.Builder::build));
  }

  /** Says everything that is wrong with a definition; creates nothing. */
  public ValidateWorkflowResponse validateWorkflow(ValidateWorkflowRequest request) {
    return calls.unary(WorkflowServiceGrpc.getValidateWorkflowMethod(), request);
  }

  /** Says everything that is wrong with a definition; creates nothing. */
  public ValidateWorkflowResponse validateWorkflow(Consumer<ValidateWorkflowRequest.Builder> request) {
    return validateWorkflow(
        Calls.build(ValidateWorkflowRequest.newBuilder(), request, ValidateWorkflowRequest.Builder::build));
  }
}
