-- Uniques of jobs, which no other job of any server may have as long as these live.
CREATE TABLE gearfast_claim (
    key bytea PRIMARY KEY,   -- 8 bytes: a hash of the unique; 12 bytes: one of function and unique
    number bigint NOT NULL   -- of the job
);

-- As gearfast_write, with claims that begin and claims that end. If one is another job's nothing is done: the message of
-- the error has the numbers of these jobs and of those others. Several servers wait for each other here in the order of
-- the keys, and only whose a claim is changes it or takes it away, which is last: so none waits in a circle.
CREATE FUNCTION gearfast_write_claims(
    me bigint, my_token bigint, new_batch bigint, new_next_number bigint, dropped bigint[],
    ids bigint[], firsts bigint[], lasts bigint[], counts bigint[], lates bytea[], all_records bytea[],
    ended_sections bigint[], ended_numbers bytea[], lost bigint[], lost_times bigint[], forgotten bigint[],
    claim_keys bytea[], claim_numbers bigint[], free_keys bytea[], free_numbers bigint[]
) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    taken text;
    missing bigint;
BEGIN
    IF claim_keys IS NOT NULL THEN
        LOOP
            INSERT INTO gearfast_claim (key, number)
                SELECT k, n FROM unnest(claim_keys, claim_numbers) AS mine (k, n) ORDER BY k ON CONFLICT DO NOTHING;
            UPDATE gearfast_claim SET number = n FROM unnest(claim_keys, claim_numbers) AS mine (k, n)
                WHERE key = k AND number = ANY (free_numbers);
            SELECT string_agg(n || ':' || number, ' ') FILTER (WHERE number <> n), count(*) - count(number)
                INTO taken, missing
                FROM unnest(claim_keys, claim_numbers) AS mine (k, n) LEFT JOIN gearfast_claim ON key = k;
            IF taken IS NOT NULL THEN
                RAISE EXCEPTION USING ERRCODE = 'GF002', MESSAGE = taken;
            END IF;
            EXIT WHEN missing = 0;  -- else one was another job's, which has ended just now
        END LOOP;
    END IF;
    IF free_keys IS NOT NULL THEN
        DELETE FROM gearfast_claim USING unnest(free_keys, free_numbers) AS old (k, n) WHERE key = k AND number = n;
    END IF;
    PERFORM gearfast_write(me, my_token, new_batch, new_next_number, dropped, ids, firsts, lasts, counts, lates,
        all_records, ended_sections, ended_numbers, lost, lost_times, forgotten);
END
$function$;
