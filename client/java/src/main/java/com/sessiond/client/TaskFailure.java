package com.sessiond.client;

import com.sessiond.v1.SessionError;

/** Thrown by work that knows what its failure means: the error to record, in words for the user. */
public class TaskFailure extends Exception {
  private static final long serialVersionUID = 1L;

  private final SessionError error;

  /**
   * The user_message of {@code error} is the message of this exception too. What has no category, severity or
   * user_message gets those of any other exception; what is longer than the contract takes is cut, and details that it
   * does not take are left out.
   */
  public TaskFailure(SessionError error) {
    this(error, null);
  }

  /** The same, with what caused it. */
  public TaskFailure(SessionError error, Throwable cause) {
    super(error.getUserMessage(), cause);
    this.error = error;
  }

  /** The error to record. */
  public final SessionError error() {
    return error;
  }
}
