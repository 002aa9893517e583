"""Whether a candidate becomes champion."""
