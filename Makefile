# nvc. A fresh machine needs python 3.11 (or 3.12) and make; everything else is installed into .venv by the first rule.
#
#   make demo      make test      make encode SRC=photos DST=coded Q=4 -j2      make help

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NVC_ENCODE := $(BIN)/nvc-encode
NVC_DECODE := $(BIN)/nvc-decode
NVC_INFO := $(BIN)/nvc-info

# Suffixes of what `make encode` takes of a folder, any case: one list for each kind of source.
PICTURES := apng avif bmp dib gif ico jfif jp2 jpe jpeg jpg pbm pcx pgm png pnm ppm psd qoi sgi tga tif tiff webp
CLIPS := 264 265 3gp avi flv h264 h265 hevc ivf m2ts m4v mkv mov mp4 mpeg mpg mts mxf nut obu ogv ts vob webm wmv y4m yuv

Q ?= 4
FLAGS ?=
FORMAT ?= png
CLIP_FORMAT ?= mkv
WORKERS ?= 2
# Prefer a photograph made for showing; PHOTO=/any/picture.jpg shows another.
PHOTO ?= $(firstword $(wildcard tests/data/demo.*) tests/data/sign.png)

.PHONY: help install demo test pytest lint bench readme encode decode clean
.DELETE_ON_ERROR:

help:
	@echo "make demo                            encode a photograph at three qualities, decode it, draw demo/side_by_side.png"
	@echo "     PHOTO=picture.jpg                 ... another photograph"
	@echo "make test                            ruff, mypy, import rules, pytest (WORKERS=$(WORKERS))"
	@echo "make lint                            the first three alone"
	@echo "make encode SRC=dir DST=dir Q=4 -j2  every picture and clip below SRC to DST/.../NAME.nvc; only what changed"
	@echo "     FLAGS='--rdoq 3'                  ... more options of nvc-encode"
	@echo "make decode SRC=dir DST=dir -j2      every .nvc below SRC to a picture or clip (FORMAT=png CLIP_FORMAT=mkv)"
	@echo "make bench KODAK=dir                 measure, on test pictures: numbers and plot in docs/results (hours)"
	@echo "make readme                          put the tables of the last bench into README.md"
	@echo "make install                         .venv with nvc in it"
	@echo "make clean                           remove what was made here, .venv included"

# ---- install: again whenever the pinned versions or the project file change

install: $(INSTALLED)

$(INSTALLED): constraints.txt pyproject.toml
	@if ! $(BIN)/python -c '' 2>/dev/null; then \
	  for python in python3.11 python3 python3.12; do \
	    $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	      && exec $$python -m venv --clear $(VENV); \
	  done; \
	  echo "make: nvc needs python 3.11 or 3.12, and neither python3.11, python3 nor python3.12 is one" >&2; exit 1; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

# ---- test

test: lint pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread for each worker: two workers with two threads each would fight for two cores.
pytest: $(INSTALLED)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

# ---- show and measure

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py "$(PHOTO)" demo

RESULTS := docs/results
CODECS := jpeg webp avif nvc nvc:rdoq=3
VIDEO_CODECS := x264 x265 x264:latency=normal x265:latency=normal aivc aivc:gop=1 lhbdc ssf ssf:intra=1 x264:intra=0 x265:intra=0 ssf:intra=0

# Times first, while nothing else has warmed the machine; --resume keeps rows that still hold.
bench: $(INSTALLED)
	@[ -d "$(KODAK)" ] || { echo "make bench: name a folder of test pictures: make bench KODAK=dir" >&2; exit 2; }
	$(BIN)/python benches/entropy_coding.py > $(RESULTS)/entropy_coding.json
	$(BIN)/python benches/pictures.py $(firstword $(sort $(wildcard $(KODAK)/*.png))) -o $(RESULTS)/bench_pictures.json
	$(BIN)/nvc-eval rd $(CODECS:%=-c %) --resume -o $(RESULTS)/kodak.json "$(KODAK)"
	$(BIN)/nvc-eval ablation --resume -o $(RESULTS)/ablation.json "$(KODAK)"
	$(BIN)/nvc-eval plot $(RESULTS)/kodak.json -f -o $(RESULTS)/kodak.svg --max-bpp 2
	@[ -d "$(CLIPS_DIR)" ] || { echo "make bench: no CLIPS_DIR=dir of test clips, so video was not measured" >&2; exit 0; }; \
	$(BIN)/nvc-eval rd $(VIDEO_CODECS:%=-c %) --no-ms-ssim --resume -o $(RESULTS)/clips.json "$(CLIPS_DIR)" && \
	$(BIN)/nvc-eval gap -c aivc --resume -o $(RESULTS)/gap_aivc.json --rate-plot $(RESULTS)/gap_aivc.svg \
		--table-plot $(RESULTS)/gap_tables_aivc.svg "$(CLIPS_DIR)" && \
	$(BIN)/nvc-eval gap --resume -o $(RESULTS)/gap.json --rate-plot $(RESULTS)/gap.svg \
		--table-plot $(RESULTS)/gap_tables.svg "$(CLIPS_DIR)" && \
	$(BIN)/nvc-eval gap -c lhbdc --resume -o $(RESULTS)/gap_lhbdc.json --rate-plot $(RESULTS)/gap_lhbdc.svg \
		--table-plot $(RESULTS)/gap_tables_lhbdc.svg "$(CLIPS_DIR)" && \
	$(BIN)/python benches/video.py $(firstword $(sort $(wildcard $(CLIPS_DIR)/*1920x1080*))) -o $(RESULTS)/bench_video.json

readme: $(INSTALLED)
	@mkdir -p build
	$(BIN)/python benches/readme.py $(RESULTS) > build/results.md
	$(BIN)/python mk/readme.py README.md build/results.md

# ---- a folder of pictures: planned here, made by mk/folder.mk, one target for each file

export SRC DST Q FLAGS FORMAT CLIP_FORMAT NVC_ENCODE NVC_DECODE NVC_INFO
encode: export SUFFIXES := $(PICTURES) $(CLIPS)
encode: export SUFFIX := nvc
decode: export SUFFIXES := nvc
decode: export SUFFIX := $(or $(SUFFIX_$(FORMAT)),$(FORMAT))
SUFFIX_jpeg := jpg
SUFFIX_tiff := tif

encode decode: $(INSTALLED)
	+@sh mk/folder.sh $@ $(BIN)/python "$(MAKE)"

clean:
	rm -rf $(VENV) build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find nvc tests mk examples benches -name __pycache__ -type d -prune -exec rm -rf {} +
