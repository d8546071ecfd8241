-- GetSession as one statement: the whole row by its primary key.
\set i random(0, 16383)
\set partition :i % 64
SELECT *
FROM sessions
WHERE partition = :partition
  AND id = '00000000-0000-7000-8000-' || lpad(:i::text, 12, '0');
