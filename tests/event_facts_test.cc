// What the audit writes down it reads back.
#include "state_machine/event_facts.h"

#include <gtest/gtest.h>

#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

using v1::Session;

TEST(Facts, OfTimesAreReadBackWhateverTheYear) {
  for (const int year : {1, 999, 1000, 1969, 1970, 2026, 9999}) {
    for (const int micros : {0, 1, 999'999}) {
      const absl::Time time =
          absl::FromCivil(absl::CivilSecond(year, 12, 31, 23, 59, 58), absl::UTCTimeZone()) +
          absl::Microseconds(micros);
      Session session;
      TakeFact("fail_time", TimeFact(time), &session);
      EXPECT_EQ(FromProto(session.fail_time()), time) << ToRfc3339(time);
      EXPECT_EQ(FactOf(session, "fail_time").string_value(), ToRfc3339(time));
    }
  }
}

TEST(Facts, AtAPathAreTakenWhereTheyWereFound) {
  Session session;
  (*session.mutable_labels())["a.b"] = "1";
  (*session.mutable_references())["job_posting"] = "";
  (*session.mutable_counters())["questions"] = 7;
  (*session.mutable_context()->mutable_fields())["flag"] = BoolValue(true);
  session.mutable_current_task()->set_status(v1::SessionTask::FAILED);
  session.set_hold(true);
  for (const char* path : {"labels.`a.b`", "references.job_posting", "counters.questions",
                           "context.flag", "current_task.status", "hold", "labels", "references",
                           "counters", "context", "current_task"}) {
    SCOPED_TRACE(path);
    Session other;
    TakeFactAt(path, FactAt(path, session), &other);
    EXPECT_EQ(FactAt(path, other).SerializeAsString(), FactAt(path, session).SerializeAsString());
    EXPECT_NE(FactAt(path, other).SerializeAsString(), FactAt(path, Session()).SerializeAsString());
  }
}

TEST(Facts, ThatAreNullTakeAway) {
  Session session;
  (*session.mutable_labels())["a.b"] = "1";
  (*session.mutable_labels())["c"] = "2";
  session.set_fail_reason("broken");
  TakeFactAt("labels.`a.b`", NullValue(), &session);
  TakeFactAt("fail_reason", NullValue(), &session);
  TakeFactAt("errors.0192.resolver", StringValue("below it"), &session);
  TakeFactAt("first_sequence", NumberValue(1), &session);
  Session wanted;
  (*wanted.mutable_labels())["c"] = "2";
  EXPECT_EQ(session.SerializeAsString(), wanted.SerializeAsString());
}

}  // namespace
}  // namespace sessiond
