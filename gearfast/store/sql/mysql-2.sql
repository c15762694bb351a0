-- Several servers at once, each with ranges of ids and numbers of jobs. So a row of gearfast_section, gearfast_records,
-- gearfast_ended or gearfast_loss is that server's whose range it is in, and to take all over that a server had is to
-- change few rows. Of gearfast_state only the version counts from now on. Can be done again, as the schema before.
CREATE TABLE IF NOT EXISTS gearfast_fleet (
    single TINYINT NOT NULL PRIMARY KEY,
    last_server BIGINT NOT NULL,   -- number of the server that came last
    prefix VARCHAR(64) CHARACTER SET ascii NOT NULL    -- of the handles of all servers
) ENGINE = InnoDB;

-- Above all numbers that there ever were, and all that servers without a store derive from the time.
INSERT IGNORE INTO gearfast_fleet (single, last_server, prefix)
    SELECT 1, CAST(GREATEST(next_number + 10000000000, batch, UNIX_TIMESTAMP(NOW(6)) * 10000000) AS UNSIGNED) >> 42, ''
    FROM gearfast_state WHERE single = 1;

-- Rows of servers that are gone stay: what they might still write is refused by them.
CREATE TABLE IF NOT EXISTS gearfast_server (
    id BIGINT NOT NULL PRIMARY KEY,  -- rises; a server that starts again, or has lost its place, gets another one
    token BIGINT NOT NULL,         -- grows with each connection; a write that knows another one is refused
    gone BIGINT NOT NULL,          -- who took its jobs over, itself if it has left, else 0
    batch BIGINT NOT NULL,         -- number of its newest batch that is here
    next_number BIGINT NOT NULL,   -- above those of its jobs
    lease BIGINT NOT NULL,         -- microseconds, as all times, which are since 1970
    renewed BIGINT NOT NULL,
    ends BIGINT NOT NULL,          -- then others may take its jobs over
    jobs BIGINT NOT NULL,          -- what follows is for people, but for the process
    host VARCHAR(255) NOT NULL,
    pid BIGINT NOT NULL,
    addresses VARCHAR(1000) NOT NULL,
    process VARCHAR(255) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4;

CREATE TABLE IF NOT EXISTS gearfast_range (
    low BIGINT NOT NULL PRIMARY KEY,
    high BIGINT NOT NULL,          -- not included
    owner BIGINT NOT NULL          -- a server; one that is not there, or gone: nobody's
) ENGINE = InnoDB;

INSERT IGNORE INTO gearfast_range (low, high, owner) SELECT 0, (last_server + 1) << 42, 0 FROM gearfast_fleet;
