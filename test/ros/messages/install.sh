#!/usr/bin/env bash
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
#
# Build the messages that PyPI lacks into a virtual environment whose ROS 2 comes from there:
# vision_msgs and bond, each with what the tests exchange.
#
#   install.sh VENV
#
# Does nothing where they are there already. Needs a C++ compiler and Python's headers; without
# them it reports that, and the tests that need the messages are skipped.
set -euo pipefail
venv=$(cd "${1:?usage: install.sh VENV}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
python=$venv/bin/python

"$python" -c 'import bond.msg; from vision_msgs.msg import Detection2DArray' 2>/dev/null && exit 0
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
if ! command -v c++ >/dev/null || [ ! -e "$include/Python.h" ]; then
  echo 'no C++ compiler or no Python.h: vision_msgs and bond are not built, their tests will be' \
    'skipped' >&2
  exit 0
fi
# What is built with has to be of the distribution that is installed: a generator of another one
# makes messages that its rclpy does not load, or replaces what is installed.
rclpy=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("ros-rclpy"))')
pins=$(grep -lx "ros-rclpy==$rclpy" "$here"/../../../requirements/ros-*.txt) || {
  echo "ros-rclpy is $rclpy, and no requirements/ros-*.txt is of that distribution: install with" \
    'make, or with pip --constraint one of them' >&2
  exit 1
}
wanted=$(mktemp)
build=$(mktemp -d)
trap 'rm -rf "$build" "$wanted"' EXIT
while read -r package; do  # not every distribution has each of them
  case $package in
    ros-*) grep "^$package==" "$pins" || true ;;
    [a-z]*) echo "$package" ;;
  esac
done < "$here/requirements.txt" > "$wanted"
"$python" -m pip install --quiet --constraint "$pins" -r "$wanted"
# The wheels' CMake files name the headers of the Python that they were built with.
numpy=$("$python" -c 'import numpy; print(numpy.get_include())')
{ grep -rlZ /opt/python/cp "$venv"/share/*/cmake || true; } | xargs -0r sed -i -E \
  -e "s#/opt/python/cp[^;\"]*/site-packages/numpy/[^;\"]*#$numpy#g" \
  -e "s#/opt/python/cp[^;\"]*/include/python3\.[0-9]+#$include#g"
export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv PATH=$venv/bin:$PATH
for package in bond vision_msgs; do
  { cmake -S "$here/$package" -B "$build/$package" -DCMAKE_INSTALL_PREFIX="$venv" \
      -DBUILD_TESTING=OFF -DPython3_EXECUTABLE="$python" &&
    cmake --build "$build/$package" --parallel &&
    cmake --install "$build/$package"; } > "$build/log" 2>&1 ||
    { tail -n 30 "$build/log" >&2; exit 1; }
done
