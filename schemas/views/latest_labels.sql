-- The last verdict on each photo's head. A product's photo is known by its id, whichever job it was judged in;
-- an uploaded one that has no product by its URI.
SELECT *
FROM `{project}.{dataset}.labels`
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY product_id, IF(product_id IS NULL, image_uri, NULL), head ORDER BY judged_at DESC, label_id
) = 1
