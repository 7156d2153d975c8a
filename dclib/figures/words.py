"""What figures and tables call the distortions; words alone, which need nothing that draws."""

NAMES = {"blur": "Gaussian blur", "awgn": "noise (AWGN)"}
TITLES = {"blur": "Blur", "awgn": "Noise"}
SYMBOLS = {"blur": r"$\sigma_b$", "awgn": r"$\sigma_n$"}
UNITS = {"blur": f"{SYMBOLS['blur']} in pixels", "awgn": f"{SYMBOLS['awgn']} in grey values"}
