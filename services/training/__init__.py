import os

# The networks are of tf-keras: TensorFlow is not to import Keras 3 beside it, which takes seconds.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
