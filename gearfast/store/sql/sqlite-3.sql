-- Records that are more than one value may have: what is behind the first piece, which the section has itself.
CREATE TABLE part (
    section INTEGER NOT NULL,
    place INTEGER NOT NULL,  -- 1, 2, and so on
    records BLOB NOT NULL,
    PRIMARY KEY (section, place)
);

-- A section that goes takes its late jobs along, among all those of dead letters and results.
CREATE INDEX late_section ON late (section);
