/* SPDX-License-Identifier: MIT */
/*
 * Debug information is taken from where libdwfl finds it (the file itself, .debug/, /usr/lib/debug
 * by name or build id); failing that, from the program's own section ".morsel_debug": a whole ELF
 * file that holds nothing but compressed debug sections. The linker put it in (src/prof/embed.S) as
 * bytes that are neither loaded nor symbols to strip.
 */
#include "prof/self.h"

#include <fcntl.h>
#include <gelf.h>
#include <sys/mman.h>

#include "base/util.h"

#define SECTION ".morsel_debug"

static Elf_Scn *section_named(Elf *elf, const char *name)
{
	size_t names;

	if (elf_getshdrstrndx(elf, &names))
		return NULL;
	for (Elf_Scn *scn = elf_nextscn(elf, NULL); scn; scn = elf_nextscn(elf, scn)) {
		GElf_Shdr sh;
		const char *s = gelf_getshdr(scn, &sh) ? elf_strptr(elf, names, sh.sh_name) : NULL;

		if (s && !strcmp(s, name))
			return scn;
	}
	return NULL;
}

/* A descriptor of the debug file inside this file, -1 = there is none. */
static int embedded_open(const char *file)
{
	_cleanup_(closep) int fd = open(file, O_RDONLY | O_CLOEXEC), copy = -1;
	Elf *elf = fd < 0 ? NULL : elf_begin(fd, ELF_C_READ_MMAP, NULL);
	Elf_Scn *scn = elf ? section_named(elf, SECTION) : NULL;
	Elf_Data *data = scn ? elf_rawdata(scn, NULL) : NULL;

	if (data && data->d_size)
		copy = memfd_create("morsel-debug", MFD_CLOEXEC);
	if (copy >= 0 && write(copy, data->d_buf, data->d_size) != (ssize_t)data->d_size)
		closep(&copy), copy = -1;
	elf_end(elf);
	return steal_fd(&copy);
}

static int find_debuginfo(Dwfl_Module *mod, void **userdata, const char *module, Dwarf_Addr base,
			  const char *file, const char *link, GElf_Word crc, char **ret_name)
{
	int fd = dwfl_standard_find_debuginfo(mod, userdata, module, base, file, link, crc,
					      ret_name);

	return fd < 0 && file ? embedded_open(file) : fd;
}

static int find_no_debuginfo(Dwfl_Module *mod, void **userdata, const char *module, Dwarf_Addr base,
			     const char *file, const char *link, GElf_Word crc, char **ret_name)
{
	return -1;
}

int self_report(Dwfl *dwfl)
{
	dwfl_report_begin(dwfl);
	if (dwfl_linux_proc_report(dwfl, getpid()))
		return -1;
	return dwfl_report_end(dwfl, NULL, NULL);
}

Dwfl *self_open(bool with_debug)
{
	static const Dwfl_Callbacks full =
					    {
						    .find_elf = dwfl_linux_proc_find_elf,
						    .find_debuginfo = find_debuginfo,
					    },
				    plain = {
					    .find_elf = dwfl_linux_proc_find_elf,
					    .find_debuginfo = find_no_debuginfo,
				    };
	Dwfl *dwfl = dwfl_begin(with_debug ? &full : &plain);

	if (dwfl && self_report(dwfl)) {
		dwfl_end(dwfl);
		return NULL;
	}
	return dwfl;
}
