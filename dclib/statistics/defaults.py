"""What intervals and tests take where nothing else is said."""

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05  # the paper's threshold
RESAMPLES = 2000
