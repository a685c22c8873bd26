-- What patching restores of the difference between the clean and the corrupted run: an aggregate over pairs that
-- differ. A ratio of sums, not a mean of ratios, so that pairs whose two runs hardly differ don't blow it up. 1 is all
-- of it.
--
-- Grain: one value a group of patches
-- Columns:
--   restored: (sum of patched minus corrupted) over (sum of clean minus corrupted); null if no pair differs
--     (`differs`).
CREATE MACRO restored(ld_clean, ld_corrupted, ld_patched) AS
    sum(ld_patched - ld_corrupted) FILTER (WHERE differs(ld_clean, ld_corrupted))
    / sum(ld_clean - ld_corrupted) FILTER (WHERE differs(ld_clean, ld_corrupted))
