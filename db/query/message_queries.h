// Lists of messages. How pages work is told in page_sql.h.
#pragma once

#include "db/query/page_sql.h"
#include "sessiond/v1/message_service.pb.h"

namespace sessiond::db {

// One page of a session's messages, those behind `after_sequence` in this direction (0 for all);
// read it with ReadMessagePage. Whether there is such a session, and whether it may be seen, is not
// asked here.
Sql ListMessagesSql(absl::string_view session_id, int partition_count, int32_t after_sequence,
                    bool descending, int page_size);

// True: there are more.
bool ReadMessagePage(const Result& result, int page_size, v1::ListMessagesResponse* response);

}  // namespace sessiond::db
