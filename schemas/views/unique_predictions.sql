-- Each prediction once. Batches are loaded exactly once; an upload that was delivered twice at the same
-- moment may have been appended twice.
SELECT *
FROM `{project}.{dataset}.predictions`
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY prediction_id ORDER BY predicted_at) = 1
