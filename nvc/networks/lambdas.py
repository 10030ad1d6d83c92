"""What errors are worth at each level, in training and to encoders."""

# Of rate + λ · squared error: bits a pixel, squared grey levels of a pixel (the mean over channels). As in compressai.
LAMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.02, 0.04, 0.08, 0.16)
