-- Errors that commands name by id. Rides session_errors_pkey, once for each.
SELECT {error_columns}
FROM unnest($2::named_key[]) AS i
JOIN session_errors x ON x.partition = i.partition AND x.session_id = i.session_id AND x.error_id = i.id
WHERE x.partition = ANY($1::smallint[])
