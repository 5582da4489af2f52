/* SPDX-License-Identifier: MIT */
#include "registry/client_certs.h"

#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "registry/conf.h"

#define FILE_MAX ((size_t)1 << 20)

struct pair {
	X509 *cert;
	EVP_PKEY *key;
	STACK_OF(X509) * chain;
};

struct client_certs {
	struct pair *pairs;
	size_t n;
};

static BIO *file_open(const struct seam *seam, const char *path, char **text, size_t *len,
		      struct error *err)
{
	BIO *b = NULL;

	if (conf_read(seam, "client certificate", path, FILE_MAX, text, len, err) < 0)
		return NULL;
	b = BIO_new_mem_buf(*text, (int)*len);
	if (!b)
		error_set(err, -ENOMEM, "client certificate %s", path);
	return b;
}

static int cert_load(const struct seam *seam, const char *path, struct pair *p, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	size_t len = 0;
	BIO *b = file_open(seam, path, &text, &len, err);
	X509 *x;

	if (!b)
		return err->code;
	p->cert = PEM_read_bio_X509_AUX(b, NULL, NULL, NULL);
	p->chain = sk_X509_new_null();
	while (p->cert && p->chain && (x = PEM_read_bio_X509(b, NULL, NULL, NULL)))
		if (!sk_X509_push(p->chain, x)) {
			X509_free(x);
			break;
		}
	BIO_free(b);
	if (!p->chain)
		return -ENOMEM;
	return p->cert ? 0
		       : error_set(err, -EBADMSG,
				   "client certificate %s: there is no certificate in PEM form "
				   "in it",
				   path);
}

/* Instead of OpenSSL's own, which would ask on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *userdata)
{
	*(bool *)userdata = true;
	return -1;
}

static int key_load(const struct seam *seam, const char *path, struct pair *p, struct error *err)
{
	char *text = NULL;
	size_t len = 0;
	bool encrypted = false;
	BIO *b = file_open(seam, path, &text, &len, err);

	if (b)
		p->key = PEM_read_bio_PrivateKey(b, NULL, no_passphrase, &encrypted);
	BIO_free(b);
	if (text)
		explicit_bzero(text, len);
	free(text);
	if (!b)
		return err->code;
	if (!p->key)
		return error_set(err, -EBADMSG, "client certificate: the key %s %s", path,
				 encrypted ? "is encrypted, and nobody is asked for a passphrase"
					   : "is no key in PEM form");
	return 0;
}

static int pair_load(const struct seam *seam, char *const files[2], struct pair *p,
		     struct error *err)
{
	int r = cert_load(seam, files[0], p, err);

	if (r >= 0)
		r = key_load(seam, files[1], p, err);
	if (r >= 0 && X509_check_private_key(p->cert, p->key) != 1)
		r = error_set(err, -EBADMSG, "client certificate %s: %s is not its key", files[0],
			      files[1]);
	return r;
}

int client_certs_load(const struct seam *seam, char *const *files, struct client_certs **ret,
		      struct error *err)
{
	_cleanup_(client_certs_freep) struct client_certs *c = calloc(1, sizeof(*c));
	struct error why = ERROR_INIT;
	size_t n = 0;
	int r = 0;

	while (files[n])
		n++;
	assert(n % 2 == 0);
	if (!c || !(c->pairs = calloc(n / 2 + 1, sizeof(*c->pairs))))
		return -ENOMEM;
	for (; c->n < n / 2 && r >= 0; c->n++)
		r = pair_load(seam, &files[2 * c->n], &c->pairs[c->n], &why);
	if (r < 0)
		return why.code ? error_set(err, r, "%s", why.text) : r;
	*ret = steal_ptr(c);
	return 0;
}

void client_certs_free(struct client_certs *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++) {
		X509_free(c->pairs[i].cert);
		EVP_PKEY_free(c->pairs[i].key);
		sk_X509_pop_free(c->pairs[i].chain, X509_free);
	}
	free(c->pairs);
	free(c);
}

/* In the handshake, when the server has said whose certificates it takes. */
static int on_request(SSL *ssl, void *userdata)
{
	const struct client_certs *c = userdata;
	const int wanted = CERT_PKEY_VALID | CERT_PKEY_ISSUER_NAME;

	for (size_t i = 0; i < c->n; i++) {
		const struct pair *p = &c->pairs[i];

		if ((SSL_check_chain(ssl, p->cert, p->key, p->chain) & wanted) == wanted)
			return SSL_use_cert_and_key(ssl, p->cert, p->key, p->chain, 1) == 1;
	}
	return 1;
}

void client_certs_use(struct client_certs *c, void *ssl_ctx)
{
	SSL_CTX_set_cert_cb(ssl_ctx, on_request, c);
}
