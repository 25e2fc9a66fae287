# make demo    segment the clip of a drive over real ROS 2 topics, leave demo_output/
# make test    run the tests
# make lint    ruff, mypy, codespell
# make docs    the documentation as a site, build/docs/index.html
#
# Each makes what it needs in .venv. Where ROS 2 is sourced, its rclpy is used; elsewhere it
# comes from PyPI (x86_64): ROS 2 Kilted in .venv, or with DISTRO=jazzy ROS 2 Jazzy in .venv-jazzy.

PYTHON ?= python3
DISTRO ?= kilted
VENV := .venv$(if $(filter-out kilted,$(DISTRO)),-$(DISTRO))
# Files of pip constraints besides the distribution's, such as test/lanes/ubuntu-24.04.txt.
CONSTRAINTS ?=
# pip repeats every note of the build backend otherwise.
export PYTHONWARNINGS ?= ignore
BIN := $(VENV)/bin
ROS_EXTRA := $(shell $(PYTHON) -c 'import rclpy' 2>/dev/null || echo ,ros)
ROS_PINS := $(if $(ROS_EXTRA),requirements/ros-$(DISTRO).txt)
INSTALL = $(BIN)/python -m pip install --quiet \
          $(addprefix --constraint ,$(ROS_PINS) $(CONSTRAINTS)) --editable '.[$(EXTRAS)]'
MESSAGES := $(if $(ROS_EXTRA),bash test/ros/messages/install.sh $(VENV))
BINDINGS_PINS := test/backends/tensorrt/bindings.txt
BINDINGS := bash test/backends/tensorrt/install_bindings.sh $(VENV)
DEMO_OPTIONS := $(if $(IMAGE),--image '$(IMAGE)') $(if $(MODEL),--model '$(MODEL)') \
                $(if $(CONFIG),--config '$(CONFIG)') $(if $(OUTPUT),--output '$(OUTPUT)')

ifeq ($(ROS_EXTRA)$(filter command,$(origin DISTRO)),command)
$(error DISTRO=$(DISTRO) chooses a ROS 2 from PyPI, and $(PYTHON) already imports the rclpy of an \
installed ROS 2; leave DISTRO out, or use a shell in which ROS 2 is not sourced)
endif
ifneq ($(ROS_PINS),$(wildcard $(ROS_PINS)))
$(error DISTRO is '$(DISTRO)'; PyPI has ROS 2 for DISTRO=$(patsubst requirements/ros-%.txt,%,\
$(wildcard requirements/ros-*.txt)))
endif

.PHONY: demo test lint docs clean

demo: $(VENV)/.demo
	$(BIN)/trt-segmentation demo $(DEMO_OPTIONS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 $(PYTEST_OPTIONS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

docs: .venv-docs/.docs
	.venv-docs/bin/python -m sphinx --quiet -W --keep-going docs build/docs

clean:
	rm -rf .venv .venv-* build install log demo_output .cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Each resolves once, for what it is asked for, and brings what the ones before it would.
$(VENV)/.demo: EXTRAS := cpu$(ROS_EXTRA)
$(VENV)/.demo: $(BIN)/python pyproject.toml setup.py $(ROS_PINS)
	@echo 'installing ONNX Runtime, OpenCV and ROS 2 into $(VENV), about 150 MB to download'
	$(INSTALL)
	touch $@

$(VENV)/.test: EXTRAS := cpu,test$(ROS_EXTRA)
$(VENV)/.test: $(BIN)/python pyproject.toml setup.py $(ROS_PINS) $(BINDINGS_PINS)
	@echo 'installing what demo and tests need into $(VENV)'
	$(INSTALL)
	$(MESSAGES)
	$(BINDINGS)
	touch $(VENV)/.demo $@

$(VENV)/.dev: EXTRAS := cpu,test,dev$(ROS_EXTRA)
$(VENV)/.dev: $(BIN)/python pyproject.toml setup.py $(ROS_PINS) $(BINDINGS_PINS)
	@echo 'installing what demo, tests, lint and colcon need into $(VENV)'
	$(INSTALL)
	$(MESSAGES)
	$(BINDINGS)
	touch $(VENV)/.demo $(VENV)/.test $@

# An environment of its own, without most libraries of the package: the site reads docstrings only.
.venv-docs/.docs: docs/requirements.txt
	@echo 'installing Sphinx into .venv-docs'
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --requirement $<
	touch $@
