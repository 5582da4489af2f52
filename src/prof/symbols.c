/* SPDX-License-Identifier: MIT */
/*
 * An address is looked up once for all profiles, when the first of them meets it, and is in the end
 * a list of lines: the innermost inlined function first. libdwfl has them from debug information,
 * or else, of the function alone, from a symbol table. What stays without either, or comes after
 * the deadline, is a bare address.
 *
 * Numbers of locations belong to a profile: they are forgotten at its end (symbols_mappings()),
 * while places and names stay for the next.
 */
#include "prof/symbols.h"

#include <dwarf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <time.h>

#include "base/seam.h"
#include "prof/intern.h"
#include "prof/self.h"

#define INLINED_MAX 24

/* An executable segment of a file. */
struct segment {
	uintptr_t start, limit;
	uint64_t offset;
	char *file;
	char build_id[2 * 64 + 1];
	/* In this profile: has locations; one without a function; one with a line, so that there is
	 * debug information. */
	bool used, unnamed, lined;
	bool late; /* has one for which there was no time */
};

/* An address that was looked up, for all profiles. */
struct place {
	size_t segment; /* number + 1; 0 = none */
	size_t n;
	struct pprof_line *lines; /* n of them; strings belong to names */
	uint64_t id;		  /* in this profile; 0 = not yet there */
};

struct symbols {
	Dwfl *dwfl; /* NULL = nothing is looked up */
	uint64_t deadline_ns;
	struct segment *segments; /* the program's first */
	size_t n_segments;
	struct intern pcs; /* number = index of places */
	struct place *places;
	struct intern names;
};

static uint64_t now_ns(void)
{
	const struct seam *s = seam_real();

	return s->monotonic_ns(s);
}

static const char *keep(struct symbols *s, const char *text)
{
	int64_t id = text ? intern_id(&s->names, text, strlen(text) + 1) : -1;

	return id < 0 ? NULL : intern_get(&s->names, (size_t)id, NULL);
}

/* ---- segments ---- */

static int segment_add(struct symbols *s, const char *line, const char *program)
{
	struct segment *more, g = {0};
	int at = 0;

	if (sscanf(line, "%lx-%lx %*c%*cx%*c %lx %*s %*s %n", &g.start, &g.limit, &g.offset, &at) !=
		    3 ||
	    !at)
		return 0;
	g.file = strndup(line + at, strcspn(line + at, "\n"));
	more = reallocarray(s->segments, s->n_segments + 1, sizeof(*more));
	if (!g.file || !more) {
		free(g.file);
		s->segments = more ? more : s->segments;
		return -ENOMEM;
	}
	s->segments = more;
	if (s->n_segments && !strcmp(g.file, program) && strcmp(more[0].file, program)) {
		more[s->n_segments++] = more[0];
		more[0] = g;
	} else {
		more[s->n_segments++] = g;
	}
	return 0;
}

static int segments_read(struct symbols *s)
{
	char program[PATH_MAX] = "", line[PATH_MAX + 128];
	FILE *f = fopen("/proc/self/maps", "re");
	int r = f ? 0 : -errno;

	if (readlink("/proc/self/exe", program, sizeof(program) - 1) < 0)
		program[0] = 0;
	while (r >= 0 && fgets(line, sizeof(line), f))
		r = segment_add(s, line, program);
	if (f)
		fclose(f);
	return r;
}

static struct segment *segment_of(struct symbols *s, uintptr_t pc)
{
	for (size_t i = 0; i < s->n_segments; i++)
		if (pc >= s->segments[i].start && pc < s->segments[i].limit)
			return &s->segments[i];
	return NULL;
}

static void build_id_read(struct segment *g, Dwfl_Module *mod)
{
	const unsigned char *bits;
	GElf_Addr at;
	GElf_Addr bias;
	int n;

	dwfl_module_getelf(mod, &bias); /* else the note is not read yet */
	n = dwfl_module_build_id(mod, &bits, &at);
	for (int i = 0; i < n && i < 64; i++)
		snprintf(g->build_id + 2 * i, 3, "%02x", bits[i]);
}

/* ---- lines ---- */

/* dir/file without "." and "..", as the compiler was told it relative to where it ran. */
static const char *path_absolute(struct symbols *s, const char *dir, const char *file)
{
	char joined[2 * PATH_MAX], *out = joined, *part, *save = NULL;
	_cleanup_(freep) char *text = NULL;

	if (!file || *file == '/' || !dir || *dir != '/') /* or made relative, to be reproducible */
		return keep(s, file);
	if (asprintf(&text, "%s/%s", dir, file) < 0) {
		text = NULL;
		return keep(s, file);
	}
	if (strlen(text) >= sizeof(joined))
		return keep(s, file);
	*out = 0;
	for (part = strtok_r(text, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		if (!strcmp(part, "."))
			continue;
		if (!strcmp(part, "..")) {
			while (out > joined && *--out != '/')
				;
			*out = 0;
			continue;
		}
		*out++ = '/';
		out = stpcpy(out, part);
	}
	return keep(s, joined);
}

static const char *die_name(struct symbols *s, Dwarf_Die *die, const char **ret_linkage)
{
	Dwarf_Attribute attr;
	const char *linkage =
		dwarf_formstring(dwarf_attr_integrate(die, DW_AT_linkage_name, &attr));

	*ret_linkage = keep(s, linkage);
	return keep(s, dwarf_diename(die));
}

static int start_line(Dwarf_Die *die)
{
	int line = 0;

	return dwarf_decl_line(die, &line) ? 0 : line;
}

/* What encloses the address from the inside out, as it really nests: dwarf_getscopes() goes on
 * where an inlined function was written, not where it was called. */
static int scopes_of(Dwfl_Module *mod, uintptr_t pc, Dwarf_Die *ret_unit, const char **ret_dir,
		     Dwarf_Die **ret)
{
	Dwarf_Addr bias;
	Dwarf_Die *unit = dwfl_module_addrdie(mod, pc, &bias), *scopes = NULL, inner;
	Dwarf_Attribute attr;
	int n = unit ? dwarf_getscopes(unit, pc - bias, &scopes) : 0;

	if (n <= 0)
		return 0;
	*ret_unit = *unit;
	*ret_dir = dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attr));
	inner = scopes[0];
	free(scopes);
	scopes = NULL;
	n = dwarf_getscopes_die(&inner, &scopes);
	*ret = scopes;
	return n;
}

/* Where an inlined function was called. */
static void call_site(struct symbols *s, Dwarf_Die *unit, const char *dir, Dwarf_Die *die,
		      struct pprof_line *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Files *files;
	Dwarf_Word v;

	if (!dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attr), &v))
		ret->line = (int64_t)v;
	if (!dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attr), &v) &&
	    !dwarf_getsrcfiles(unit, &files, NULL))
		ret->file = path_absolute(s, dir, dwarf_filesrc(files, v, NULL, NULL));
}

static size_t lines_from_dwarf(struct symbols *s, Dwfl_Module *mod, uintptr_t pc,
			       struct pprof_line lines[static INLINED_MAX])
{
	struct pprof_line at = {0};
	const char *dir = NULL;
	Dwarf_Die *scopes = NULL, unit;
	Dwfl_Line *src = dwfl_module_getsrc(mod, pc);
	int line = 0, n_scopes = scopes_of(mod, pc, &unit, &dir, &scopes);
	size_t n = 0;

	if (src) {
		const char *file = dwfl_lineinfo(src, NULL, &line, NULL, NULL, NULL);

		at.file = path_absolute(s, dwfl_line_comp_dir(src), file);
		at.line = line;
	}
	for (int i = 0; i < n_scopes && n < INLINED_MAX; i++) {
		int tag = dwarf_tag(&scopes[i]);

		if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram)
			continue;
		at.function = die_name(s, &scopes[i], &at.system_name);
		at.start_line = start_line(&scopes[i]);
		if (at.function)
			lines[n++] = at;
		if (tag == DW_TAG_subprogram)
			break;
		at = (struct pprof_line){0};
		call_site(s, &unit, dir, &scopes[i], &at);
	}
	free(scopes);
	if (!n && src) { /* lines without functions: an assembler's */
		at.function = keep(s, dwfl_module_addrname(mod, pc));
		lines[n] = at;
		n += at.function != NULL;
	}
	return n;
}

static size_t look_up(struct symbols *s, struct segment *g, uintptr_t pc,
		      struct pprof_line lines[static INLINED_MAX])
{
	Dwfl_Module *mod = s->dwfl ? dwfl_addrmodule(s->dwfl, pc) : NULL;
	size_t n;

	if (mod && !g->build_id[0])
		build_id_read(g, mod);
	if (now_ns() > s->deadline_ns)
		g->late = true;
	if (!mod || g->late)
		return 0;
	n = lines_from_dwarf(s, mod, pc, lines);
	if (!n) {
		lines[0] = (struct pprof_line){.function = keep(s, dwfl_module_addrname(mod, pc))};
		n = lines[0].function != NULL;
	}
	return n;
}

static int place_add(struct symbols *s, uintptr_t pc, struct place **ret)
{
	struct pprof_line lines[INLINED_MAX];
	size_t before = s->pcs.n;
	struct place *p = intern_beside(&s->pcs, s->places, sizeof(*p));
	struct segment *g;
	int64_t id;

	if (!p)
		return -ENOMEM;
	s->places = p;
	id = intern_id(&s->pcs, &pc, sizeof(pc));
	if (id < 0)
		return -ENOMEM;
	p = *ret = &p[id];
	if (s->pcs.n == before)
		return 0;
	*p = (struct place){0};
	g = segment_of(s, pc);
	if (!g)
		return 0;
	p->segment = (size_t)(g - s->segments) + 1;
	p->n = look_up(s, g, pc, lines);
	p->lines = calloc(p->n ? p->n : 1, sizeof(*p->lines));
	if (!p->lines)
		p->n = 0;
	else
		memcpy(p->lines, lines, p->n * sizeof(*lines));
	return 0;
}

uint64_t symbols_location(struct symbols *s, struct pprof *p, uintptr_t pc)
{
	struct place *at;

	if (place_add(s, pc, &at) < 0)
		return pprof_location(p, 0, pc, NULL, 0);
	if (!at->id)
		at->id = pprof_location(p, at->segment, pc, at->lines, at->n);
	if (at->segment) {
		struct segment *g = &s->segments[at->segment - 1];

		g->used = true;
		g->unnamed |= !at->n;
		g->lined |= at->n && at->lines[0].line;
	}
	return at->id;
}

void symbols_mappings(struct symbols *s, struct pprof *p)
{
	for (size_t i = 0; i < s->n_segments; i++) {
		struct segment *g = &s->segments[i];

		/* What says no more is looked up by viewers, who know less than we: neither inlined
		 * functions, nor a stripped program's. Stubs have no names for them either. */
		bool lines = g->used && g->lined && !g->late;

		if (g->used || i == 0)
			pprof_mapping(p, &(struct pprof_mapping){
						 .id = i + 1,
						 .start = g->start,
						 .limit = g->limit,
						 .offset = g->offset,
						 .file = g->file,
						 .build_id = g->build_id,
						 .has_functions = lines || (g->used && !g->unnamed),
						 .has_filenames = lines,
						 .has_lines = lines,
						 .has_inlines = lines});
		g->used = g->unnamed = g->lined = false;
	}
	for (size_t i = 0; i < s->pcs.n; i++)
		s->places[i].id = 0;
}

int symbols_new(uint64_t deadline_ns, struct symbols **ret)
{
	_cleanup_(symbols_freep) struct symbols *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->deadline_ns = deadline_ns;
	r = segments_read(s);
	if (r < 0)
		return r;
	s->dwfl = self_open(true); /* without it, profiles have bare addresses */
	*ret = steal_ptr(s);
	return 0;
}

void symbols_free(struct symbols *s)
{
	if (!s)
		return;
	if (s->dwfl)
		dwfl_end(s->dwfl);
	for (size_t i = 0; i < s->n_segments; i++)
		free(s->segments[i].file);
	free(s->segments);
	for (size_t i = 0; i < s->pcs.n; i++)
		free(s->places[i].lines);
	free(s->places);
	intern_fini(&s->pcs);
	intern_fini(&s->names);
	free(s);
}
