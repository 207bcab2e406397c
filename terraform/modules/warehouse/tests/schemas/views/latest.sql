SELECT * FROM `{project}.{dataset}.predictions`
