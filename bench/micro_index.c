/* SPDX-License-Identifier: MIT */
/*
 * Times of the index, step by step, in memory: tables -> merge -> EROFS bytes -> lookups. Not built
 * by default:
 *   cc -O2 -D_GNU_SOURCE -Isrc bench/micro_index.c build/src/image/libimage.a \
 *      build/src/base/libbase.a -lisal -lzstd -lcrypto -ljansson -o /tmp/micro_index
 *   /tmp/micro_index 100000 [files a directory] [layers]
 */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "image/erofs_read.h"
#include "image/erofs_write.h"

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void must(int r, const char *what, const struct error *err)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", what, err->text);
		exit(1);
	}
}

static void add(struct layer_builder *b, const char *path, uint32_t mode, uint64_t *device)
{
	struct layer_entry e = {.mode = mode, .mtime_s = 1700000000};

	if (S_ISREG(mode)) {
		e.size = 200;
		e.data_off = *device;
		*device += DEVICE_BLOCK;
	}
	if (layer_builder_add_entry(b, &e, path, strlen(path), NULL, 0, NULL, 0) < 0)
		exit(1);
}

/* Every layer has the same paths: all but the first replace what is there. */
static void layer_make(uint64_t n, uint64_t per_dir, struct buf *ret)
{
	struct layer_builder *b;
	uint64_t device = 0;
	char path[64];

	if (layer_builder_new(LAYER_GZIP, UINT32_MAX, &b) < 0)
		exit(1);
	for (uint64_t i = 0; i < n; i++) {
		unsigned long long d = i / per_dir / 50, s = i / per_dir % 50;

		if (i % (per_dir * 50) == 0) {
			snprintf(path, sizeof(path), "d%04llu", d);
			add(b, path, S_IFDIR | 0755, &device);
		}
		if (i % per_dir == 0) {
			snprintf(path, sizeof(path), "d%04llu/s%02llu", d, s);
			add(b, path, S_IFDIR | 0755, &device);
		}
		snprintf(path, sizeof(path), "d%04llu/s%02llu/f%07llu", d, s,
			 (unsigned long long)i * 7919 % n);
		add(b, path, S_IFREG | 0644, &device);
	}
	layer_builder_header(b)->device_bytes = device;
	if (layer_builder_write_buf(b, ret) < 0)
		exit(1);
	layer_builder_free(b);
}

static uint64_t walk(const struct erofs *fs, uint64_t nid)
{
	struct erofs_dirent d = {0};
	struct erofs_inode dir, ino;
	uint64_t n = 0, found;

	if (erofs_inode_get(fs, nid, &dir) < 0)
		exit(1);
	while (!erofs_readdir(fs, &dir, d.next, &d)) {
		if (erofs_lookup(fs, &dir, d.name, d.name_len, &found) || found != d.nid ||
		    erofs_inode_get(fs, d.nid, &ino) < 0)
			exit(1);
		n++;
		if (d.type == 2 && d.name[0] != '.')
			n += walk(fs, d.nid);
	}
	return n;
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
	uint64_t per_dir = argc > 2 ? strtoull(argv[2], NULL, 10) : 20;
	uint32_t n_layers = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1;
	static const uint8_t uuid[16] = "micro index";
	const char *tags[500];
	struct layer_index layers[500];
	struct error err = ERROR_INIT;
	struct buf table = BUF_INIT, image = BUF_INIT;
	struct rusage usage;
	struct erofs fs;
	struct tree *t;
	double t0;
	uint64_t seen;

	if (!n || !per_dir || !n_layers || n_layers > 500)
		return 2;
	layer_make(n, per_dir, &table);
	t0 = now_ms();
	for (uint32_t i = 0; i < n_layers; i++) {
		must(layer_index_validate(table.data, table.len, UINT32_MAX, &layers[i], &err),
		     "validate", &err);
		tags[i] = "bench";
	}
	printf("validate %8.2f ms\n", now_ms() - t0);
	t0 = now_ms();
	must(tree_merge(layers, n_layers, UINT32_MAX, &t, &err), "merge", &err);
	printf("merge    %8.2f ms  %llu names\n", now_ms() - t0, (unsigned long long)t->n_nodes);
	t0 = now_ms();
	must(erofs_write(t, &(struct erofs_params){uuid, tags, "bench"}, &image, &err), "write",
	     &err);
	printf("write    %8.2f ms  %zu bytes\n", now_ms() - t0, image.len);
	getrusage(RUSAGE_SELF, &usage);
	printf("peak     %8.1f MiB with tables of %.1f MiB\n", (double)usage.ru_maxrss / 1024,
	       (double)table.len / 1048576);
	t0 = now_ms();
	tree_free(t);
	printf("free     %8.2f ms\n", now_ms() - t0);
	must(erofs_open(image.data, image.len, &fs, &err), "open", &err);
	t0 = now_ms();
	seen = walk(&fs, fs.root_nid);
	t0 = now_ms() - t0;
	printf("walk     %8.2f ms  %.0f ns a readdir + lookup + inode\n", t0,
	       t0 * 1e6 / (double)seen);
	buf_fini(&table);
	buf_fini(&image);
	return 0;
}
