-- Whether a pair has something to restore: the clean run's logit difference is above the corrupted run's by half a
-- logit. Half a logit is four steps of bfloat16 at logits of 16 to 32. A pair below has the same answer, or a wrong
-- one, in both.
--
-- Grain: one value a patch
-- Columns:
--   differs: Whether it has.
CREATE MACRO differs(ld_clean, ld_corrupted) AS
    ld_clean - ld_corrupted >= 0.5
