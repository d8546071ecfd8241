#include "db/write/group_lookups.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_split.h"
#include "db/rows/resource_rows.h"
#include "db/rows/workflow_rows.h"
#include "db/sql/statements.h"

namespace sessiond::db {
namespace {

// One row for each.

void ReadPosition(const Result& result, int row, GroupFinds* finds) {
  finds->positions.push_back({result.Int2(row, 0), result.Int8(row, 1)});
  finds->now = result.Timestamp(row, 2);
}

void ReadLoadedSession(const Result& result, int row, GroupFinds* finds) {
  GroupFinds::LoadedSession& found = finds->sessions.emplace_back();
  ReadSession(result, row, 1, &found.session);
  found.blocking.count = result.Int4(row, 1 + kBlockingErrorsColumn);
  const absl::string_view ids = result.Text(row, 1 + kSessionColumnCount);
  if (!ids.empty()) found.blocking.ids = absl::StrSplit(ids, ',');
}

void ReadRequest(const Result& result, int row, GroupFinds* finds) {
  finds->requests.push_back({result.Int4(row, 0), std::string(result.Text(row, 1)),
                             std::string(result.Text(row, 2)), std::string(result.Text(row, 3))});
}

void ReadFoundEvent(const Result& result, int row, GroupFinds* finds) {
  finds->events.push_back({result.Int4(row, 0), result.Int4(row, 1), result.Timestamp(row, 2),
                           std::string(result.Text(row, 3)), std::string(result.Text(row, 4))});
}

void ReadFoundError(const Result& result, int row, GroupFinds* finds) {
  ReadError(result, row, 0, &finds->errors.emplace_back());
}

void ReadFoundArtifact(const Result& result, int row, GroupFinds* finds) {
  ReadArtifact(result, row, 0, &finds->artifacts.emplace_back());
}

void ReadUsedId(const Result& result, int row, GroupFinds* finds) {
  finds->used_ids.push_back({std::string(result.Text(row, 0)), std::string(result.Text(row, 1))});
}

void WriteRequestKey(const GroupLookups::RequestKey& key, RowWriter& out) {
  out.Int2(key.partition);
  out.Uuid(key.key);
  out.Int4(key.ix);
}

// The scopes' numbers, namespaces and owners: $3, $4 and $5 of load_sessions.sql.
void AddScopes(const std::vector<const Scope*>& scopes, BinaryParams* params) {
  std::vector<int16_t> numbers;
  std::vector<std::optional<std::string>> namespaces, owners;
  for (std::size_t i = 0; i < scopes.size(); ++i) {
    for (std::string& name : scopes[i]->Namespaces()) {
      numbers.push_back(static_cast<int16_t>(i + 1));
      namespaces.emplace_back(std::move(name));
      owners.push_back(scopes[i]->owner_id());
    }
  }
  params->AddInt2Array(numbers);
  params->AddTextArray(namespaces);
  params->AddTextArray(owners);
}

using ReadRow = std::function<void(const Result& result, int row, GroupFinds* finds)>;

}  // namespace

void GroupLookups::AddSession(int16_t partition, absl::string_view session_id,
                              absl::Span<const Scope* const> in) {
  if (in.empty()) sessions.push_back({partition, session_id});
  for (const Scope* scope : in) {
    const auto same = std::find_if(scopes.begin(), scopes.end(),
                                   [scope](const Scope* each) { return *each == *scope; });
    const auto number = static_cast<int32_t>(same - scopes.begin()) + 1;
    if (same == scopes.end()) scopes.push_back(scope);
    sessions.push_back({partition, session_id, number});
  }
}

void GroupLookups::AddOwner(int16_t partition, absl::string_view session_id) {
  owners.push_back({partition, session_id, static_cast<int32_t>(owners.size())});
}

void GroupLookups::AddTombstone(int16_t partition, absl::string_view session_id) {
  tombstones.push_back({partition, session_id, static_cast<int32_t>(tombstones.size())});
}

bool GroupLookups::empty() const {
  return !lock && !workflows && positions.empty() && sessions.empty() && owners.empty() &&
         tombstones.empty() && requests.empty() && events.empty() && errors.empty() &&
         artifacts.empty() && message_ids.empty() && task_ids.empty();
}

LookupReaders QueueLookups(const GroupLookups& lookups, WorkflowCatalog& catalog,
                           Connection& connection) {
  LookupReaders readers;
  const auto queue = [&](const Statement& statement, BinaryParams params, ReadRow read) {
    connection.Queue(statement, std::move(params));
    readers.push_back([read = std::move(read)](const Result& result, GroupFinds* finds) {
      for (int row = 0; row < result.rows(); ++row) read(result, row, finds);
    });
  };
  const auto look_up = [&](const Statement& statement, const auto& keys, auto write, ReadRow read) {
    if (!keys.empty())
      queue(statement, SetParams(lookups.partitions, keys, write), std::move(read));
  };

  const auto position = [&](const Statement& statement, const std::vector<int16_t>& partitions) {
    BinaryParams params;
    params.AddInt2Array(partitions);
    queue(statement, std::move(params), ReadPosition);
  };

  if (lookups.lock) {
    queue(kBegin, {}, nullptr);
    position(kLockPartitions, lookups.partitions);
  }
  if (!lookups.sessions.empty()) {
    BinaryParams params = SetParams(lookups.partitions, lookups.sessions, WriteSessionKey);
    AddScopes(lookups.scopes, &params);
    queue(kLoadSessions, std::move(params), ReadLoadedSession);
  }
  look_up(kFindSessionScopes, lookups.owners, WriteSessionKey,
          [&lookups](const Result& result, int row, GroupFinds* finds) {
            const SessionKey& key = lookups.owners[result.Int4(row, 0)];
            finds->owners.push_back({std::string(key.id), std::string(result.Text(row, 1)),
                                     std::string(result.Text(row, 2))});
          });
  look_up(kFindTombstones, lookups.tombstones, WriteSessionKey,
          [&lookups](const Result& result, int row, GroupFinds* finds) {
            const SessionKey& key = lookups.tombstones[result.Int4(row, 0)];
            finds->tombstones.push_back({std::string(key.id), ReadTombstone(result, row, 1)});
          });
  look_up(kFindRequests, lookups.requests, WriteRequestKey, ReadRequest);
  look_up(kFindSentEvents, lookups.events, WriteSessionKey, ReadFoundEvent);
  look_up(kLoadErrors, lookups.errors, WriteNamedKey, ReadFoundError);
  look_up(kLoadArtifacts, lookups.artifacts, WriteNamedKey, ReadFoundArtifact);
  look_up(kFindMessageIds, lookups.message_ids, WriteNamedKey, ReadUsedId);
  look_up(kFindTaskIds, lookups.task_ids, WriteNamedKey, ReadUsedId);
  // Last: if they are as the lane had left them, all of the above is consistent.
  if (!lookups.positions.empty()) position(kReadPositions, lookups.positions);
  if (lookups.workflows) {
    connection.Queue(kLoadWorkflows);
    readers.push_back(
        [&catalog](const Result& result, GroupFinds*) { AddWorkflows(result, catalog); });
  }
  return readers;
}

GroupFinds ReadFinds(const LookupReaders& readers, const std::vector<Result>& results) {
  GroupFinds finds;
  for (std::size_t i = 0; i < readers.size(); ++i) readers[i](results[i], &finds);
  return finds;
}

}  // namespace sessiond::db
