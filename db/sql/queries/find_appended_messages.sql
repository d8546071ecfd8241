-- For each event that appended messages: as many of them as fit into $6 bytes. Rides session_messages_pkey.
SELECT e.partition, e.position,
  {message_columns}
FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::integer[], $5::integer[])
  AS e (partition, position, session_id, first, last)
CROSS JOIN LATERAL (SELECT *, sum(octet_length(m.content) + octet_length(m.metadata::text))
                                OVER (ORDER BY m.sequence) AS bytes
                    FROM session_messages m
                    WHERE m.partition = e.partition
                      AND m.session_id = e.session_id
                      AND m.sequence BETWEEN e.first AND e.last
                    ORDER BY m.sequence) m
WHERE m.bytes <= $6::bigint
ORDER BY e.partition, e.position, m.sequence
