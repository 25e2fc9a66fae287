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

$(VENV)/.demo: $(BIN)/python pyproject.toml setup.py
	@echo 'installing ONNX Runtime, OpenCV and ROS 2 into $(VENV), about 150 MB to download'
	$(BIN)/python -m pip install --quiet --editable '.[cpu$(ROS_EXTRA)]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --editable '.[cpu,test$(ROS_EXTRA)]'
	$(if $(ROS_EXTRA),bash test/ros/vision_msgs/install.sh $(VENV))
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
