-- Errors that commands name by id. Rides session_errors_pkey, once for each.
SELECT {error_columns}
FROM unnest($2::smallint[], $3::text[], $4::text[]) AS i (partition, session_id, error_id)
JOIN session_errors x ON x.partition = i.partition AND x.session_id = i.session_id AND x.error_id = i.error_id
WHERE x.partition = ANY($1::smallint[])
