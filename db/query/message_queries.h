// Lists of messages. page_sql.h says how pages work.
#pragma once

#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/message.pb.h"

namespace sessiond::db {

// One page of a session's messages. Does not check whether the session exists and may be seen.
ListQuestion<v1::SessionMessage> ListPage(const MessageSelection& selection, int partition_count,
                                          const KeyValues& after, int page_size);

}  // namespace sessiond::db
