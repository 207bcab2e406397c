-- Each rejected message once.
SELECT *
FROM `{project}.{dataset}.rejected`
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (PARTITION BY rejection_id ORDER BY rejected_at) = 1
