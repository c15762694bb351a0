-- What all servers' jobs have in common: one row.
CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    batch INTEGER NOT NULL,       -- number of the newest batch that is here
    next_number INTEGER NOT NULL  -- above those of all jobs that there ever were
);
INSERT INTO state (only, batch, next_number) VALUES (1, 0, 1);

-- Jobs that were written together.
CREATE TABLE section (
    id INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,  -- numbers of its jobs
    last INTEGER NOT NULL,
    count INTEGER NOT NULL,
    records BLOB NOT NULL
);

-- Those of them that have ended: 8 bytes each, little-endian.
CREATE TABLE ended (
    section INTEGER PRIMARY KEY,
    numbers BLOB NOT NULL
);

-- Jobs of a section whose numbers lie outside of its range.
CREATE TABLE late (
    number INTEGER PRIMARY KEY,
    section INTEGER NOT NULL
);

-- How often a job was lost with its worker since it was written.
CREATE TABLE loss (
    number INTEGER PRIMARY KEY,
    losses INTEGER NOT NULL
);
