-- Uniques of jobs, which no other job of any server may have as long as these live. Can be done again, as the schemas
-- before.
CREATE TABLE IF NOT EXISTS gearfast_claim (
    name BINARY(20) NOT NULL PRIMARY KEY,   -- 8 bytes: a hash of the unique; 12 bytes: one of function and unique
    number BIGINT NOT NULL                  -- of the job
) ENGINE = InnoDB;
