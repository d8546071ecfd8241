SELECT partition_count, token_key, clock_timestamp()
FROM database_identity
