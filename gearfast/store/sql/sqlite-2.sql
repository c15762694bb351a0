-- CRC-32 of the records, which the file itself does not check; NULL: written before there was one.
ALTER TABLE section ADD COLUMN crc INTEGER;

-- What is no job.
CREATE TABLE note (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
);
