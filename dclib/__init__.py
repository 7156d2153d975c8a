"""dclib: the library behind the re-executable companion to DeepCorrect.

Borkar and Karam, "DeepCorrect: Correcting DNN Models against Image Distortions" (arXiv:1705.02406).
The modules in reading order: ``distortions``, ``datasets``, ``models``, ``swapping``, ``ranking``, ``correction``,
``training``, ``evaluation``, ``restoration``, ``svm``, ``transfer``, ``experiments``, ``results``, ``tables``,
``figures``, ``illustrations``. Each imports only from those before it.
"""

__version__ = "0.1.0"
