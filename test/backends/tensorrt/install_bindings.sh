#!/usr/bin/env bash
# Copyright 2026 The trt_segmentation authors
# SPDX-License-Identifier: Apache-2.0
#
# Install the versions of bindings.txt into VENV/tensorrt_bindings, each in a folder that is called
# like the version, where nothing but test_bindings.py finds them.
#
#   install_bindings.sh VENV
#
# Does nothing where they are there already. Not every platform and Python has all of them; of what
# is not there, the tests are skipped.
set -euo pipefail
venv=$(cd "${1:?usage: install_bindings.sh VENV}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
grep -v '^#' "$here/bindings.txt" | while read -r requirement; do
  version=${requirement#*==}
  target=$venv/tensorrt_bindings/${version%%;*}
  [ -d "$target/tensorrt_bindings" ] && continue
  "$venv/bin/python" -m pip install --quiet --no-deps --no-compile --only-binary :all: \
    --target "$target" "$requirement" \
    || echo "$requirement cannot be installed; its tests will be skipped" >&2
done
