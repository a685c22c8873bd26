-- What lies in the warehouse? Rows, bytes and origin of every partition's file, as the files themselves say.
--
-- Grain: one row a file
-- Columns:
--   table_name: The table.
--   model: The model's slug; null for a table that is not partitioned by model.
--   concept: The concept; null for a table that is not partitioned by concept.
--   rows: Rows of the file.
--   row_groups: Row groups of the file: one a layer where there are layers.
--   bytes: Size of the file.
--   schema_version: Version of the table when the file was written.
--   code_version: Version of Vesalius that wrote it.
--   fingerprint: Hash of all that the content depends on.
WITH files AS (
    SELECT
        file_name,
        substr(file_name, length(warehouse_root()) + 2) AS relative_path,
        num_rows,
        num_row_groups,
        file_size_bytes
    FROM parquet_file_metadata(warehouse_files())
),

footers AS (
    SELECT
        file_name,
        decode(value) AS footer
    FROM parquet_kv_metadata(warehouse_files())
    WHERE decode(key) = 'vesalius'
)

SELECT
    split_part(files.relative_path, '/', 1) AS table_name,
    nullif(regexp_extract(files.relative_path, '/model=([^/]*)/', 1), '') AS model,
    nullif(regexp_extract(files.relative_path, '/concept=([^/]*)/', 1), '') AS concept,
    files.num_rows AS rows,
    files.num_row_groups AS row_groups,
    files.file_size_bytes AS bytes,
    CAST(json_extract(footers.footer, '$.schema_version') AS INTEGER) AS schema_version,
    json_extract_string(footers.footer, '$.code_version') AS code_version,
    json_extract_string(footers.footer, '$.fingerprint') AS fingerprint
FROM files
LEFT JOIN footers
    ON files.file_name = footers.file_name
ORDER BY
    table_name,
    model,
    concept
