# One file of DST, one target. The rules `encode` and `decode` of the Makefile plan first (mk/plan.py) and then run this
# with COMMAND, WORK and -k: a file that fails fails its own target, the others are made, and the next run resumes.
#
# An output is made again when its source is newer, or when the stamp is: it holds the options and the model's id
# and is rewritten only when they differ. nvc writes a file whole or not at all, so an interrupted run leaves no halves.

.DEFAULT_GOAL := all
include $(WORK)/plan.mk

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: all FORCE

# make runs the jobs side by side; one thread each
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

quote = '$(subst ','\'',$(1))'
source = $(firstword $(filter-out $(STAMP),$^))

encode = $(NVC_ENCODE)$(if $(findstring --target-,$(FLAGS))$(findstring --bitrate,$(FLAGS)),, -q $(Q)) $(FLAGS)
decode = $(NVC_DECODE) $(FLAGS)

all: $(STAMP) $(OUTPUTS)

$(OUTPUTS):
	@mkdir -p $(call quote,$(@D))
	@$($(COMMAND)) --threads 1 --no-progress -f -o $(call quote,$@) -- $(call quote,$(source)) \
	  && echo $(call quote,$@) >> $(WORK)/made \
	  || { code=$$?; echo $(call quote,$(source)) "(exit $$code)" >> $(WORK)/failed; exit $$code; }

$(OUTPUTS): $(STAMP)

ifdef CHANGED
$(STAMP): FORCE
	@mkdir -p $(@D) && cp $(WORK)/stamp $@
endif
