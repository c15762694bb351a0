-- What all servers' jobs have in common: one row. A statement that defines something cannot be taken back in MySQL, so
-- all of this can be done again after it was cut off.
CREATE TABLE IF NOT EXISTS gearfast_state (
    single TINYINT NOT NULL PRIMARY KEY,
    version INT NOT NULL,          -- of this schema
    owner VARCHAR(32) NOT NULL,    -- the server that opened it last
    token BIGINT NOT NULL,         -- grows with each opening; a write that knows another one is refused
    batch BIGINT NOT NULL,         -- number of the newest batch that is here
    next_number BIGINT NOT NULL    -- above those of all jobs that there ever were
) ENGINE = InnoDB CHARACTER SET ascii;

-- Jobs that were written together.
CREATE TABLE IF NOT EXISTS gearfast_section (
    id BIGINT NOT NULL PRIMARY KEY,
    first_number BIGINT NOT NULL,  -- numbers of its jobs
    last_number BIGINT NOT NULL,
    jobs BIGINT NOT NULL,
    size BIGINT NOT NULL,          -- of its records
    late LONGBLOB NOT NULL         -- numbers outside of that range: 8 bytes each, little-endian
) ENGINE = InnoDB;

-- Their records, in parts, since a value has to fit into a packet and into a tenth of the redo log.
CREATE TABLE IF NOT EXISTS gearfast_records (
    section BIGINT NOT NULL,
    part INT NOT NULL,
    records LONGBLOB NOT NULL,
    PRIMARY KEY (section, part)
) ENGINE = InnoDB;

-- Those of them that have ended: 8 bytes each, little-endian.
CREATE TABLE IF NOT EXISTS gearfast_ended (
    section BIGINT NOT NULL PRIMARY KEY,
    numbers LONGBLOB NOT NULL
) ENGINE = InnoDB;

-- How often a job was lost with its worker since it was written.
CREATE TABLE IF NOT EXISTS gearfast_loss (
    number BIGINT NOT NULL PRIMARY KEY,
    losses BIGINT NOT NULL
) ENGINE = InnoDB;

-- What is no job.
CREATE TABLE IF NOT EXISTS gearfast_note (
    name VARCHAR(190) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    value LONGBLOB NOT NULL
) ENGINE = InnoDB;

INSERT IGNORE INTO gearfast_state (single, version, owner, token, batch, next_number) VALUES (1, 0, '', 0, 0, 1);
