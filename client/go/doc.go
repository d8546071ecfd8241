// Package sessiond is the client of sessiond, a daemon that tracks long-lived user sessions.
//
//	client, err := sessiond.Dial()
//	session, err := client.GetSession(ctx, &sessiondv1.GetSessionRequest{SessionId: id})
//	if sessiond.IsReason(err, sessiond.ReasonDeleted) { … }
//
// A [Client] has every RPC of the contract as a method, with the generated types of package sessiondv1. What this
// package adds to the generated code:
//
//   - Every call has a deadline: that of its context, else [WithTimeout]'s.
//   - Every change has a request_id, the same for all its attempts, so that it takes effect once. UNAVAILABLE is
//     retried, and nothing else, with pauses that are drawn at random and as long as the daemon asks for.
//   - Refusals are a [*Refusal], with reason, category and metadata; [*NotFound] says why something is not there.
//   - Lists are iterators: [Client.Sessions], [Client.Events], [Client.Tasks] and so on.
//   - [Client.Watch] resumes by itself; [Client.RunTask] keeps a task alive while its work runs; [Client.Create] and
//     [Client.Update] take plain maps.
//
// Package sessiondtest starts a daemon for the tests of a program.
package sessiond

// Version is this module's version: that of the daemon it was released with.
const Version = "0.1.0"
