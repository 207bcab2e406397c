import ctypes
import os
import sys

# The networks are of tf-keras: TensorFlow is not to import Keras 3 beside it, which takes seconds.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# Where a processor lacks AVX-512, TensorFlow leaves oneDNN out, with which an epoch takes half the time.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# Activations are so large that glibc asks the kernel for new memory for each, and gives it back; to clear
# the pages takes longer than many an operation. M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD of mallopt(3).
if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
    for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**29)):
        ctypes.CDLL(None).mallopt(option, value)
