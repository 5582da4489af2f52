/* SPDX-License-Identifier: MIT */
/*
 * Image references, as people type them:
 *
 *   [docker://][host[:port]/]path[:tag][@digest]      a registry
 *   oci:DIR[:NAME][@digest]                           an OCI image layout directory
 *   oci-archive:FILE[:NAME][@digest]                  a tar file of one
 *   docker-archive:FILE[:REF][@digest]                what docker save wrote
 *
 * The grammar is Docker's (distribution/reference): a first component is a host only when it has a
 * '.' or ':', is exactly "localhost", or has an upper-case letter; else the host is docker.io, and
 * a single component there gets "library/". The tag defaults to "latest" only when neither tag nor
 * digest is given. With both, the digest wins and the tag is shown.
 *
 * skopeo's other transports ("containers-storage:", "dir:", ...) are refused by name.
 *
 * Pure; resolves nothing, looks at no file.
 */
#ifndef MORSEL_REGISTRY_REF_H
#define MORSEL_REGISTRY_REF_H

#include "base/buf.h"
#include "base/digest.h"

enum ref_kind { REF_REGISTRY, REF_LAYOUT, REF_OCI_ARCHIVE, REF_DOCKER_ARCHIVE };

struct ref {
	enum ref_kind kind;
	bool has_digest;
	struct digest digest;
	char *text;	/* verbatim, as typed: what mount tables show */
	char *host;	/* REF_REGISTRY: "docker.io", "localhost:5000", "[::1]:5000" */
	char *api_host; /* the same, but "registry-1.docker.io" for docker.io */
	char *path;	/* REF_REGISTRY: repository "library/alpine"; else directory or file */
	char *tag;	/* NULL when absent; on disk: the name after the directory or file */
};

/* -EINVAL with a text that quotes the reference and says what is wrong with it; -ENOTSUP: another
 * transport. Fuzzed. */
int ref_parse(const char *text, struct ref **ret, struct error *err);
/* Complete and normalised: "docker.io/library/alpine:latest@sha256:...", "oci:dir:name".
 * Appended to buf. */
int ref_format(const struct ref *ref, struct buf *buf);
/* "oci:", "oci-archive:", "docker-archive:"; "" for a registry. */
const char *ref_scheme(const struct ref *ref);
void ref_free(struct ref *ref);
DEFINE_CLEANUP(struct ref *, ref_free)

#endif
