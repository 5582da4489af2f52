/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "layer_text.h"

static void is(const char *const *texts, const char *want)
{
	_cleanup_(layers_fini) struct layers l;
	_cleanup_(tree_freep) struct tree *t = NULL;
	_cleanup_(buf_fini) struct buf got = BUF_INIT;
	struct error err = ERROR_INIT;

	layers_from_text(texts, &l);
	if (tree_merge(l.index, l.n, 1000, &t, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(err.code, 0);
	tree_to_text(t, &got);
	assert_string_equal(buf_str(&got), want);
}
#define IS(want, ...) is((const char *const[]){__VA_ARGS__, NULL}, want)

static void refused(const char *const *texts, int code, const char *text)
{
	_cleanup_(layers_fini) struct layers l;
	_cleanup_(tree_freep) struct tree *t = NULL;
	struct error err = ERROR_INIT;

	layers_from_text(texts, &l);
	assert_int_equal(tree_merge(l.index, l.n, 1000, &t, &err), code);
	assert_null(t);
	assert_int_equal(err.code, code);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}
#define REFUSED(code, text, ...) refused((const char *const[]){__VA_ARGS__, NULL}, code, text)

/* ---- one layer ---- */

static void nothing(void **state)
{
	is((const char *const[]){NULL}, "");
	IS("", "");
	IS("", "d /");
}

static void kinds(void **state)
{
	IS("b b r=8:1\nc c r=1:3\nd d\nf f L=1\nl l d/x\np p\n",
	   "f f\nd d\nl l d/x\nc c r=1:3\nb b r=8:1\np p\n");
	IS("c c r=4095:1048575\n", "c c r=4095:1048575");
	IS("b b r=0:0\n", "b b r=0:0"); /* only character devices are whiteouts */
	IS("f f m=4755 u=4294967294 g=7 t=-5 ns=999999999 s=0 x=user.a:b x=user.c: L=1\n",
	   "f f s=0 m=4755 u=4294967294 g=7 t=-5 ns=999999999 x=user.a:b x=user.c:");
}

static void kinds_refused(void **state)
{
	REFUSED(-EPERM, "layer 2: \"dev/null\": a character device 0:0", "d dev",
		"c dev/null r=0:0");
	REFUSED(-EBADMSG, "\"a\": a device number", "c a r=4096:0");
	REFUSED(-EBADMSG, "\"a\": a device number", "b a r=0:1048576");
	REFUSED(-EBADMSG, "\"a\": a symlink to nothing", "l a ");
	REFUSED(-EBADMSG, "hardlink", "h / a");
}

static void implied_parents(void **state)
{
	IS("d a\nd a/b\nf a/b/c L=1\n", "f a/b/c");
	IS("d a m=700 u=5 t=9\nd a/b m=711\nf a/b/c L=1\n",
	   "f a/b/c\nd a m=700 u=5 t=9\nd a/b m=711\n");
	IS("d a m=700 u=5\nf a/b L=2\n", "d a m=700 u=5", "f a/b"); /* keeps what is below */
	IS("d a\nf a/b L=2\n", "f a m=700 u=5", "f a/b");
}

static void duplicates(void **state)
{
	IS("f a s=2 L=1\n", "f a s=1\nf a s=2\n");
	IS("d a u=2\nf a/x L=1\n", "d a u=1\nf a/x\nd a u=2\n");
	IS("f a L=1\n", "d a\nf a/x\nf a\n");
	IS("d a\nf a/y L=1\n", "d a\nf a/x\nf a\nd a\nf a/y\n"); /* a/x does not come back */
	IS("l a b\n", "f a\nl a b\n");
	IS("d a\n", "f a\nl a b\nd a");
}

static void root_attributes(void **state)
{
	IS("d / m=700 u=1 t=3\n", "d / m=700 u=1 t=3");
	IS("d / u=2\nf a L=3\n", "d / m=700 u=1 t=3", "d / u=2", "f a");
	IS("d / m=700 x=user.a:b\n", "d / m=711 x=user.z:z", "d / m=700 x=user.a:b");
}

/* ---- layers on layers ---- */

static void over(void **state)
{
	IS("f a s=2 L=2\n", "f a", "f a s=2");
	IS("d a u=2\nf a/x L=1\n", "d a m=700 x=user.k:v\nf a/x", "d a u=2");
	IS("f a L=2\n", "d a\nf a/x\nd a/y\nf a/y/z", "f a");
	IS("d a\nf a/n L=3\n", "d a\nf a/x", "f a", "d a\nf a/n");
	IS("l a t\n", "d a\nf a/x", "l a t");
	IS("d a\n", "l a t", "d a");
	/* directory, symlink, directory again: nothing of the first is left */
	IS("d a\nf a/new L=3\nd b\n", "d a\nf a/old\nd b", "l a b", "d a\nf a/new");
}

static void whiteouts(void **state)
{
	IS("f b L=1\n", "f a\nf b", "w a");
	IS("", "d a\nf a/x\nd a/y\nf a/y/z", "w a");
	IS("d a\n", "d a\nf a/x", "w a/x");
	IS("", "", "w a\nw a/b/c");	   /* nothing to delete */
	IS("f a L=1\n", "f a", "w a/b\n"); /* through a file */
	IS("f a L=2\n", "f a s=2", "w a\nf a");
	IS("f a L=2\n", "f a s=2", "f a\nw a"); /* the order in the layer does not matter */
	IS("f a L=1\n", "f a\nw a");		/* lower layers only */
	IS("d a m=700\nf a/y L=2\n", "d a\nf a/x", "w a\nd a m=700\nf a/y"); /* as if opaque */
	IS("d a m=700\nf a/y L=2\n", "d a\nf a/x", "d a m=700\nf a/y\nw a");
	IS("d a\nf a/y L=2\n", "d a m=700\nf a/x", "w a\nf a/y"); /* implied anew */
	IS("", "d a\nf a/x", "w a\nw a/x"); /* rm -rf, as it is seen in the wild */
	IS("", "d a\nf a/x", "w a/x\nw a");
	IS("d b\nf b/x L=1\nl l b\n", "d b\nf b/x\nl l b",
	   "w l/x"); /* lower symlinks: not followed */
	IS("d b\nf b/x L=1\nl l b\n", "d b\nf b/x",
	   "l l b\nw l/x"); /* and those of the layer neither */
	IS("f a s=3 L=3\n", "f a", "w a", "f a s=3");
	IS("f d L=2\n", "d d\nf d/x", "w d\nf d"); /* re-created as a file */
}

static void opaques(void **state)
{
	IS("d a m=700\n", "d a m=700\nf a/x\nd a/y\nf a/y/z", "o a");
	IS("d a\nf a/new L=2\n", "d a\nf a/x", "f a/new\no a"); /* after its children */
	IS("d a\nf a/new L=2\n", "d a\nf a/x", "o a\nf a/new");
	IS("d a u=1\nf a/new L=2\n", "d a\nf a/x", "d a u=1 O=1\nf a/new");
	IS("d a\nf a/x s=2 L=2\n", "d a\nf a/x", "o a\nf a/x s=2");
	IS("d a m=700\nf a/x L=1\n", "d a m=700\nf a/x\no a"); /* lower layers only */
	IS("f new L=2\n", "d a\nf a/x\nf b", "o /\nf new");
	IS("f a L=1\n", "f a", "o a\no b/c");
	IS("d a\n", "d a\nf a/x", "o a\no a\nw a/x");
	IS("d a\nd a/b\n", "d a\nd a/b\nf a/b/x", "o a\nd a/b"); /* new b: its x is gone */
	IS("d a\nd a/b\n", "d a\nd a/b\nf a/b/x", "o a/b");
}

/* ---- symlinks on the way ---- */

static void symlinked_parents(void **state)
{
	IS("l lib usr/lib\nd usr\nd usr/lib\nf usr/lib/x L=1\n",
	   "d usr\nd usr/lib\nl lib usr/lib\nf lib/x");
	IS("l lib usr/lib\nd usr\nd usr/lib\nf usr/lib/x L=1\n",
	   "l lib usr/lib\nf lib/x"); /* dangling */
	IS("l lib usr/lib\nd usr m=700\nd usr/lib m=711\nf usr/lib/x L=2\n",
	   "d usr m=700\nd usr/lib m=711",
	   "l lib usr/lib\nf lib/x"); /* the target is of a lower layer */
	IS("l a /b\nd b\nf b/x L=1\n", "l a /b\nf a/x");
	IS("l a ../../../b\nd b\nf b/x L=1\n", "l a ../../../b\nf a/x"); /* bounded to the root */
	IS("l a /../.././b//\nd b\nf b/x L=1\n", "l a /../.././b//\nf a/x");
	IS("l a .\nf x L=1\n", "l a .\nf a/x");
	IS("d d\nl d/up ..\nf x L=1\n", "l d/up ..\nf d/up/x");
	IS("l a b\nl b c\nd c\nf c/x L=1\n", "l a b\nl b c\nf a/x"); /* a chain */
	IS("d d\nd d/e\nf d/x L=1\nl l d/e\nl m l/..\n", "l l d/e\nl m l/..\nf m/x");
}

static void symlinked_parents_below(void **state)
{
	IS("d lib\nf lib/x L=2\nd usr\nd usr/lib\n", "d usr\nd usr/lib\nl lib usr/lib", "f lib/x");
	IS("d a\nf a/x L=2\nd b\nl b/l ../a\n", "l a b\nd b\nl b/l ../a", "f a/x");
	IS("d a\nd c\nf c/x L=2\nl l c\n", "l a b", "d a\nl l c\nf l/x");
	/* the layer's link leads to one of a lower layer, which is hidden */
	IS("l a b\nd b\nf b/x L=2\nd c\n", "l b c\nd c", "l a b\nf a/x");
}

static void symlink_limits(void **state)
{
	char text[4096];
	size_t n = 0;

	for (int i = 0; i < 41; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "l l%d l%d\n", i, i + 1);
	snprintf(text + n, sizeof(text) - n, "d l41\nf l1/x\n"); /* 40 of them */
	{
		_cleanup_(layers_fini) struct layers l;
		_cleanup_(tree_freep) struct tree *t = NULL;
		struct error err = ERROR_INIT;

		layers_from_text((const char *const[]){text, NULL}, &l);
		assert_int_equal(tree_merge(l.index, l.n, 1000, &t, &err), 0);
	}
	snprintf(text + n, sizeof(text) - n, "d l41\nf l0/x\n"); /* 41 */
	REFUSED(-EPERM, "layer 1: \"l0/x\": more than 40 symlinks", text);
	REFUSED(-EPERM, "\"a/x\": more than 40", "l a a\nf a/x");
	REFUSED(-EPERM, "\"a/x\": more than 40", "l a b\nl b a\nf a/x");
	REFUSED(-EPERM, "\"h\": more than 40", "l a a\nh h a/x");
	memset(text, 'n', sizeof(text));
	memcpy(text, "l a ", 4);
	memcpy(text + 4 + 256, "\nf a/x", 7);
	REFUSED(-E2BIG, "over 255", text);
	memcpy(text + 4 + 255, "\nf a/x", 7);
	n = strlen(text);
	{
		_cleanup_(layers_fini) struct layers l;
		_cleanup_(tree_freep) struct tree *t = NULL;
		struct error err = ERROR_INIT;

		layers_from_text((const char *const[]){text, NULL}, &l);
		assert_int_equal(tree_merge(l.index, l.n, 1000, &t, &err), 0);
		assert_int_equal(t->n_nodes, 4);
	}
}

/* ---- hardlinks ---- */

static void hardlinks(void **state)
{
	IS("f a u=3 L=1 n=2 i=a\nf b u=3 L=1 n=2 i=a\n", "f a u=3\nh b a");
	IS("f a L=1 n=3 i=a\nf b L=1 n=3 i=a\nf c L=1 n=3 i=a\n",
	   "f a\nh b a\nh c b"); /* a chain */
	IS("l a t n=2 i=a\nl b t n=2 i=a\n", "l a t\nh b a");
	IS("c a r=1:3 n=2 i=a\nc b r=1:3 n=2 i=a\n", "c a r=1:3\nh b a");
	IS("p a n=2 i=a\np b n=2 i=a\n", "p a\nh b a");
	IS("d d\nf d/a L=1 n=2 i=d/a\nf d/b L=1 n=2 i=d/a\nl s d\n",
	   "d d\nf d/a\nl s d\nh s/b s/a");
	IS("d d\nf d/x L=1\nl l d n=2 i=l\nl m d n=2 i=l\n",
	   "l l d\nh m l\nf m/x"); /* is a symlink too */
}

static void hardlinks_later(void **state)
{
	IS("f a L=1 n=2 i=a\nf b L=1 n=2 i=a\n", "h b a\nf a");
	IS("f a L=1 n=3 i=a\nf b L=1 n=3 i=a\nf c L=1 n=3 i=a\n", "h c b\nh b a\nf a");
	IS("f a L=2 n=2 i=a\nf b L=2 n=2 i=a\n", "f a u=1", "h b a\nf a"); /* not the lower one */
	IS("f a s=2 L=1\nf b L=1\n", "f a s=1\nh b a\nf a s=2"); /* as it was when the link came */
	IS("d d\nf d/a L=1\nf h L=1\n",
	   "h h nothing\nf d/a\nf h");	       /* replaced: its target is not asked */
	IS("f d L=1\n", "h d/x nothing\nf d"); /* replaced with its directory */
}

/* What waited in one layer waits anew in the next. */
static void hardlinks_later_again(void **state)
{
	IS("f a L=1\nf b L=2 n=2 i=b\nf c L=2 n=2 i=b\n", "h b a\nf a", "h b c\nf c");
}

static void hardlinks_across(void **state)
{
	IS("f b L=1\n", "f a\nh b a", "w a"); /* one name less */
	IS("f a s=2 L=2\nf b L=1\n", "f a\nh b a", "f a s=2");
	IS("f a L=1 n=2 i=a\nf c L=1 n=2 i=a\n", "f a\nh b a\nh c a", "w b");
	IS("f a L=1 n=2 i=a\nf b L=1 n=2 i=a\nf c L=2\n", "f a\nh b a", "f c");
}

static void hardlinks_refused(void **state)
{
	REFUSED(-EBADMSG, "layer 1: \"b\": a hardlink whose target", "h b a");
	REFUSED(-EBADMSG, "layer 2: \"b\": a hardlink whose target", "f a", "h b a");
	REFUSED(-EBADMSG, "layer 2: \"b\": a hardlink whose target", "f a", "w a\nh b a");
	REFUSED(-EBADMSG, "\"b\": a hardlink whose target", "d a\nh b a");
	REFUSED(-EBADMSG, "\"b\": a hardlink whose target", "h b a/c\nf a");
	REFUSED(-EBADMSG, "\"b\": a hardlink whose target", "f x\nh b /");
	REFUSED(-EBADMSG, "leads to itself", "h a a");
	REFUSED(-EBADMSG, "leads to itself", "f a\nh a a");
	REFUSED(-EBADMSG, "leads to itself", "h a b\nh b c\nh c a");
	REFUSED(-EBADMSG, "\"c\": a hardlink whose target", "h a b\nh b c\nh c d");
	REFUSED(-EBADMSG, "layer 2: \"d\": a hardlink", "d d\nf d/x", "f a\nh d d/x");
	REFUSED(-EBADMSG, "hardlink", "l s d\nd d\nf d/x", "h h s/x"); /* a lower symlink */
	REFUSED(-EBADMSG, "hardlink", "h b a\nw a");		       /* a whiteout is no file */
}

static void plumbing(void **state)
{
	const char *plnk =
		"f .wh..wh.plnk/1.2 u=3 H=1\nh a .wh..wh.plnk/1.2\nh b .wh..wh.plnk/1.2\n";

	IS("f a u=3 L=1 n=2 i=a\nf b u=3 L=1 n=2 i=a\n", plnk);
	IS("f a u=3 L=1 n=2 i=a\nf b u=3 L=1 n=2 i=a\n",
	   "h b .wh..wh.plnk/1\nh a b\nf .wh..wh.plnk/1 u=3 H=1");
	IS("", "f .wh..wh.aufs H=1\nd .wh..wh.orph H=1\nd .wh..wh.plnk H=1\nf .wh..wh.plnk/1 H=1");
	IS("f a L=1\n", "f a\nh .wh..wh.plnk/1 a H=1");
	IS("f a L=1\n", "f .wh..wh.aufs H=1\nf a"); /* neighbours by name, not by place */
	REFUSED(-EBADMSG, "layer 2: \"c\": a hardlink", plnk, "h c .wh..wh.plnk/1.2");
	/* one name in two layers' plumbing */
	IS("f a u=3 L=1\nf b u=4 L=2\n", "f .wh..wh.plnk/1 u=3 H=1\nh a .wh..wh.plnk/1",
	   "f .wh..wh.plnk/1 u=4 H=1\nh b .wh..wh.plnk/1");
}

static void dropped_xattrs(void **state)
{
	_cleanup_(layers_fini) struct layers l;
	_cleanup_(tree_freep) struct tree *t = NULL;
	struct error err = ERROR_INIT;

	layers_from_text((const char *const[]){"f a", "f b", "f c", NULL}, &l);
	l.index[0].header.dropped_xattrs = 3;
	l.index[2].header.dropped_xattrs = 4;
	assert_int_equal(tree_merge(l.index, l.n, 10, &t, &err), 0);
	assert_int_equal(t->dropped_xattrs, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing),
		cmocka_unit_test(kinds),
		cmocka_unit_test(kinds_refused),
		cmocka_unit_test(implied_parents),
		cmocka_unit_test(duplicates),
		cmocka_unit_test(root_attributes),
		cmocka_unit_test(over),
		cmocka_unit_test(whiteouts),
		cmocka_unit_test(opaques),
		cmocka_unit_test(symlinked_parents),
		cmocka_unit_test(symlinked_parents_below),
		cmocka_unit_test(symlink_limits),
		cmocka_unit_test(hardlinks),
		cmocka_unit_test(hardlinks_later),
		cmocka_unit_test(hardlinks_later_again),
		cmocka_unit_test(hardlinks_across),
		cmocka_unit_test(hardlinks_refused),
		cmocka_unit_test(plumbing),
		cmocka_unit_test(dropped_xattrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
