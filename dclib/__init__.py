"""dclib: the library behind the re-executable companion to DeepCorrect.

Borkar and Karam, "DeepCorrect: Correcting DNN Models against Image Distortions" (arXiv:1705.02406).
The rooms in reading order: ``distortions``, ``models``, ``ranking``, ``correction``, ``datasets``, ``evaluation``,
``restoration``, ``transfer``, ``training``, ``experiments``, ``results``, ``execution``, ``verdicts``, ``figures``,
``tables``, ``zoo``, ``notebook``, ``cli``. Each imports only from those before it; tests/test_layers.py has the whole plan.
"""

__version__ = "0.1.0"
