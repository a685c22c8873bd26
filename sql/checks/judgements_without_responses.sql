-- Judgements of answers that are not there.
--
-- Grain: one row a judgement at fault
-- Table: judgements
-- Columns:
--   model: The model's slug.
--   concept: The concept.
--   lesion: What took the place of the layer's work.
--   layer: The lesioned layer; -1 for the intact model.
--   template: The template.
--   term: The term.
--   judge: The model that judged.
--   repeat: 0 for the first judgement of an answer.
SELECT
    judgements.model,
    judgements.concept,
    judgements.lesion,
    judgements.layer,
    judgements.template,
    judgements.term,
    judgements.judge,
    judgements.repeat
FROM judgements
ANTI JOIN responses
    ON
        judgements.model = responses.model
        AND judgements.concept = responses.concept
        AND judgements.lesion = responses.lesion
        AND judgements.layer = responses.layer
        AND judgements.template = responses.template
        AND judgements.term = responses.term
ORDER BY ALL
