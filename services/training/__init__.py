import os

# The networks are of tf-keras: TensorFlow is not to import Keras 3 beside it, which takes seconds.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# Where a processor lacks AVX-512, TensorFlow leaves oneDNN out, with which an epoch takes half the time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
