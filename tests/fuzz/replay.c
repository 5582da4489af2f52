/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over every file of its corpus directory: the ordinary-test form of a target.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data;
	long n;

	if (!f || fseek(f, 0, SEEK_END) || (n = ftell(f)) < 0 || fseek(f, 0, SEEK_SET))
		return -1;
	data = malloc((size_t)n + 1); /* exact size, so that ASan sees an over-read */
	if (!data || fread(data, 1, (size_t)n, f) != (size_t)n)
		return -1;
	fclose(f);
	data = realloc(data, n ? (size_t)n : 1);
	LLVMFuzzerTestOneInput(data, (size_t)n);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent *e;
	unsigned count = 0;
	char path[4096];
	DIR *d;

	if (argc != 2 || !(d = opendir(argv[1]))) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 1;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], e->d_name);
		if (replay_file(path)) {
			perror(path);
			return 1;
		}
		count++;
	}
	closedir(d);
	printf("%u passed, 0 failed\n", count);
	return count ? 0 : 1;
}
