// Lists of messages. How pages work is told in page_sql.h.
#pragma once

#include "db/base/selection.h"
#include "db/query/page_sql.h"
#include "sessiond/v1/message.pb.h"

namespace sessiond::db {

// One page of a session's messages. Whether there is such a session, and whether it may be seen, is
// not asked here.
ListQuestion<v1::SessionMessage> ListPage(const MessageSelection& selection, int partition_count,
                                          const KeyValues& after, int page_size);

}  // namespace sessiond::db
