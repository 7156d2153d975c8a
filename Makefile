# Everything a reader needs: `make book` and `make test`.
# Needs Python 3.11 to 3.13 and make; the rest is installed into .venv on first use.

SHELL := bash
# Make 3.81, which macOS has, does not know these flags: a recipe with a pipe sets pipefail itself.
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PROFILE ?= miniature
BIN := .venv/bin
LOGS := _build/logs
HTML := _build/html
PDF := _build/deepcorrect.pdf
# Its time is when the last build of the pages began.
BEGUN := _build/html.begun
PAGES := book executed notebooks dclib _config.yml _toc.yml CHANGELOG.md README.md CITATION.cff

.PHONY: help book html pdf test lint archive front trials zoo references check-pages smoke clean

help:
	@echo "make book    execute every notebook and build the book into $(HTML)"
	@echo "make test    run the tests, and compare every notebook's outputs with tests/references"
	@echo "make lint    look for mistakes in code and spelling"
	@echo "make archive pack book, records, networks, sources and how each record was made (install .[archive] first)"
	@echo "make front   write the picture and the table that README and the book open with, from the records"
	@echo "make zoo     take torchvision's networks through all of dclib; two hours, and it goes on where it was stopped"
	@echo "make trials  write the tables on faults, other people's networks and speed, from benchmarks/results"
	@echo "make smoke   execute every notebook on tiny data, without building the book"
	@echo "make references  make tests/references again, after a notebook's source or outputs were changed on purpose"
	@echo "make clean   remove everything that make built, except the environment .venv"
	@echo "With Chromium:"
	@echo "make pdf          print the whole book into $(PDF)"
	@echo "make check-pages  open every page of the built book in a browser and look for defects"
	@echo "Another Python:  make book PYTHON=python3.12"
	@echo "Another profile: make book PROFILE=small"

book: .venv/installed
	@mkdir -p $(LOGS)
	@$(BIN)/python scripts/execute.py --profile $(PROFILE)
	@$(BIN)/python scripts/export_demo.py 2> $(LOGS)/export_demo.log || { tail -n 1 $(LOGS)/export_demo.log >&2; exit 1; }
	@if test -f $(HTML)/index.html && test -f $(BEGUN) \
	  && test -z "$$(find $(PAGES) -name __pycache__ -prune -o -newer $(BEGUN) -print -quit)"; then \
	  echo "The pages are built and unchanged."; else $(MAKE) -s html; fi
	@echo "The book is in $(HTML); open $(CURDIR)/$(HTML)/index.html in a browser."

# All pages anew: a link or a table of contents may change in pages whose source did not.
html:
	@echo "Building the pages."
	@mkdir -p $(LOGS) && rm -rf $(HTML) && touch $(BEGUN)
	@set -o pipefail; $(BIN)/jupyter-book build . --all -W --keep-going -q 2>&1 | sed $$'s/\033\\[[0-9;]*m//g' > $(LOGS)/book.log \
	  || { rm -rf $(HTML); grep -E 'WARNING|ERROR' $(LOGS)/book.log >&2 || tail -n 3 $(LOGS)/book.log >&2; \
	       echo "The book was not built; the full log is $(LOGS)/book.log." >&2; exit 1; }

pdf: book
	@echo "Printing the book."
	@$(BIN)/jupyter-book build . --all -W --keep-going -q --builder custom --custom-builder singlehtml > $(LOGS)/pdf.log 2>&1 \
	  || { grep -E 'WARNING|ERROR' $(LOGS)/pdf.log >&2 || tail -n 3 $(LOGS)/pdf.log >&2; exit 1; }
	@$(BIN)/python scripts/print_pdf.py $(PDF)
	@echo "The book is in $(PDF)."

test: .venv/installed
	@mkdir -p $(LOGS)
	@echo "Running the tests. The full log goes to $(LOGS)/test.log."
	@set -o pipefail; $(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder 2>&1 | tee $(LOGS)/test.log

# Files that git tracks: what lies beside them is nobody's to correct. mypy is asked where pyproject.toml configures it.
lint: .venv/installed
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check --quiet . || { echo "Some files are not formatted: $(BIN)/python -m ruff format" >&2; exit 1; }
	@$(BIN)/python -m codespell_lib $$(git ls-files)
	@if grep -q '^\[tool\.mypy\]' pyproject.toml; then $(BIN)/python -m mypy; fi

archive: book
	@$(BIN)/python scripts/archive.py

front: .venv/installed
	@$(BIN)/python scripts/front.py

trials: .venv/installed
	@$(BIN)/python scripts/trials.py

zoo: .venv/installed
	@$(BIN)/python -m benchmarks.zoo
	@$(BIN)/python scripts/trials.py

references: .venv/installed
	@mkdir -p $(LOGS)
	@$(BIN)/python scripts/reference_notebooks.py

check-pages: .venv/installed
	@test -d $(HTML) || $(MAKE) book
	@echo "Opening every page of $(HTML) in a browser."
	@$(BIN)/python -m pytest -q -m pages tests/book/test_browser.py

smoke: .venv/installed
	@$(BIN)/python scripts/execute.py --profile smoke --output _build/smoke

clean:
	@rm -rf _build executed
	@echo "Removed _build and executed. The environment .venv stays; remove it with: rm -r .venv"

# The stamp is newer than both files as long as the environment holds what they ask for.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed; $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12" % v[:2])'
	@mkdir -p $(LOGS)
	@echo "Installing dclib and its tools into .venv (several GB with torch; a few minutes the first time)."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "Python could not make a virtual environment; on Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --no-input --progress-bar off -c constraints.txt -e '.[book,lint,test]' > $(LOGS)/install.log 2>&1 \
	  || { grep -E '^ *(ERROR|error)' $(LOGS)/install.log >&2 || tail -n 3 $(LOGS)/install.log >&2; \
         echo "The installation failed; the full log is $(LOGS)/install.log." >&2; exit 1; }
	@touch $@
