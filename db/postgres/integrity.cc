#include "db/postgres/integrity.h"

#include "absl/strings/str_cat.h"

namespace sessiond::db {
namespace {

// The missing partitions, those with events beyond their position, and whether the trigger is on.
// Rides session_events_pkey, once for each partition.
constexpr char kQuery[] = R"(
  SELECT (SELECT string_agg(n::text, ', ' ORDER BY n)
          FROM database_identity d, generate_series(0, d.partition_count - 1) AS n
          WHERE NOT EXISTS (SELECT FROM partitions p WHERE p.partition = n)),
         (SELECT string_agg(p.partition::text, ', ' ORDER BY p.partition)
          FROM partitions p
          WHERE p.position < (SELECT max(e.position)
                              FROM session_events e
                              WHERE e.partition = p.partition)),
         (SELECT t.tgenabled IN ('O', 'A')
          FROM pg_trigger t
          WHERE t.tgrelid = to_regclass('session_events')
            AND t.tgname = 'session_events_append_only'))";

}  // namespace

absl::Status CheckIntegrity(Connection& connection, SteadyTime deadline) {
  const auto answer = connection.Query(kQuery, deadline);
  if (!answer.ok()) return answer.status();
  const Result& found = *answer;
  // Nothing of a session in it could be written.
  if (!found.IsNull(0, 0)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "rows of the table partitions are missing (", found.Text(0, 0),
        "): restore the database from a backup, or run, as the tables' owner: INSERT INTO "
        "partitions (partition, position) SELECT n, coalesce((SELECT max(position) FROM "
        "session_events e WHERE e.partition = n), 0) FROM unnest(ARRAY[",
        found.Text(0, 0), "]) AS n"));
  }
  // The next event's position is taken.
  if (!found.IsNull(0, 1)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the positions of partitions (", found.Text(0, 1),
        ") are behind their events, as if somebody had set them back: restore the database from a "
        "backup, or run, as the tables' owner: UPDATE partitions p SET position = (SELECT "
        "max(position) FROM session_events e WHERE e.partition = p.partition) WHERE partition IN (",
        found.Text(0, 1), ")"));
  }
  if (found.IsNull(0, 2)) {
    return absl::FailedPreconditionError(
        "nothing keeps the audit from being changed, because its trigger is gone: as the tables' "
        "owner, run: CREATE TRIGGER session_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
        "ON session_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_event_changes()");
  }
  if (!found.Bool(0, 2)) {
    return absl::FailedPreconditionError(
        "nothing keeps the audit from being changed, because its trigger is off: as the tables' "
        "owner, run: ALTER TABLE session_events ENABLE TRIGGER session_events_append_only");
  }
  return absl::OkStatus();
}

}  // namespace sessiond::db
