# make demo    segment a rendered drive over real ROS 2 topics, leave demo_output/
# make test    run the tests
# make lint    ruff, mypy, codespell
#
# Both make what they need in .venv. Where ROS 2 is sourced, its rclpy is used; elsewhere it
# comes from PyPI (x86_64).

PYTHON ?= python3
VENV := .venv
# pip repeats every note of the build backend otherwise.
export PYTHONWARNINGS ?= ignore
BIN := $(VENV)/bin
ROS_EXTRA := $(shell $(PYTHON) -c 'import rclpy' 2>/dev/null || echo ,ros)
INSTALL = $(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
VISION_MSGS := $(if $(ROS_EXTRA),bash test/ros/vision_msgs/install.sh $(VENV))
DEMO_OPTIONS := $(if $(IMAGE),--image '$(IMAGE)') $(if $(MODEL),--model '$(MODEL)') \
                $(if $(CONFIG),--config '$(CONFIG)') $(if $(OUTPUT),--output '$(OUTPUT)')

.PHONY: demo test lint clean

demo: $(VENV)/.demo
	$(BIN)/trt-segmentation demo $(DEMO_OPTIONS)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 $(PYTEST_OPTIONS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

clean:
	rm -rf $(VENV) build install log demo_output .cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Each resolves once, for what it is asked for, and brings what the ones before it would.
$(VENV)/.demo: EXTRAS := cpu$(ROS_EXTRA)
$(VENV)/.demo: $(BIN)/python pyproject.toml setup.py
	@echo 'installing ONNX Runtime, OpenCV and ROS 2 into $(VENV), about 150 MB to download'
	$(INSTALL)
	touch $@

$(VENV)/.test: EXTRAS := cpu,test$(ROS_EXTRA)
$(VENV)/.test: $(BIN)/python pyproject.toml setup.py
	@echo 'installing what demo and tests need into $(VENV)'
	$(INSTALL)
	$(VISION_MSGS)
	touch $(VENV)/.demo $@

$(VENV)/.dev: EXTRAS := cpu,test,dev$(ROS_EXTRA)
$(VENV)/.dev: $(BIN)/python pyproject.toml setup.py
	@echo 'installing what demo, tests, lint and colcon need into $(VENV)'
	$(INSTALL)
	$(VISION_MSGS)
	touch $(VENV)/.demo $(VENV)/.test $@
